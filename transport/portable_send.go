package transport

import (
	"container/list"
	"context"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// waiting are the senders that wait for room or credit: calls and oneways each in order, so that a
// callee that takes no more calls does not hold the oneways up.
type waiting struct {
	calls, oneways list.List // of *ticket
	next           uint64
}

// ticket is one sender that waits.
type ticket struct {
	need  int64
	order uint64 // among both lists
	list  *list.List
	at    *list.Element
	let   chan error // one value: nil when what it needs is reserved for it
}

func (w *waiting) init() {
	w.calls.Init()
	w.oneways.Init()
}

func (w *waiting) empty() bool { return w.calls.Len()+w.oneways.Len() == 0 }

func (w *waiting) enter(call bool, need int64) *ticket {
	t := &ticket{need: need, order: w.next, list: &w.oneways, let: make(chan error, 1)}
	if w.next++; call {
		t.list = &w.calls
	}
	t.at = t.list.PushBack(t)
	return t
}

// leave takes t out of its list.
func (t *ticket) leave() {
	t.list.Remove(t.at)
	t.at = nil
}

// failLocked lets nobody in.
func (w *waiting) failLocked(err error) {
	failAll(&w.calls, err)
	failAll(&w.oneways, err)
}

func failAll(l *list.List, err error) {
	for l.Len() > 0 {
		t := l.Front().Value.(*ticket)
		t.leave()
		t.let <- err
	}
}

// pumpLocked reserves for those who wait, in order, what there is now.
func (e *portable) pumpLocked() {
	for {
		t := e.firstLocked()
		if t == nil {
			e.foundLocked()
			return
		}
		if !e.fitsLocked(t.need) {
			return
		}
		e.reserveLocked(t.list == &e.queue.calls, t.need)
		t.leave()
		t.let <- nil
	}
}

// foundLocked has Hooks.Room called when there is room for what found none.
func (e *portable) foundLocked() {
	if e.missed > 0 && e.queue.empty() && e.fitsLocked(e.missed) && e.callFitsLocked() &&
		!e.life.over {
		e.missed = 0
		e.postLocked(func() { e.set.Hooks.Room(e.conn) })
	}
}

// firstLocked is who is next: the earlier one of the two lists, but no call while the peer takes
// none.
func (e *portable) firstLocked() *ticket {
	var first *ticket
	if f := e.queue.oneways.Front(); f != nil {
		first = f.Value.(*ticket)
	}
	if f := e.queue.calls.Front(); f != nil && e.callFitsLocked() {
		if t := f.Value.(*ticket); first == nil || t.order < first.order {
			first = t
		}
	}
	return first
}

// callFitsLocked says whether the peer takes one more call.
func (e *portable) callFitsLocked() bool { return e.calls.asked < int(e.life.peer.Calls) }

// fitsLocked says whether need bytes have credit and room. What is larger than the outbox has room
// when that is empty.
func (e *portable) fitsLocked(need int64) bool {
	room := e.out.room
	return e.calls.credit >= need &&
		(room == 0 || room+roomFor(need) <= int64(e.set.Limits.Outbox))
}

// roomFor is what a body takes of the outbox. One in parts counts with one of them, or a single
// large body would hold up everybody else until nearly all of it is written.
func roomFor(need int64) int64 { return min(need, wire.HeaderSize+wire.MaxMeta+wire.PartSize) }

func (e *portable) reserveLocked(call bool, need int64) {
	if call {
		e.calls.asked++
	}
	e.calls.credit -= need
	e.out.room += roomFor(need)
}

// unreserveLocked gives back what was reserved and not used.
func (e *portable) unreserveLocked(call bool, need int64) {
	if call {
		e.calls.asked--
	}
	e.calls.credit += need
	e.out.room -= roomFor(need)
	e.pumpLocked()
}

// sending is a call or oneway on its way into the outbox.
type sending struct {
	ctx     context.Context
	timeout <-chan time.Time // nil: none
	by      time.Time        // zero: no deadline
	m       *Message
	call    *call // nil: a oneway
	wait    bool  // for room and credit
	need    int64 // bytes of credit
}

// prepare checks m and finds out how much credit it needs. A oneway in parts takes an id.
func (e *portable) prepare(s *sending, left time.Duration) error {
	var meta wire.Meta
	s.m.meta(&meta, left)
	if err := meta.Check(); err != nil {
		return err
	}
	n := s.m.size()
	limit := min(int64(e.peerMaxBody()), int64(e.set.Limits.MaxBody))
	if int64(n) > limit {
		return &LimitError{What: "body bytes", Value: int64(n), Limit: limit}
	}
	s.need = wireSize(meta.Size(), n)
	if left > 0 {
		s.by = time.Now().Add(left)
	}
	if len(s.m.Files) == 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life.phase == phaseNative && !e.life.files {
		return ErrNoFiles
	}
	if n := len(s.m.Files); n > e.set.Limits.MaxFiles {
		return &LimitError{What: "descriptors with one frame", Value: int64(n),
			Limit: int64(e.set.Limits.MaxFiles)}
	}
	return nil
}

// send reserves room and credit for s, copies it and queues the copy.
func (e *portable) send(s *sending) error {
	if err := e.reserve(s); err != nil {
		return err
	}
	m, err := e.encode(s)
	e.mu.Lock()
	defer e.mu.Unlock()
	isCall := s.call != nil
	ended := isCall && s.call.state == callGone // with the connection, and who waits was told
	switch {
	case ended, err != nil:
	case e.life.err != nil:
		err = lostError(e.life.err)
	case e.out.err != nil:
		err = lostError(e.out.err)
	default:
		err = e.chargeLocked(m.size() + messageExtra)
	}
	if ended || err != nil {
		e.unreserveLocked(isCall, s.need)
		if m != nil {
			m.free()
		}
		if ended {
			return nil
		}
		if isCall {
			e.calls.removeLocked(s.call)
		}
		return err
	}
	e.calls.credit += s.need - m.cost
	m.room = roomFor(m.cost)
	e.out.room += m.room - roomFor(s.need)
	if isCall {
		s.call.out = m
	}
	e.enqueueLocked(m)
	return nil
}

// reserve enters a call into the table and waits, where s may, for room and credit.
func (e *portable) reserve(s *sending) error {
	isCall := s.call != nil
	e.mu.Lock()
	t, err := e.reserveNowLocked(s)
	e.mu.Unlock()
	if err != nil || t == nil {
		return err
	}
	select {
	case err = <-t.let:
	case <-s.ctx.Done():
		err = s.ctx.Err()
	case <-s.timeout:
		err = ErrDeadline
	}
	if err == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case t.at != nil:
		t.leave()
		e.pumpLocked()
	case len(t.let) > 0 && <-t.let == nil: // both at once
		e.unreserveLocked(isCall, s.need)
	}
	if isCall {
		e.calls.removeLocked(s.call)
		e.quietLocked()
	}
	return err
}

