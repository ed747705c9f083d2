package transport

import (
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// Held is a call that has left its handler and waits for its reply, without its payload: what a
// router keeps of a call while somebody else works on it. It is not charged for memory, nothing of
// it is allocated, and after its reply it is recycled, so whoever holds it replies exactly once.
type Held struct{ r *Request }

// Canceler is told that nobody waits for the reply to a held call any more: its caller has taken it
// back, or the connection has ended. The duty to reply stays. It is called from any goroutine,
// without a lock, and may be late: ticket is what Hold was given, to tell calls apart.
type Canceler interface {
	Canceled(ticket uint64, cause error)
}

// Hold takes the duty to reply out of the handler. What r lends is borrowed until the handler
// returns, as before. w, if it is not nil, is told when the caller gives up. A oneway cannot be
// held, nor can a call that has been answered or detached: Valid is false then.
func (r *Request) Hold(w Canceler, ticket uint64) Held {
	if r.oneway || r.detached || r.done() {
		return Held{}
	}
	return Held{r.conn.eng.retain(r, watched{w: w, ticket: ticket})}
}

// retain makes the detached form of r, without what r lends.
func (r *Request) retain(w watched) *Request {
	meta, body, owned := r.meta, r.body, r.owned
	r.meta, r.body, r.owned = wire.Meta{}, nil, nil
	r.mu.Lock()
	r.watch = w
	r.mu.Unlock()
	d := r.conn.eng.detach(r, true)
	r.meta, r.body, r.owned = meta, body, owned
	return d
}

// Valid says that there is a call to reply to.
func (h Held) Valid() bool { return h.r != nil }

// Conn is the connection that the call came on.
func (h Held) Conn() *Conn { return h.r.conn }

// Reply answers the call as Request.Reply does. Unless the error is a *LimitError, the call is over
// and h must not be used again.
func (h Held) Reply(body []byte) error { return h.end(h.r.Reply(body)) }

// Gather answers the call with the pieces, joined; see Reply.
func (h Held) Gather(pieces [][]byte) error { return h.end(h.r.Gather(pieces)) }

// Fail answers the call with an error; see Reply.
func (h Held) Fail(code wire.Code, text string) error { return h.end(h.r.Fail(code, text)) }

func (h Held) end(err error) error {
	if _, open := err.(*LimitError); !open {
		h.r.recycle()
	}
	return err
}

// Message makes m, which is zero, r as a message to send on: method, payload, action, trace
// context, key and the time that is left, all borrowed like Body. late says that no time is left.
// Whom it is for is not in it.
func (r *Request) Message(m *Message) (late bool) {
	m.Method, m.Body, m.Trace = bytesString(r.meta.Method), r.body, r.meta.Trace
	m.Action, m.Key = r.meta.Action, r.meta.Key
	if r.deadline.IsZero() {
		return false
	}
	m.Timeout = time.Until(r.deadline)
	return m.Timeout <= 0
}

// ID is the id of the call; 0 of a oneway in one piece.
func (r *Request) ID() uint32 { return r.id }

// ID is the id of the call.
func (h Held) ID() uint32 { return h.r.id }

// Action is what is asked for, empty when it is to call a method. Borrowed like Body.
func (r *Request) Action() []byte { return r.meta.Action }

// Selector is whom it is for, where no route is given. Borrowed like Body.
func (r *Request) Selector() []byte { return r.meta.Selector }

// Fan is to how many it is to go.
func (r *Request) Fan() wire.Fan { return r.meta.Fan }

// Caller is a hub's number of the peer that it comes from, or 0.
func (r *Request) Caller() uint64 { return r.meta.Caller }

// Key is the hash of what it is about, or 0.
func (r *Request) Key() uint64 { return r.meta.Key }

// Begin is Go for calls that may be taken back: the id that it returns is for Cancel. Once done has
// been called the id means nothing.
func (c *Conn) Begin(m *Message, buf []byte, done func(reply []byte, err error)) (uint32, error) {
	return c.start(m, buf, done)
}

// Cancel takes a call of Begin back: the peer is told, and done gets context.Canceled on the loop,
// if the call is not over. It does not wait.
func (c *Conn) Cancel(id uint32) { c.eng.cancel(id) }

// CancelAll takes all calls of Begin and Go back, as Cancel does.
func (c *Conn) CancelAll() { c.eng.cancelAll() }

// watched is what a held call leaves to whom it tells that nobody waits for it.
type watched struct {
	w      Canceler
	ticket uint64
	lean   bool // the call has nothing but the duty to reply; immutable while it is held
}

// give tells w, if there is one. No lock may be held.
func (w watched) give(cause error) {
	if w.w != nil {
		w.w.Canceled(w.ticket, cause)
	}
}

// abandon ends the context of r, or returns who is to be told of the end of a held call. The lock
// that keeps r from being recycled is held.
func (r *Request) abandon(cause error) watched {
	r.mu.Lock()
	w := r.watch
	r.mu.Unlock()
	if w.w == nil {
		r.cancel(cause)
	}
	return w
}
