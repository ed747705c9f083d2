package transport

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// engine is what drives a connection: the epoll loop, or the portable one. Everything is safe for
// concurrent use.
type engine interface {
	// do sends a call and waits for its reply.
	do(ctx context.Context, m Message, buf []byte) ([]byte, error)
	// start sends a call and has done called with the outcome, on the loop. The id is for cancel.
	start(m Message, buf []byte, done func([]byte, error)) (uint32, error)
	// cancel takes a call of start back, if it is not over.
	cancel(id uint32)
	// cancelAll is cancel for all of them.
	cancelAll()
	// post sends a oneway; when there is no room it waits within ctx, or gives ErrFull.
	post(ctx context.Context, m Message, wait bool) error
	// writeFrame queues a frame as it is, on a connection that is not native.
	writeFrame(h wire.Header, m *Message) error
	// reply answers r, once.
	reply(r *Request, f replyFrame) error
	// detach makes a request that outlives its handler; pooled ones are recycled.
	detach(r *Request, pooled bool) *Request
	// retain is detach for the duty to reply alone; w is told when nobody waits any more.
	retain(r *Request, w watched) *Request
	// over is called once when a oneway on a Pool has been handled: its credit goes back.
	over(r *Request)
	// drop counts a frame that was thrown away.
	drop()
	// ping sends a ping and waits for its pong.
	ping(ctx context.Context) error
	// drain tells the peer to send no new calls.
	drain()
	// close drains, flushes and ends the connection; abort ends it now, for the reason given.
	close(ctx context.Context) error
	abort(err error)
	// done is closed when nothing of the connection runs any more; err is the reason then.
	done() <-chan struct{}
	err() error
	native() bool
	peerMaxBody() uint32
	stats() Stats
}

// Conn is a connection that carries frames. Both ends can call and be called. All methods may be
// used from any number of goroutines.
type Conn struct {
	eng        engine
	set        *settings
	peer       Credentials
	group      *Group
	ownGroup   bool            // the group is this connection's alone
	ctx        context.Context // ends with the connection
	cancel     context.CancelCauseFunc
	attachment atomic.Value  // of attached
	stamp      time.Duration // when what is being parsed was read, 0: nobody asked; the reader's
	local      *any          // of the loop, or nil; immutable
}

type attached struct{ v any }

