package transport

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// drain tells the peer to send no new calls.
func (e *portable) drain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drainLocked()
}

func (e *portable) drainLocked() {
	if e.life.phase == phaseNative && !e.life.told && e.life.err == nil {
		e.life.told = true
		_ = e.pushLocked(controlMessage(wire.AppendControl(nil, wire.KindDrain, 0)))
	}
}

// takeDrain stops new calls to a peer that wants none; those that wait to be sent fail.
func (e *portable) takeDrain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.life.drained = true
	failAll(&e.queue.calls, ErrDraining)
	e.pumpLocked()
}

// close ends the connection in good order, within ctx.
func (e *portable) close(ctx context.Context) error {
	if e.onLoop() {
		return ErrOnLoop
	}
	e.mu.Lock()
	if e.life.closing || e.life.err != nil {
		e.mu.Unlock()
		<-e.gone
		return nil
	}
	idle := make(chan struct{})
	e.life.closing, e.life.idle = true, idle
	e.queue.failLocked(ErrClosed)
	e.drainLocked()
	e.quietLocked()
	e.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	case <-e.gone:
	}
	e.fail(ErrClosed)
	<-e.gone
	if e.life.lost == (DroppedError{}) {
		return nil
	}
	return &e.life.lost
}

// quietLocked lets a Close go on when nothing is left inside.
func (e *portable) quietLocked() {
	if e.life.idle == nil || len(e.calls.table) > e.calls.tombs || len(e.inside.table) > 0 ||
		e.out.frames+e.out.control > 0 {
		return
	}
	close(e.life.idle)
	e.life.idle = nil
}

// lastWriteTime is how long a peer that has said all may take to read what is queued for it.
const lastWriteTime = time.Second

// lastWrites lets what is queued for a peer of Pandora's, which may end its side and still read, be
// written before the connection ends. It runs on the loop.
func (e *portable) lastWrites() {
	e.mu.Lock()
	if e.life.phase != phaseForeign || e.life.err != nil || e.life.idle != nil {
		e.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	e.life.idle = idle
	e.quietLocked()
	e.mu.Unlock()
	end := time.NewTimer(lastWriteTime)
	defer end.Stop()
	select {
	case <-idle:
	case <-end.C:
	}
	e.mu.Lock()
	if e.life.idle == idle {
		e.life.idle = nil
	}
	e.mu.Unlock()
}

func (e *portable) quiet() {
	e.mu.Lock()
	e.quietLocked()
	e.mu.Unlock()
}

// leftLocked counts what a connection that ends now has not finished.
func (e *portable) leftLocked() DroppedError {
	return DroppedError{Calls: len(e.calls.table) - e.calls.tombs, Served: len(e.inside.table),
		Frames: e.out.frames, Bytes: int(e.out.bytes)}
}

// counters are the parts of Counters that this engine has.
type counters struct {
	framesIn, framesOut atomic.Uint64
	bytesIn, bytesOut   atomic.Uint64
	reads, writes       atomic.Uint64
	wakes               atomic.Uint64
	drops, lateReplies  atomic.Uint64
}

func (e *portable) drop() { e.count.drops.Add(1) }

func (e *portable) stats() Stats {
	n := &e.count
	s := Stats{Counters: Counters{
		FramesIn: n.framesIn.Load(), FramesOut: n.framesOut.Load(),
		BytesIn: n.bytesIn.Load(), BytesOut: n.bytesOut.Load(),
		Reads: n.reads.Load(), Writes: n.writes.Load(), Wakes: n.wakes.Load(),
		Drops: n.drops.Load(), LateReplies: n.lateReplies.Load(),
	}, Lane: LaneStats{Why: "the portable engine uses none"}}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Gauges = Gauges{
		Pending: len(e.calls.table), Tombstones: e.calls.tombs, Serving: len(e.inside.table),
		CreditBytes:  e.calls.credit,
		OutboxFrames: e.out.frames + e.out.control, OutboxBytes: e.out.bytes,
		HeldBytes: e.life.held,
	}
	if e.life.phase == phaseNative && !e.life.over {
		s.CreditCalls = max(0, int(e.life.peer.Calls)-e.calls.asked)
	}
	return s
}
