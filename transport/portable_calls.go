package transport

import (
	"context"
	"errors"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

var errNative = errors.New("transport: peer is native, frames cannot be written to it as they are")

// maxPings is how many pings of this side can wait for their pongs.
const maxPings = maxPongs

// portCalls are this side's: the pending ones by id, and what the peer lets it send.
type portCalls struct {
	table      map[uint32]*call
	lastID     uint32
	lastOneway uint32
	asked      int   // calls that use the peer's credit: those reserved for and not replied to
	tombs      int   // calls given up whose reply is due
	credit     int64 // bytes of calls and oneways that the peer takes now
	pings      map[uint32]chan struct{}
	lastPing   uint32
}

// call is one call of this side. Everything is guarded by portable.mu but the outcome, which
// belongs to the loop while the state is filling and to the caller once ended has a value.
type call struct {
	id    uint32
	state callState
	out   *message // nil before it is in the outbox
	buf   []byte
	done  func([]byte, error) // nil: somebody waits for ended
	timer *time.Timer         // of a call with done
	reply []byte
	err   error
	ended chan struct{}
}

// addLocked gives c an id and enters it.
func (t *portCalls) addLocked(c *call, limit int) error {
	if n := len(t.table); n >= limit {
		return &LimitError{What: "pending calls", Value: int64(n) + 1, Limit: int64(limit)}
	}
	for {
		t.lastID++
		if t.lastID != 0 && t.table[t.lastID] == nil {
			break
		}
	}
	c.id = t.lastID
	t.table[c.id] = c
	return nil
}

// removeLocked takes a call out that nothing was sent of.
func (t *portCalls) removeLocked(c *call) {
	if t.table[c.id] == c {
		delete(t.table, c.id)
	}
	c.state = callGone
}

// clearLocked empties the table and returns the calls that somebody waits for.
func (t *portCalls) clearLocked() []*call {
	var waiting []*call
	for _, c := range t.table {
		if c.state != callTomb {
			c.state = callGone
			waiting = append(waiting, c)
		}
	}
	clear(t.table)
	t.tombs, t.asked, t.credit = 0, 0, 0
	for _, p := range t.pings {
		close(p)
	}
	clear(t.pings)
	return waiting
}

// finish tells the caller the outcome. Loop only.
func (c *call) finish(reply []byte, err error) {
	if c.done != nil {
		c.done(reply, err)
		return
	}
	c.reply, c.err = reply, err
	c.ended <- struct{}{}
}

// do sends a call and waits for its outcome.
func (e *portable) do(ctx context.Context, m Message, buf []byte) ([]byte, error) {
	c := &call{buf: buf, ended: make(chan struct{}, 1)}
	s, left, err := e.newSending(ctx, &m, c)
	if err != nil {
		return nil, err
	}
	if e.onLoop() {
		return nil, ErrOnLoop
	}
	if err := e.prepare(s, left); err != nil {
		return nil, err
	}
	s.wait = true
	if m.Timeout > 0 {
		t := time.NewTimer(m.Timeout)
		defer t.Stop()
		s.timeout = t.C
	}
	if err := e.send(s); err != nil {
		return nil, err
	}
	select {
	case <-c.ended:
		return c.reply, c.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.timeout:
		err = ErrDeadline
	}
	e.mu.Lock()
	given := e.giveUpLocked(c)
	e.mu.Unlock()
	if given {
		return nil, err
	}
	<-c.ended // its reply was first
	return c.reply, c.err
}

// start sends a call whose outcome done gets, on the loop.
func (e *portable) start(m Message, buf []byte, done func([]byte, error)) (uint32, error) {
	if done == nil {
		done = func([]byte, error) {} // nobody wants to know
	}
	c := &call{buf: buf, done: done}
	s, left, err := e.newSending(context.Background(), &m, c)
	if err != nil {
		return 0, err
	}
	if err := e.prepare(s, left); err != nil {
		return 0, err
	}
	if err := e.send(s); err != nil {
		return 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.by.IsZero() {
		return c.id, nil
	}
	if c.state == callUnsent || c.state == callSent {
		e.timers.Add(1)
		c.timer = time.AfterFunc(time.Until(s.by), func() {
			defer e.timers.Done()
			e.expire(c)
		})
	}
	return c.id, nil
}

// cancelAll takes all calls with a callback back.
func (e *portable) cancelAll() {
	e.mu.Lock()
	ids := make([]uint32, 0, len(e.calls.table))
	for id := range e.calls.table {
		ids = append(ids, id)
	}
	e.mu.Unlock()
	for _, id := range ids {
		e.cancel(id)
	}
}

// cancel takes a call with a callback back.
func (e *portable) cancel(id uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.calls.table[id]
	if c == nil || c.done == nil || !e.giveUpLocked(c) {
		return
	}
	if t := c.timer; t != nil && t.Stop() {
		c.timer = nil
		e.timers.Done()
	}
	e.postLocked(func() { c.finish(nil, context.Canceled) })
}

// expire ends a call with a callback whose time is over.
func (e *portable) expire(c *call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.timer = nil
	if e.giveUpLocked(c) {
		e.postLocked(func() { c.finish(nil, ErrDeadline) })
	}
}

// stopTimer is for calls that have left the table.
func (e *portable) stopTimer(c *call) {
	e.mu.Lock()
	t := c.timer
	c.timer = nil
	e.mu.Unlock()
	if t != nil && t.Stop() {
		e.timers.Done()
	}
}

// giveUpLocked makes a tombstone of a call, or takes it back if nothing of it was sent. It is false
// when the call has ended, or its reply is being handed over.
func (e *portable) giveUpLocked(c *call) bool {
	state, ok := c.state.next(eventGiveUp)
	if !ok {
		return false
	}
	c.state = state
	if state == callGone {
		delete(e.calls.table, c.id)
		c.out.gone = true
		e.doneLocked(c.out)
		e.unreserveLocked(true, c.out.cost)
		e.quietLocked()
		return true
	}
	e.calls.tombs++
	c.buf = nil
	if m := c.out; len(m.rest) > 0 {
		m.cancel = true // the rest of its parts goes first
	} else {
		_ = e.pushLocked(controlMessage(wire.AppendControl(nil, wire.KindCancel, c.id)))
	}
	e.quietLocked()
	return true
}

// takeReply hands a whole reply over.
func (e *portable) takeReply(h wire.Header, in incoming) error {
	defer closeFiles(in.files) // replies carry none that anybody could take
	e.mu.Lock()
	c := e.calls.table[h.ID]
	if c == nil {
		e.mu.Unlock()
		return nil
	}
	tomb := c.state == callTomb
	c.state, _ = c.state.next(eventReply)
	delete(e.calls.table, c.id)
	e.calls.asked--
	if tomb {
		e.calls.tombs--
		e.count.lateReplies.Add(1)
		e.count.drops.Add(1)
	}
	c.out = nil
	e.pumpLocked()
	e.mu.Unlock()
	if tomb {
		e.quiet()
		return nil
	}
	e.stopTimer(c)
	meta, payload, err := wire.ParseBody(in.body)
	switch {
	case err != nil:
		c.finish(nil, &ProtocolError{err})
		return &ProtocolError{err}
	case h.Flags&wire.Error != 0:
		c.finish(nil, remoteError(meta.Code, payload))
	default:
		c.finish(c.place(payload, in.owned), nil)
	}
	e.quiet()
	return nil
}

// place puts a reply where the caller wants it: into its buffer, or new memory. A callback borrows.
func (c *call) place(payload []byte, owned bool) []byte {
	if len(payload) <= len(c.buf) {
		return c.buf[:copy(c.buf, payload)]
	}
	if c.done != nil || owned {
		return payload
	}
	return append([]byte(nil), payload...)
}

// takeCredit adds what the peer gives.
func (e *portable) takeCredit(n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls.credit = min(e.calls.credit+int64(n), 1<<62)
	e.pumpLocked()
}

// ping sends a ping and waits for its pong.
func (e *portable) ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.onLoop() {
		return ErrOnLoop
	}
	pong := make(chan struct{})
	e.mu.Lock()
	err := e.refusedLocked(false)
	if n := len(e.calls.pings); err == nil && n >= maxPings {
		err = &LimitError{What: "pings without a pong", Value: int64(n) + 1, Limit: maxPings}
	}
	var id uint32
	if err == nil {
		e.calls.lastPing++
		id = e.calls.lastPing
		e.calls.pings[id] = pong
		err = e.pushLocked(controlMessage(wire.AppendControl(nil, wire.KindPing, id)))
	}
	e.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-pong:
		if err := e.err(); err != nil {
			return lostError(err)
		}
		return nil
	case <-ctx.Done():
		e.mu.Lock()
		delete(e.calls.pings, id)
		e.mu.Unlock()
		return ctx.Err()
	}
}

func (e *portable) takePong(id uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.calls.pings[id]; p != nil {
		delete(e.calls.pings, id)
		close(p)
	}
}

// answerPing queues a pong. A peer that sends pings and does not read is cut off.
func (e *portable) answerPing(id uint32) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.out.pongs >= maxPongs {
		return &ProtocolError{&LimitError{What: "pings without a pong",
			Value: int64(e.out.pongs) + 1, Limit: maxPongs}}
	}
	m := controlMessage(wire.AppendControl(nil, wire.KindPong, id))
	m.class = classPong
	_ = e.pushLocked(m) // a peer that is gone may have sent something before
	return nil
}