func newConn(set *settings, peer Credentials, g *Group) *Conn {
	c := &Conn{set: set, peer: peer, group: g}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// Call sends body and waits for the reply, which is returned in buf when it fits there (buf[:n]),
// else in new memory; buf may be nil. When Call has returned, body and buf are the caller's again
// and nothing of the connection touches them any more, whatever the outcome.
//
// The deadline of ctx travels to the handler, and so does its end. Errors: those of ctx,
// ErrDeadline, *RemoteError (the reply is an error), ErrConnLost, ErrClosed, ErrDraining,
// ErrOnLoop, *LimitError.
func (c *Conn) Call(ctx context.Context, body, buf []byte) ([]byte, error) {
	return c.eng.do(ctx, Message{Body: body}, buf)
}

// Do is Call with all that a Message can say. A Timeout there costs neither a context nor a timer.
func (c *Conn) Do(ctx context.Context, m Message, buf []byte) ([]byte, error) {
	return c.eng.do(ctx, m, buf)
}

// Go sends a call without waiting: done is called once with what Call would have returned, on the
// loop of the connection, so it must not block; it may use Go again. buf is lent until then, the
// reply is borrowed until done returns. The bytes of m are the caller's again when Go returns. Go
// itself never blocks: without room or credit it gives ErrFull, and when it gives an error done is
// not called.
func (c *Conn) Go(m Message, buf []byte, done func(reply []byte, err error)) error {
	_, err := c.start(&m, buf, done)
	return err
}

// Send sends body as a oneway: nobody replies. Without room, or credit, it waits within ctx. nil
// says that the frame will be written, not that it has arrived.
func (c *Conn) Send(ctx context.Context, body []byte) error {
	return c.eng.post(ctx, Message{Body: body}, true)
}

// Post is Send with all that a Message can say.
func (c *Conn) Post(ctx context.Context, m Message) error { return c.eng.post(ctx, m, true) }

// TryPost is Post that never waits: without room or credit it gives ErrFull.
func (c *Conn) TryPost(m Message) error { return c.eng.post(context.Background(), m, false) }

// WriteFrame queues a frame as it is (Length is taken from body) on a connection that is not
// native, or not known to be. It never waits: over Limits.Outbox it gives ErrFull and nothing is
// queued. For a peer that has read something within Limits.Patience, 4 times as much may wait. The
// bytes are the caller's again when it returns.
func (c *Conn) WriteFrame(h wire.Header, body []byte) error {
	return c.eng.writeFrame(h, &Message{Body: body})
}

// WriteFrameGather is WriteFrame with a body in pieces.
func (c *Conn) WriteFrameGather(h wire.Header, pieces [][]byte) error {
	return c.eng.writeFrame(h, &Message{Gather: pieces})
}

// Ping sends a ping and waits for the answer of the peer's loop.
func (c *Conn) Ping(ctx context.Context) error { return c.eng.ping(ctx) }

// Drain tells the peer to send no new calls, and goes on serving those that are inside.
func (c *Conn) Drain() { c.eng.drain() }

// Close ends the connection in good order: no new calls either way, the ones inside are finished,
// everything queued is written; then, or when ctx is done, the connection ends and Close waits
// until nothing of it runs. What was lost is in a *DroppedError. Closing again waits for the first
// and returns nil. From the loop it gives ErrOnLoop (Abort does not block).
func (c *Conn) Close(ctx context.Context) error { return c.eng.close(ctx) }

// Abort ends the connection now, without waiting. Calls under way fail with err, or with ErrClosed
// when err is nil.
func (c *Conn) Abort(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.eng.abort(err)
}

// Done is closed when the connection is over and nothing of it runs any more.
func (c *Conn) Done() <-chan struct{} { return c.eng.done() }

// Err is nil while the connection lives, then the reason why it ended.
func (c *Conn) Err() error { return c.eng.err() }

// Context ends when the connection does; context.Cause tells why.
func (c *Conn) Context() context.Context { return c.ctx }

// Peer is who the other end is, by the kernel's word at connect or listen.
func (c *Conn) Peer() Credentials { return c.peer }

// Native says that the peer has said hello and speaks the native protocol.
func (c *Conn) Native() bool { return c.eng.native() }

// Arrival is when the frame that is being handled was read, on the clock of Now. It is for those
// whom that frame has called on the loop of this connection (handlers, callbacks, FrameHandlers),
// and no one else. The clock is asked once for all the frames of a read, so that to time each of
// them costs next to nothing.
func (c *Conn) Arrival() time.Duration {
	if c.stamp == 0 {
		c.stamp = Now()
	}
	return c.stamp
}

// Now is a monotonic clock, which begins with the process.
func Now() time.Duration { return time.Since(base) }

// base is where Now counts from.
var base = time.Now()

// Stats are the counters of the connection.
func (c *Conn) Stats() Stats { return c.eng.stats() }

// Attach keeps v with the connection, for whoever handles it; Attachment returns it.
func (c *Conn) Attach(v any) { c.attachment.Store(attached{v}) }

// Attachment is what Attach was given last, or nil.
func (c *Conn) Attachment() any {
	a, _ := c.attachment.Load().(attached)
	return a.v
}

// Local is a place for one value that belongs to the loop of the connection, and that all
// connections of that loop have in common: their handlers, callbacks and FrameHandlers, which never
// run at the same time, may use it without a lock, and nobody else may. It is nil where connections
// have no loop in common, with the portable engine.
func (c *Conn) Local() *any { return c.local }

// closeFiles closes descriptors that nobody took.
func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
