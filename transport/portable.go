package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// portable is the engine that drives a connection with two goroutines over package net: one reads,
// and runs the handlers and callbacks (it is the connection's loop), the other one writes. It is
// the simple one of the two engines: one lock, one map of calls, every outgoing body copied.
//
//	net.UnixConn -> inbox -> frames -> handler        loop
//	   caller, handler -> outbox -> net.UnixConn      writer
//
// Lock order: mu, then Request.mu. No lock is held across a read, a write or code of the user.
type portable struct {
	conn     *Conn
	set      *settings
	listener *Listener // counts the connection out; nil if there is none
	nc       *net.UnixConn
	hello    wire.Hello     // what this side says; immutable
	loopID   atomic.Uintptr // goroutineID of the loop while it runs; partner: onLoop
	count    counters
	in       portInbox      // loop only
	parts    assemblies     // loop only
	ready    chan struct{}  // closed when the answer to our hello is here (client)
	gone     chan struct{}  // closed when nothing runs any more
	timers   sync.WaitGroup // of calls with a callback
	writer   sync.WaitGroup

	mu     sync.Mutex
	life   life       // guarded by mu
	calls  portCalls  // guarded by mu
	inside inside     // guarded by mu
	out    portOutbox // guarded by mu
	queue  waiting    // guarded by mu
	missed int64      // bytes that found no room, for Hooks.Room; guarded by mu
}

// life is where a connection stands between hello and end.
type life struct {
	phase   portPhase
	peer    wire.Hello    // valid when native
	files   bool          // descriptors were negotiated
	err     error         // why it ends or ended; nil as long as it lives
	over    bool          // the tables are closed: nothing is added to them any more
	closing bool          // Close was called
	drained bool          // the peer wants no new calls
	told    bool          // the peer was told to send no new ones
	idle    chan struct{} // made by Close, closed and nil when all is finished and written
	lost    DroppedError  // what Close could not finish
	posted  []func()      // callbacks for the loop
	due     time.Time     // when reading ends with late; zero: never
	late    error
	held    int64 // bytes held for the peer, also counted by the group
}

// newPortable makes the engine of c on nc, which is its own from now on.
func newPortable(c *Conn, nc *net.UnixConn, l *Listener) *portable {
	e := &portable{conn: c, set: c.set, listener: l, nc: nc, hello: c.set.hello(),
		ready: make(chan struct{}), gone: make(chan struct{})}
	if !canPassFiles {
		e.hello.Capabilities &^= wire.CapFiles
	}
	if !c.set.server && !c.set.greets() {
		e.life.phase = phaseForeign
	}
	e.in = newInbox(e)
	e.parts.table = make(map[partKey]*portAssembly)
	e.calls.table = make(map[uint32]*call)
	e.calls.pings = make(map[uint32]chan struct{})
	e.inside.table = make(map[uint32]*Request)
	e.queue.init()
	e.out.wake.L = &e.mu
	c.eng = e
	return e
}

// startPortable drives c over s, which is its own from now on. A side that greets waits for the
// answer to its hello.
func startPortable(ctx context.Context, c *Conn, s socket, l *Listener) error {
	nc, err := s.netConn()
	if err != nil {
		return err
	}
	e := newPortable(c, nc, l)
	e.begin()
	if !c.set.greets() {
		return nil
	}
	select {
	case <-e.ready:
		return nil
	case <-ctx.Done():
		e.fail(ctx.Err())
	case <-e.gone:
	}
	<-e.gone
	return e.err()
}

// begin starts the two goroutines.
func (e *portable) begin() {
	e.mu.Lock()
	if e.set.server {
		if e.set.Foreign == nil {
			within := e.set.Limits.HelloTimeout
			e.life.due = time.Now().Add(within)
			e.life.late = fmt.Errorf("no hello within %v: %w", within, ErrDeadline)
		}
	} else if e.set.greets() {
		e.in.files = e.hello.Capabilities&wire.CapFiles != 0
		e.pushLocked(controlMessage(e.hello.AppendTo(nil)))
	}
	e.armLocked()
	e.mu.Unlock()
	if !e.conn.group.others.add(e) {
		e.fail(ErrClosed)
	}
	e.writer.Go(e.write)
	go e.loop() // waited for by whoever waits for gone
}

// portableConns are the connections of a Group that the portable engine drives.
type portableConns struct {
	mu     sync.Mutex
	conns  map[*portable]struct{} // guarded by mu
	closed bool                   // guarded by mu
}

// add is false when the Group is closed already.
func (p *portableConns) add(e *portable) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		p.conns = make(map[*portable]struct{})
	}
	p.conns[e] = struct{}{}
	return !p.closed
}

func (p *portableConns) remove(e *portable) {
	p.mu.Lock()
	delete(p.conns, e)
	p.mu.Unlock()
}

// close ends the connections that are left and waits for them.
func (p *portableConns) close() {
	p.mu.Lock()
	p.closed = true
	left := slices.Collect(maps.Keys(p.conns))
	p.mu.Unlock()
	for _, e := range left {
		e.fail(ErrClosed)
		<-e.gone
	}
}

// loop reads frames and handles them until the connection ends, and then ends it.
func (e *portable) loop() {
	e.loopID.Store(goroutineID())
	opened := !e.set.greets()
	if opened {
		e.open()
	}
	var err error
	for err == nil {
		var f frame
		if f, err = e.in.next(); err != nil {
			break
		}
		e.count.framesIn.Add(1)
		err = e.handle(f)
		e.in.release(f)
		if !opened && e.native() {
			opened = true
			e.open()
			close(e.ready)
		}
		if err == nil {
			err = e.err()
		}
	}
	e.end(err, opened)
	close(e.gone)
}

