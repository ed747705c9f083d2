//go:build linux && !portable

package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// ending is how a connection comes to its end.
type ending struct {
	cause   atomic.Pointer[failure] // why; set once
	dead    atomic.Bool             // partner: reap
	closing atomic.Bool             // Close was called; partner: checkQuiet
	quiet   chan struct{}           // closed when there is nothing left to finish
	once    sync.Once               // of quiet
	closed  sync.Once               // of Close
	done    chan struct{}
	held    atomic.Int64 // bytes of assemblies
	dropped DroppedError // set before done
}

type failure struct{ err error }

// lost makes the error of calls whose connection ended by itself.
func lost(cause error) error { return fmt.Errorf("%w: %w", ErrConnLost, cause) }

// hold counts n bytes of memory held for the peer; over a budget nothing is counted and the error
// says so.
func (c *econn) hold(n int64) error {
	if err := c.pub.group.charge(n); err != nil {
		return err
	}
	limit := c.set.Limits.ConnMemory
	if v := c.ending.held.Add(n); n > 0 && v > limit {
		c.holdAnyway(-n)
		return &LimitError{What: "bytes held by the connection", Value: v, Limit: limit}
	}
	return nil
}

// holdAnyway counts n bytes that are there already.
func (c *econn) holdAnyway(n int64) {
	c.pub.group.held.Add(n)
	c.ending.held.Add(n)
}

// checkOutbox ends a connection whose peer does not take what it is owed.
func (c *econn) checkOutbox() {
	if !c.out.full.Load() {
		return
	}
	_, n := c.out.load()
	if n+c.ending.held.Load() > c.set.Limits.ConnMemory {
		c.kill(&LimitError{What: "bytes held by the connection", Value: n,
			Limit: c.set.Limits.ConnMemory})
	} else if g := c.pub.group; n > segmentSize && g.held.Load() > g.memory {
		c.kill(&LimitError{What: "bytes held by the group", Value: g.held.Load(), Limit: g.memory})
	}
}

func (c *econn) dead() bool { return c.ending.dead.Load() }

// violation ends the connection because of what the peer sent.
func (c *econn) violation(err error) { c.kill(&ProtocolError{Err: err}) }

type duplicateError struct{ id uint32 }

func (e *duplicateError) Error() string { return fmt.Sprintf("id %d is in use already", e.id) }

// kill ends the connection now; the first reason counts. The loop does the rest. It never blocks.
func (c *econn) kill(err error) {
	c.ending.cause.CompareAndSwap(nil, &failure{err})
	if !c.ending.dead.CompareAndSwap(false, true) {
		return
	}
	unix.Shutdown(c.fd, unix.SHUT_RDWR) // the fd is open: only reap closes it, and it comes after
	c.hangUp()
	c.calls.shut(c, c.ending.cause.Load().err)
	c.loop.post(c, errandReap)
}

// reap ends a dead connection, once both leases are back. Loop only.
func (c *econn) reap() {
	l := c.loop
	if !c.takeForLoop() {
		l.reaps = append(l.reaps, c)
		return
	}
	if !c.out.lease.CompareAndSwap(false, true) {
		c.in.lease.Store(leaseArmed)
		l.reaps = append(l.reaps, c)
		return
	}
	c.arming.mu.Lock()
	c.arming.open = false
	c.arming.mu.Unlock()
	unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, c.fd, nil)
	l.vacate(c.seat.index)
	unix.Close(c.fd)
	c.dropLane()
	err := c.ending.cause.Load().err
	waiting, serving := c.calls.waiting(), c.serving.count()
	frames, bytes := c.out.discard(c.pub.group)
	c.ending.dropped = DroppedError{Calls: waiting, Served: serving, Frames: frames, Bytes: bytes}
	c.count.drops.Add(uint64(frames))
	c.dropInbox()
	c.pub.cancel(err)
	c.serving.cancelAll(err)
	c.failCalls(err)
	c.side.pings.fail()
	if f := c.set.Hooks.Close; f != nil {
		f(c.pub, err)
	}
	c.markQuiet()
	if c.listener != nil {
		c.listener.leave(c.pub)
	}
	c.ready()
	if c.pub.ownGroup {
		l.quit.Store(true) // the loop closes done by its last act
		return
	}
	close(c.ending.done)
}

// dropInbox releases what was half received.
func (c *econn) dropInbox() {
	in := &c.in
	for _, a := range in.asms {
		c.dropAssembly(a)
	}
	if in.asm != nil && c.mode == modeForeign {
		c.dropAssembly(in.asm)
	}
	in.asms, in.asm, in.slot, in.busy = nil, nil, nil, false
	closeFiles(in.arrived.files)
	in.arrived.files = nil
	in.r, in.w = 0, 0
	in.release(c.pub.group)
}

// failCalls ends every call with err. Loop only, all leases held.
func (c *econn) failCalls(err error) {
	c.calls.each(func(s *slot) {
		v := s.state.Load()
		id, at := uint32(v>>phaseBits), phase(v&(1<<phaseBits-1))
		switch {
		case at == phaseTomb:
			c.late(s, id)
		case (at == phaseWaiting || at == phasePartial) && s.move(id, at, phaseFilling):
			s.err, s.code, s.reply = err, wire.CodeOK, nil
			c.endReply(s, id)
		}
	})
}

// ready ends the wait for the hello.
func (c *econn) ready() {
	select {
	case <-c.side.ready:
	default:
		close(c.side.ready)
	}
}

// close ends the connection in good order, within ctx.
func (c *econn) close(ctx context.Context) error {
	if c.loop.here() {
		return ErrOnLoop
	}
	first := false
	c.ending.closed.Do(func() { first = true })
	if !first {
		<-c.ending.done
		return nil
	}
	c.calls.shut(c, ErrClosed)
	c.ending.closing.Store(true) // before the peer hears of it: what it sends then is refused
	c.drain()
	c.checkQuiet()
	select {
	case <-c.ending.quiet:
		// Between two batches of the loop, so that what a batch refuses is still written.
		c.loop.call(c.endQuietly)
	case <-ctx.Done():
		c.kill(ErrClosed)
	}
	<-c.ending.done
	if d := c.ending.dropped; d != (DroppedError{}) && errors.Is(c.err(), ErrClosed) {
		return &d
	}
	return nil
}

// endQuietly ends a connection with nothing left to finish. Loop only.
func (c *econn) endQuietly() {
	c.flushOrArm()
	if c.lane.late && !c.dead() {
		c.loop.call(c.endQuietly) // somebody has the write lease for a moment
		return
	}
	c.kill(ErrClosed)
}

// checkQuiet ends the wait of close when nothing is left to finish. What is served no more has its
// reply in the outbox, which is looked at after that.
func (c *econn) checkQuiet() {
	if c.ending.closing.Load() && c.serving.count() == 0 && !c.out.pending.Load() &&
		c.calls.waiting() <= 0 {
		c.markQuiet()
	}
}

func (c *econn) markQuiet() { c.ending.once.Do(func() { close(c.ending.quiet) }) }
