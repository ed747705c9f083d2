package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// inside is what the peer has here, and the credit that it was given for that.
type inside struct {
	table   map[uint32]*Request // calls without a reply, by id
	taken   int64               // bytes of calls and oneways received
	granted int64               // bytes of credit given on top of hello's
	owed    int64               // bytes that are over, not given back yet
}

// takeLocked counts n bytes of a call or oneway against the peer's credit. A little more than that
// is borne, as the peer may have overlooked a limit; then it is a fault.
func (i *inside) takeLocked(n int64, s *settings) error {
	i.taken += n
	credit := i.granted + s.Limits.MaxCallBytes
	if over := i.taken - credit; over > int64(s.Limits.MaxBody)+byteSlack {
		return &ProtocolError{&LimitError{What: "bytes of calls and oneways", Value: i.taken,
			Limit: credit}}
	}
	return nil
}

// clearLocked forgets the calls inside, and returns who is to be told of that.
func (i *inside) clearLocked() []watched {
	var all []watched
	for _, r := range i.table {
		r.mu.Lock()
		all = append(all, r.watch)
		r.mu.Unlock()
	}
	clear(i.table)
	return all
}

// oweLocked gives n bytes of credit back, in batches of a quarter of what the peer has in all.
func (e *portable) oweLocked(n int64) {
	e.inside.owed += n
	if e.inside.owed < max(1, e.set.Limits.MaxCallBytes/4) || e.life.over {
		return
	}
	e.inside.granted += e.inside.owed
	e.pushLocked(controlMessage(wire.AppendCredit(nil, uint64(e.inside.owed))))
	e.inside.owed = 0
}

// serve runs the handler for a whole call or oneway.
func (e *portable) serve(h wire.Header, in incoming) error {
	r := &Request{conn: e.conn, id: h.ID, oneway: in.flags == wire.FlagsOneway, onLoop: true,
		files: in.files, cost: in.cost}
	admitted, err := e.admit(r, in)
	if err != nil || !admitted {
		closeFiles(r.files)
		return err
	}
	meta, payload, err := wire.ParseBody(in.body)
	if err != nil {
		panic(err) // the same bytes were parsed before
	}
	r.meta, r.body = meta, payload
	if in.owned {
		r.owned = in.body
	}
	if meta.TimeoutUs > 0 {
		r.deadline = in.begun.Add(time.Duration(min(meta.TimeoutUs, 1<<50)) * time.Microsecond)
	}
	e.run(r)
	if raceEnabled && r.owned != nil {
		spoil(payload)
	}
	return nil
}

// admit lets r in, or answers it at once. The error ends the connection.
func (e *portable) admit(r *Request, in incoming) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.oneway {
		return true, e.chargeLocked(r.cost)
	}
	if e.inside.table[r.id] != nil {
		return false, &ProtocolError{fmt.Errorf("call %d: %w", r.id, errTwice)}
	}
	limit := e.set.Limits.MaxCalls
	if n := len(e.inside.table) + e.out.replies; n > 2*limit {
		return false, &ProtocolError{&LimitError{What: "unanswered calls of the peer",
			Value: int64(n), Limit: int64(limit)}}
	}
	var refused error
	code := wire.CodeOverloaded
	switch n := len(e.inside.table); {
	case e.life.closing:
		refused, code = ErrDraining, wire.CodeDraining
	case in.refused != nil:
		refused = in.refused
	case n >= limit:
		refused = &LimitError{What: "unanswered calls", Value: int64(n) + 1, Limit: int64(limit)}
	default:
		refused = e.chargeLocked(r.cost)
	}
	if refused == nil {
		e.inside.table[r.id] = r
		return true, nil
	}
	f := replyFrame{code: code, body: stringBytes(refused.Error())}
	e.pushLocked(replyMessage(r.id, &f))
	e.oweLocked(r.cost)
	return false, nil
}

// run hands r to the handler, whose panic is the caller's error and not the process's.
func (e *portable) run(r *Request) {
	defer func() {
		if p := recover(); p != nil {
			r.panicked(p)
		}
		r.onLoop = false
		r.ended()
		if r.oneway && !r.detached {
			e.over(r)
		}
	}()
	if h := e.set.Handler; h != nil {
		h.Serve(r)
		return
	}
	if r.oneway {
		e.drop()
		return
	}
	_ = r.Fail(wire.CodeNoMethod, fmt.Sprintf("%q: nothing is served here", r.Method()))
}

// detach moves the duties of r to a copy that outlives the handler. A oneway that leaves its
// handler so is over for the peer: nobody says when its copy is done with.
func (e *portable) detach(r *Request, pooled bool) *Request {
	d := r.clone(pooled)
	if d.answered.Load() {
		if r.done() {
			d.finish()
		}
		return d
	}
	e.mu.Lock()
	if !r.oneway && e.inside.table[r.id] == r {
		e.inside.table[r.id] = d
	}
	r.mu.Lock()
	d.life = r.life // a cancel may have come since it was copied
	r.mu.Unlock()
	if r.oneway && !pooled {
		e.refundLocked(r.cost)
		e.oweLocked(r.cost)
	}
	e.mu.Unlock()
	return d
}

func (e *portable) retain(r *Request, w watched) *Request { return r.retain(w) }

// reply answers r, once.
func (e *portable) reply(r *Request, f replyFrame) error {
	if r.oneway || r.detached {
		return ErrReplied
	}
	if n, limit := f.size(), int(e.peerMaxBody()); n > limit {
		return &LimitError{What: "bytes of a reply", Value: int64(n), Limit: int64(limit)}
	}
	if !r.answered.CompareAndSwap(false, true) {
		return ErrReplied
	}
	f = f.filled()
	m := replyMessage(r.id, &f)
	e.mu.Lock()
	err := e.life.err
	if err == nil && e.out.err != nil {
		err = lostError(e.out.err)
	}
	delete(e.inside.table, r.id)
	e.refundLocked(r.cost)
	if err == nil {
		if err = e.pushLocked(m); err == nil {
			e.oweLocked(r.cost)
		}
		e.quietLocked()
	}
	e.mu.Unlock()
	r.finish()
	return err
}

// over ends a oneway: its handler has returned.
func (e *portable) over(r *Request) {
	e.mu.Lock()
	e.refundLocked(r.cost)
	e.oweLocked(r.cost)
	e.mu.Unlock()
	r.finish()
}

// cancelInside ends the context of a call that the peer has taken back. The duty to reply stays.
// The lock is held so that the request cannot be recycled meanwhile; a context runs no foreign code
// in its cancel function.
func (e *portable) cancelInside(id uint32) {
	key := partKey{wire.FlagsCall, id}
	a := e.parts.table[key]
	if a != nil { // no further part comes
		e.parts.remove(key)
		e.forget(a)
	}
	var w watched
	e.mu.Lock()
	if a != nil {
		f := replyFrame{code: wire.CodeCanceled, body: stringBytes(context.Canceled.Error())}
		e.pushLocked(replyMessage(id, &f))
		e.oweLocked(a.cost)
	} else if r := e.inside.table[id]; r != nil {
		w = r.abandon(context.Canceled)
	}
	e.mu.Unlock()
	w.give(context.Canceled)
}