// reserveNowLocked reserves at once, or returns a ticket to wait with.
func (e *portable) reserveNowLocked(s *sending) (*ticket, error) {
	isCall := s.call != nil
	if err := e.refusedLocked(isCall); err != nil {
		return nil, err
	}
	if total := e.life.peer.Bytes; uint64(s.need) > total {
		return nil, &LimitError{What: "bytes with headers", Value: s.need, Limit: int64(total)}
	}
	fits := e.queue.empty() && e.fitsLocked(s.need) && (!isCall || e.callFitsLocked())
	if !fits && !isCall && e.queue.oneways.Len() == 0 && !e.callFitsLocked() {
		fits = e.fitsLocked(s.need) // only calls wait, and for what it does not need
	}
	if !fits && !s.wait {
		if e.set.Hooks.Room != nil {
			e.missed = max(s.need, 1)
		}
		return nil, ErrFull
	}
	if !fits && e.onLoop() {
		return nil, ErrOnLoop
	}
	if isCall {
		if err := e.calls.addLocked(s.call, e.set.Limits.MaxPending); err != nil {
			return nil, err
		}
	}
	if fits {
		e.reserveLocked(isCall, s.need)
		return nil, nil
	}
	return e.queue.enter(isCall, s.need), nil
}

// refusedLocked says why nothing can be sent now, if so.
func (e *portable) refusedLocked(call bool) error {
	switch {
	case e.life.err != nil:
		return lostError(e.life.err)
	case e.out.err != nil:
		return lostError(e.out.err)
	case e.life.closing:
		return ErrClosed
	case e.life.phase != phaseNative:
		return ErrNotNative
	case call && e.life.drained:
		return ErrDraining
	}
	return nil
}

