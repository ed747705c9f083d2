//go:build linux && !portable

package transport

import (
	"context"
	"sync"

	"github.com/pithos-ipc/pithos/wire"
)

// pings are those that wait for their pong.
type pings struct {
	mu   sync.Mutex
	next uint32
	wait map[uint32]chan struct{}
	over bool
}

func (c *econn) ponged(id uint32) {
	p := &c.side.pings
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch := p.wait[id]; ch != nil {
		delete(p.wait, id)
		close(ch)
	}
}

func (p *pings) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for _, ch := range p.wait {
		close(ch)
	}
	p.wait = nil
}

func (c *econn) ping(ctx context.Context) error {
	if !c.native() {
		return ErrNotNative
	}
	if c.loop.here() {
		return ErrOnLoop
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p := &c.side.pings
	ch := make(chan struct{})
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return c.err()
	}
	if p.wait == nil {
		p.wait = make(map[uint32]chan struct{})
	}
	p.next++
	id := p.next
	p.wait[id] = ch
	p.mu.Unlock()
	c.out.putControl(c.pub.group, wire.KindPing, id, 0)
	c.flushSoon()
	c.unpark()
	select {
	case <-ch:
		return c.err()
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.wait, id)
		p.mu.Unlock()
		return ctx.Err()
	}
}
