package transport

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/bytebufferpool"

	"github.com/pithos-ipc/pithos/wire"
)

// Handler serves calls and oneways. Serve runs on the loop of the connection: it must not block,
// and the request with everything it refers to is borrowed until Serve returns (Detach keeps it).
// Work that blocks belongs on a Pool. A call is replied to once, by Reply, Fail or Gather, before
// Serve returns or, when detached, later; a call that was neither is answered with
// wire.CodeDeadline or wire.CodeCanceled when that has ended its context, else with
// wire.CodeInternal, as is one whose handler panics.
type Handler interface {
	Serve(*Request)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(*Request)

// Serve calls f.
func (f HandlerFunc) Serve(r *Request) { f(r) }

// FrameHandler gets the frames of connections that are not native, as they are. Frame runs on the
// loop; the frame is borrowed until it returns. An error ends that connection with it.
type FrameHandler interface {
	Frame(c *Conn, f wire.Frame) error
}

// Request is one call or oneway of the peer. What a held one needs comes first, in two cache lines.
type Request struct {
	conn     *Conn
	id       uint32
	oneway   bool
	onLoop   bool // the handler has not returned: the loop flushes after it; loop only
	detached bool // Detach was called, this is the original
	pooled   bool // detached for a worker, recycled after it
	replied  bool // the one reply has been made, on the loop; loop only
	answered atomic.Bool
	cost     int64    // bytes of credit to give back when it is over
	next     *Request // chain of the engine's table of calls inside
	mu       sync.Mutex
	watch    watched   // of a held call; guarded by mu
	deadline time.Time // zero: none

	held    int64 // bytes charged to the connection as long as it is detached
	meta    wire.Meta
	body    []byte
	owned   []byte                     // buffer that this request owns, which body may lie in
	files   []*os.File                 // not taken yet
	scratch *bytebufferpool.ByteBuffer // behind a detached body
	life    *requestCtx                // made by the first Context or by cancel; guarded by mu
}

// requestCtx is the context of a request and what ends it.
type requestCtx struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the deadline
}

// Conn is the connection that the request came on. It can be called back on.
func (r *Request) Conn() *Conn { return r.conn }

// Peer is who the other end is, by the kernel's word.
func (r *Request) Peer() Credentials { return r.conn.Peer() }

// Oneway says that no reply will be sent.
func (r *Request) Oneway() bool { return r.oneway }

// Method is the name that was called. Borrowed like Body.
func (r *Request) Method() []byte { return r.meta.Method }

// Route is the route handle, or 0.
func (r *Request) Route() uint64 { return r.meta.Route }

// Trace is the W3C trace context, or empty. Borrowed like Body.
func (r *Request) Trace() []byte { return r.meta.Trace }

// Body is the payload, borrowed until the handler returns, or when detached until the reply. The
// handler may write to it.
func (r *Request) Body() []byte { return r.body }

// Deadline is when the caller stops waiting.
func (r *Request) Deadline() (time.Time, bool) { return r.deadline, !r.deadline.IsZero() }

// Files hands the descriptors over that came with the request; the caller closes them. Those never
// asked for are closed when the request is over.
func (r *Request) Files() []*os.File {
	f := r.files
	r.files = nil
	return f
}

// Context ends when the caller cancels, when its deadline passes, when the connection ends, or when
// the request has been replied to. Made at the first call, which allocates.
func (r *Request) Context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lifeLocked().ctx
}

func (r *Request) lifeLocked() *requestCtx {
	if r.life == nil {
		l := &requestCtx{}
		l.ctx, l.cancel = context.WithCancelCause(r.conn.ctx)
		if !r.deadline.IsZero() {
			l.ctx, l.stop = context.WithDeadline(l.ctx, r.deadline)
		}
		if r.done() && !r.oneway {
			l.cancel(ErrReplied)
		}
		r.life = l
	}
	return r.life
}

// cancel ends the request's context with cause.
func (r *Request) cancel(cause error) {
	r.mu.Lock()
	l := r.lifeLocked()
	r.mu.Unlock()
	l.cancel(cause)
}

// finish releases the context and the descriptors nobody took.
func (r *Request) finish() {
	r.mu.Lock()
	l := r.life
	r.mu.Unlock()
	if l != nil {
		l.cancel(ErrReplied)
		if l.stop != nil {
			l.stop()
		}
	}
	closeFiles(r.files)
	r.files = nil
}

// Reply answers the call with body, which is the caller's again when Reply returns. It does not
// block: replies always have room. The error is ErrReplied, a LimitError when the body is over what
// the peer accepts (the call is then still open), or the reason why the connection ended.
func (r *Request) Reply(body []byte) error {
	return r.conn.eng.reply(r, replyFrame{body: body})
}

// Gather answers the call with the pieces, joined.
func (r *Request) Gather(pieces [][]byte) error {
	return r.conn.eng.reply(r, replyFrame{gather: pieces})
}

// Fill answers the call with n bytes that f writes: on a shared-memory lane with room where the
// caller will read them, else into a buffer, whose content is left over. f is called before Fill
// returns, if that gives no error; it must not block nor use the connection. When it panics the
// caller gets wire.CodeInternal.
func (r *Request) Fill(n int, f func(b []byte)) error {
	return r.conn.eng.reply(r, replyFrame{room: n, fill: f})
}