func (e *portable) open() {
	if h := e.set.Hooks.Open; h != nil {
		h(e.conn)
	}
}

// end closes everything in order; err is why. It runs on the loop, as its last act.
func (e *portable) end(err error, opened bool) {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = fmt.Errorf("%w: %w", ErrConnLost, err)
	}
	if errors.Is(err, io.EOF) {
		e.lastWrites()
	}
	e.fail(err)
	e.mu.Lock()
	err = e.life.err
	e.stopWriterLocked(err)
	e.mu.Unlock()
	e.writer.Wait() // what it has written counts as that

	e.mu.Lock()
	e.life.over = true
	if e.life.idle != nil {
		e.life.lost = e.leftLocked()
	}
	e.queue.failLocked(lostError(err))
	waiting := e.calls.clearLocked()
	watching := e.inside.clearLocked()
	e.out.clearLocked()
	held := e.life.held
	e.life.held = 0
	e.mu.Unlock()

	_ = e.conn.group.charge(-held)
	e.in.close()
	e.parts.close()
	for _, c := range waiting {
		e.stopTimer(c)
		c.finish(nil, lostError(err))
	}
	for _, w := range watching {
		w.give(err)
	}
	e.timers.Wait()
	e.runPosted()
	e.conn.cancel(err)
	if h := e.set.Hooks.Close; h != nil && opened {
		h(e.conn, err)
	}
	if e.listener != nil {
		e.listener.leave(e.conn)
	}
	e.loopID.Store(0)
	e.conn.group.others.remove(e)
	if e.conn.ownGroup && opened {
		_ = e.conn.group.Close()
	}
}

// fail ends the connection because of err; the first reason stays. It does not wait.
func (e *portable) fail(err error) {
	e.mu.Lock()
	if e.life.err == nil {
		e.life.err = err
	}
	e.mu.Unlock()
	e.hangUp()
}

// hangUp ends the stream, which the two goroutines notice, and the peer, even when somebody else
// has the socket open, too.
func (e *portable) hangUp() {
	_ = e.nc.CloseWrite()
	_ = e.nc.Close()
}

// lostError is what a call gets when the connection has ended because of cause.
func lostError(cause error) error {
	if errors.Is(cause, ErrClosed) || errors.Is(cause, ErrConnLost) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrConnLost, cause)
}

// onLoop says whether the caller is a handler or callback of this connection.
func (e *portable) onLoop() bool { return e.loopID.Load() == goroutineID() }

// postLocked has f run on the loop, by ending the read that the loop waits in.
func (e *portable) postLocked(f func()) {
	e.life.posted = append(e.life.posted, f)
	e.count.wakes.Add(1)
	e.armLocked()
}

// armLocked sets until when the loop may wait for bytes.
func (e *portable) armLocked() {
	due := e.life.due
	if len(e.life.posted) > 0 {
		due = time.Unix(1, 0)
	}
	_ = e.nc.SetReadDeadline(due)
}

// woken is called when a read has ended at its deadline. It runs what was posted; the error says
// that the connection's own deadline has passed.
func (e *portable) woken() error {
	e.mu.Lock()
	posted := len(e.life.posted)
	late := e.life.late
	if posted > 0 || e.life.due.IsZero() || time.Now().Before(e.life.due) {
		late = nil
	}
	e.mu.Unlock()
	if late != nil {
		return late
	}
	e.runPosted()
	return nil
}

func (e *portable) runPosted() {
	e.mu.Lock()
	posted := e.life.posted
	e.life.posted = nil
	e.armLocked()
	e.mu.Unlock()
	for _, f := range posted {
		f()
	}
}

// chargeLocked adds n bytes to what the connection holds, within its budget and its group's.
func (e *portable) chargeLocked(n int64) error {
	if v := e.life.held + n; v > e.set.Limits.ConnMemory {
		return &LimitError{What: "bytes held by the connection", Value: v,
			Limit: e.set.Limits.ConnMemory}
	}
	if err := e.conn.group.charge(n); err != nil {
		return err
	}
	e.life.held += n
	return nil
}

// refundLocked takes back what chargeLocked added. After the end there is nothing left.
func (e *portable) refundLocked(n int64) {
	if n = min(n, e.life.held); n > 0 {
		e.life.held -= n
		_ = e.conn.group.charge(-n)
	}
}

func (e *portable) charge(n int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.chargeLocked(n)
}

func (e *portable) refund(n int64) {
	e.mu.Lock()
	e.refundLocked(n)
	e.mu.Unlock()
}

func (e *portable) abort(err error)       { e.fail(err) }
func (e *portable) done() <-chan struct{} { return e.gone }

func (e *portable) err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.life.err
}

func (e *portable) native() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.life.phase == phaseNative
}

func (e *portable) peerMaxBody() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peerMaxBodyLocked()
}

func (e *portable) peerMaxBodyLocked() uint32 {
	switch {
	case e.life.phase != phaseNative:
		return uint32(e.set.Limits.MaxBody)
	case e.life.peer.MaxBody == 0:
		return wire.DefaultMaxBody
	}
	return e.life.peer.MaxBody
}

func (e *portable) trace(out bool, h wire.Header, size int) {
	if t := e.set.Hooks.Trace; t != nil {
		t(Event{Conn: e.conn, Out: out, Header: h, Size: size})
	}
}

// timedOut says whether err is the end of a read at its deadline.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
