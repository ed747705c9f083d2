package hubreg

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/internal/feed"
)

// How long who was first waits for another to leave.
const (
	yields     = 50
	yieldPause = 10 * time.Millisecond
)

// registration is one entry that was announced.
type registration struct {
	r        *Registry
	updating sync.Mutex // one at a time

	mu          sync.Mutex
	entry       registry.Entry   // guarded by mu
	publication *hub.Publication // nil when it is withdrawn; guarded by mu
}

var _ registry.Registration = (*registration)(nil)

// Announce is registry.Registry's.
func (r *Registry) Announce(ctx context.Context, e registry.Entry) (registry.Registration, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	if e = e.Clone(); e.Instance == "" {
		e.Instance = feed.Instance()
	}
	ctx, cancel := within(ctx)
	defer cancel()
	g := &registration{r: r, entry: e}
	if err := g.announce(ctx); err != nil {
		return nil, fmt.Errorf("hubreg: announce %s/%s: %w", e.Service, e.Instance, err)
	}
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.entries[g] = true
	}
	r.mu.Unlock()
	if closed {
		_ = g.withdraw(ctx) // who closes the client takes it back
		return nil, registry.ErrClosed
	}
	return g, nil
}

func (g *registration) announce(ctx context.Context) error {
	others, err := g.others(ctx, 0)
	if err == nil && len(others) > 0 {
		err = registry.ErrTaken
	}
	if err != nil {
		return err
	}
	p, err := g.r.publish(ctx, g.entry)
	if err != nil {
		return err
	}
	g.publication = p
	if err := g.alone(ctx); err != nil {
		take, cancel := context.WithTimeout(context.WithoutCancel(ctx), Timeout)
		defer cancel()
		_ = g.withdraw(take) // what counts is why
		return err
	}
	return nil
}

// alone returns when nobody else has published the instance, with an error if somebody has. Of two
// who meet here the one with the higher number leaves; the other one gives him the time to, as he
// may also be one who was alone before.
func (g *registration) alone(ctx context.Context) error {
	for try := 0; ; try++ {
		us := g.r.client.Peer()
		others, err := g.others(ctx, us)
		if err != nil || len(others) == 0 {
			return err
		}
		if try == yields || slices.Min(others) < us {
			return registry.ErrTaken
		}
		select {
		case <-time.After(yieldPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// others returns the numbers of the peers that have the instance, but for one of us.
func (g *registration) others(ctx context.Context, us uint64) ([]uint64, error) {
	if g.r.ctx.Err() != nil {
		return nil, registry.ErrClosed
	}
	found, err := g.r.client.Lookup(ctx, selector(g.entry.Service, g.entry.Instance))
	if err != nil {
		return nil, err
	}
	var others []uint64
	for i := range found {
		_, ok := parse(&found[i])
		if ok && found[i].Peer == us {
			us = 0 // ours; another one of this client's is not
		} else if ok {
			others = append(others, found[i].Peer)
		}
	}
	return others, nil
}

// publish publishes an entry. If ctx ends when the hub has been asked and has not yet answered, the
// object is taken back when it does, as long as that does not take longer than Timeout.
func (r *Registry) publish(ctx context.Context, e registry.Entry) (*hub.Publication, error) {
	o, err := object(e)
	if err != nil {
		return nil, err
	}
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(Timeout, cancel) })
	type result struct {
		p   *hub.Publication
		err error
	}
	results := make(chan result) // unbuffered: either it is taken, or ctx was over before
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		cancel()
		return nil, registry.ErrClosed
	}
	r.running.Go(func() {
		defer cancel()
		defer stop()
		closing := context.AfterFunc(r.ctx, cancel)
		defer closing()
		p, err := r.client.Publish(longer, o)
		select {
		case results <- result{p, err}:
		case <-ctx.Done():
			if err == nil {
				_ = p.Unpublish(longer) // the connection ends it otherwise
			}
		}
	})
	r.mu.Unlock()
	select {
	case got := <-results:
		return got.p, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Entry is registry.Registration's.
func (g *registration) Entry() registry.Entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.entry.Clone()
}

// Update is registry.Registration's. The new object is published before the old one is taken back,
// so that the entry is never missing.
func (g *registration) Update(ctx context.Context, e registry.Entry) error {
	if err := e.CheckPlace(); err != nil {
		return err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	g.updating.Lock()
	defer g.updating.Unlock()
	g.mu.Lock()
	next, old := g.entry, g.publication
	g.mu.Unlock()
	switch {
	case g.r.ctx.Err() != nil:
		return registry.ErrClosed
	case old == nil:
		return registry.ErrWithdrawn
	}
	next.Address, next.Metadata = e.Address, e.Clone().Metadata
	p, err := g.r.publish(ctx, next)
	if err != nil {
		return fmt.Errorf("hubreg: update %s/%s: %w", next.Service, next.Instance, err)
	}
	g.mu.Lock()
	withdrawn := g.publication == nil
	if withdrawn {
		old = p
	} else {
		g.entry, g.publication = next, p
	}
	g.mu.Unlock()
	if err := old.Unpublish(ctx); err != nil {
		return fmt.Errorf("hubreg: update %s/%s: %w", next.Service, next.Instance, err)
	}
	if withdrawn {
		return registry.ErrWithdrawn
	}
	return nil
}

// Withdraw is registry.Registration's.
func (g *registration) Withdraw(ctx context.Context) error {
	ctx, cancel := within(ctx)
	defer cancel()
	return g.withdraw(ctx)
}

func (g *registration) withdraw(ctx context.Context) error {
	g.mu.Lock()
	p, e := g.publication, g.entry
	g.publication = nil
	g.mu.Unlock()
	if p == nil {
		return nil
	}
	g.r.mu.Lock()
	delete(g.r.entries, g)
	g.r.mu.Unlock()
	if err := p.Unpublish(ctx); err != nil {
		return fmt.Errorf("hubreg: withdraw %s/%s: %w", e.Service, e.Instance, err)
	}
	return nil
}