// Fail answers the call with an error: a code and a text.
func (r *Request) Fail(code wire.Code, text string) error {
	code = codeOf(code)
	if limit := int(r.conn.eng.peerMaxBody()); len(text) > limit {
		text = text[:limit]
	}
	return r.conn.eng.reply(r, replyFrame{code: code, body: stringBytes(text)})
}

// replyFrame is what a reply carries.
type replyFrame struct {
	code   wire.Code // not 0: an error
	body   []byte
	gather [][]byte
	room   int          // with fill: bytes of the payload
	fill   func([]byte) // writes it, or nil
}

// size is the length of the payload in bytes.
func (f *replyFrame) size() int {
	if f.fill != nil {
		return f.room
	}
	n := len(f.body)
	for _, p := range f.gather {
		n += len(p)
	}
	return n
}

// meta is what the reply's meta holds.
func (f *replyFrame) meta() wire.Meta { return wire.Meta{Code: f.code} }

// flags are those of the reply's frame.
func (f *replyFrame) flags() wire.Flags {
	if f.code != wire.CodeOK {
		return wire.FlagsError
	}
	return wire.FlagsReply
}

// Detach keeps the request beyond its handler: the result is a request of its own, with a copy of
// everything borrowed, and takes the duty to reply over from r, if r still has it. It allocates.
func (r *Request) Detach() *Request {
	return r.conn.eng.detach(r, false)
}

// clone makes the detached form of r: a copy of what is borrowed, or the buffer itself where r owns
// it. The duty to reply, the descriptors and the context move over; a request that was replied to,
// or detached before, has no duty, and then the copy counts as answered.
func (r *Request) clone(pooled bool) *Request {
	var d *Request
	if pooled {
		d = r.conn.group.request()
	} else {
		d = new(Request)
	}
	d.conn, d.id, d.oneway, d.cost, d.deadline = r.conn, r.id, r.oneway, r.cost, r.deadline
	d.meta, d.body, d.pooled = r.meta, r.body, pooled
	d.owned, r.owned = r.owned, nil
	d.held, r.held = r.held, 0
	d.files, r.files = r.files, nil
	d.answered.Store(r.done() || r.detached)
	r.mu.Lock()
	d.life, d.watch = r.life, r.watch
	r.watch = watched{}
	r.mu.Unlock()
	r.detached = true
	d.keep()
	return d
}

// keep copies what the frame lends: always the meta, the body unless its buffer is owned.
func (r *Request) keep() {
	lent := [...]*[]byte{&r.meta.Method, &r.meta.Trace, &r.meta.Action, &r.meta.Selector, &r.body}
	if r.owned != nil {
		lent[len(lent)-1] = new([]byte)
	}
	n := 0
	for _, p := range lent {
		n += len(*p)
	}
	if n == 0 {
		return
	}
	var b []byte
	if n <= maxPooledScratch {
		r.scratch = bytebufferpool.Get()
		b = slices.Grow(r.scratch.B[:0], n)
	} else {
		b = make([]byte, 0, n)
	}
	for _, p := range lent {
		start := len(b)
		b = append(b, *p...)
		*p = b[start:len(b):len(b)]
	}
	if r.scratch != nil {
		r.scratch.B = b
	}
}

// maxPooledScratch is the largest detached copy, in bytes, whose memory goes back to the pool.
const maxPooledScratch = 64 << 10

// claim takes the right to make the one reply; false says that it has been made.
func (r *Request) claim() bool {
	if !r.onLoop {
		return r.answered.CompareAndSwap(false, true)
	}
	was := r.replied
	r.replied = true
	return !was
}

// done says whether the reply has been made.
func (r *Request) done() bool { return r.replied || r.answered.Load() }

// ended is called when the handler has returned: a call that it forgot is answered.
func (r *Request) ended() {
	if r.oneway && r.pooled && !r.detached {
		r.conn.eng.over(r)
		return
	}
	if !r.oneway && !r.detached && !r.done() {
		_ = r.Fail(r.forgotten())
	}
}

// forgotten is the answer to a call whose handler returned without a reply. One that left because
// its context had ended has not forgotten it: the caller may be waiting still, by its own clock.
func (r *Request) forgotten() (wire.Code, string) {
	r.mu.Lock()
	l := r.life
	r.mu.Unlock()
	if l != nil {
		switch l.ctx.Err() {
		case context.DeadlineExceeded:
			return wire.CodeDeadline, ""
		case context.Canceled:
			return wire.CodeCanceled, ""
		}
	}
	return wire.CodeInternal, "handler returned without a reply"
}

// panicked answers a call whose handler panicked with p.
func (r *Request) panicked(p any) {
	if !r.oneway && !r.detached {
		_ = r.Fail(wire.CodeInternal, fmt.Sprint("handler panicked: ", p))
	}
}

// recycle gives the memory of a worker's request back. Nothing may use r afterwards; in builds with
// the race detector it stays as it is, spoilt, so that misuse shows.
func (r *Request) recycle() {
	if !r.pooled || r.detached {
		return
	}
	if raceEnabled {
		spoil(r.body)
		return
	}
	if r.scratch != nil {
		bytebufferpool.Put(r.scratch)
	}
	g := r.conn.group
	g.pools.putBuffer(r.owned)
	r.conn, r.scratch, r.owned, r.body, r.files, r.life = nil, nil, nil, nil, nil, nil
	r.meta, r.cost, r.held, r.deadline, r.next = wire.Meta{}, 0, 0, time.Time{}, nil
	r.pooled, r.watch = false, watched{}
	g.pools.requests.Put(r)
}

// spoil overwrites bytes whose loan has ended.
func spoil(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}