// encode copies s into a message.
func (e *portable) encode(s *sending) (*message, error) {
	var left time.Duration
	if !s.by.IsZero() {
		left = max(time.Microsecond, time.Until(s.by))
	}
	var meta wire.Meta
	s.m.meta(&meta, left)
	h := wire.Header{Flags: wire.FlagsOneway}
	n := s.m.size()
	if s.call != nil {
		h.Flags, h.ID = wire.FlagsCall, s.call.id
	} else if n > wire.PartSize {
		h.ID = e.onewayID()
	}
	fds, err := copyFilesOf(s.m)
	if err != nil {
		return nil, err
	}
	m := newMessage(h, &meta, n)
	m.add(s.m.Body, s.m.Gather)
	m.fds, m.call = fds, s.call
	return m, nil
}

func copyFilesOf(m *Message) ([]int, error) {
	if len(m.Files) == 0 {
		return nil, nil
	}
	return copyFiles(m.Files)
}

// onewayID is the id of the next oneway in parts.
func (e *portable) onewayID() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.calls.lastOneway++; e.calls.lastOneway == 0 {
		e.calls.lastOneway = 1
	}
	return e.calls.lastOneway
}

// post sends a oneway.
func (e *portable) post(ctx context.Context, m Message, wait bool) error {
	s, left, err := e.newSending(ctx, &m, nil)
	if err != nil {
		return err
	}
	s.wait = wait
	if wait && m.Timeout > 0 {
		t := time.NewTimer(m.Timeout)
		defer t.Stop()
		s.timeout = t.C
	}
	if err := e.prepare(s, left); err != nil {
		return err
	}
	return e.send(s)
}

// newSending looks at the time that m has.
func (e *portable) newSending(ctx context.Context, m *Message, c *call) (*sending, time.Duration,
	error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	left := timeoutOf(ctx, m.Timeout)
	if left < 0 {
		if m.Timeout < 0 {
			return nil, 0, ErrDeadline
		}
		return nil, 0, context.DeadlineExceeded
	}
	if m.Fill != nil {
		if limit := e.peerMaxBody(); uint64(m.Size) > uint64(limit) {
			return nil, 0, &LimitError{What: "body bytes", Value: int64(m.Size),
				Limit: int64(limit)}
		}
		n, err := m.filled()
		if err != nil {
			return nil, 0, err
		}
		m = &n
	}
	return &sending{ctx: ctx, m: m, call: c}, left, nil
}

// writeFrame queues a frame of a connection that is not native, as it is.
func (e *portable) writeFrame(h wire.Header, b *Message) error {
	n := b.size()
	if n > e.set.Limits.MaxBody {
		return &LimitError{What: "body bytes", Value: int64(n), Limit: int64(e.set.Limits.MaxBody)}
	}
	need := int64(wire.HeaderSize + n)
	e.mu.Lock()
	err := e.rawRefusedLocked(need)
	if err == nil {
		e.out.room += need
	}
	e.mu.Unlock()
	if err != nil {
		return err
	}
	m := rawMessage(h, n)
	m.room = need
	m.add(b.Body, b.Gather)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life.err != nil {
		m.free()
		return lostError(e.life.err)
	}
	if err := e.pushLocked(m); err != nil {
		e.out.room -= need
		return err
	}
	return nil
}

func (e *portable) rawRefusedLocked(need int64) error {
	switch {
	case e.life.err != nil:
		return lostError(e.life.err)
	case e.out.err != nil:
		return lostError(e.out.err)
	case e.life.closing:
		return ErrClosed
	case e.life.phase == phaseNative:
		return errNative
	case e.out.room > 0 && e.set.Limits.much(e.out.room+need) &&
		e.out.seen.refuses(&e.set.Limits, e.out.room+need, e.count.bytesOut.Load(), Now()):
		return ErrFull
	}
	return nil
}
