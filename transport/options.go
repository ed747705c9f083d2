package transport

import (
	"context"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// Options are the choices for a Listener or a dialled Conn. The zero value works.
type Options struct {
	// Handler serves the calls and oneways of the peer. nil: every call is answered with
	// wire.CodeNoMethod, oneways are dropped and counted.
	Handler Handler

	// Foreign, when not nil, makes a listener compatible: a connection whose first frame is not a
	// hello is taken for one of Pandora's, and each of its frames goes here. A side that dials
	// with it says no hello: the connection is Pandora's from the start.
	Foreign FrameHandler

	// Hooks are called at certain moments; all may be nil.
	Hooks Hooks

	// Limits bound what a connection may hold; zero fields mean the defaults.
	Limits Limits

	// BusyPoll is the longest time that a loop or a waiting caller polls before it blocks. nil
	// means DefaultBusyPoll; 0 turns busy-polling off.
	BusyPoll *time.Duration

	// Authorize judges the other end by its credentials: a listener asks it at accept, a dialling
	// side once connected. An error refuses the connection. nil means SameUser for listeners, and
	// no check for those who dial. A listener on an abstract address has to set it.
	Authorize func(Credentials) error

	// Group holds the loops and the memory budget that connections share. nil: a listener or a
	// dialled connection makes its own, which ends with it.
	Group *Group

	// Socket are the options of the socket itself.
	Socket SocketOptions

	portable bool
}

// Portable returns o with the portable loop chosen (a goroutine for each connection over package
// net) where the epoll loop would be the default: an oracle for tests, a baseline for benchmarks.
func (o Options) Portable() Options {
	o.portable = true
	return o
}

// DefaultBusyPoll is the longest time that a loop or a waiting caller polls when Options.BusyPoll
// is nil.
const DefaultBusyPoll = 100 * time.Microsecond

// SocketOptions are the options of a socket, and of the shared memory beside it. The zero value
// leaves the kernel's defaults.
type SocketOptions struct {
	SendBuffer    int      // SO_SNDBUF in bytes
	ReceiveBuffer int      // SO_RCVBUF in bytes
	Backlog       int      // of listen(2); 0: 1,024
	Lane          LaneMode // whether frames may travel through shared memory
	Ring          int      // bytes of each ring of lanes that this side offers; 0: see DefaultRing
	Named         bool     // a path that is short enough is bound as it is: ss(8) shows it
	Stay          bool     // no thread goes elsewhere to get away from the peer's processor

	// InPlace is for peers that are trusted: bodies of at least so many bytes, which came through
	// shared memory in one frame, are handed to handlers, and to callbacks of calls without a
	// buffer, where the peer wrote them. Until these return the peer can change the bytes under
	// their hands: what was checked may be different when it is used. 0: every body is copied out.
	InPlace int
}

// Limits bound a connection. A zero field means its default, which is the constant of its name;
// MaxFiles and Patience have none, they are only for those who ask.
type Limits struct {
	MaxBody      int           // largest body received or sent, in bytes
	MaxPending   int           // calls of this side without a reply, abandoned ones included
	MaxCalls     int           // unanswered calls that the peer may have here: its credit
	MaxCallBytes int64         // bytes of calls and oneways taken before credit is renewed
	Outbox       int           // bytes waiting to be written before senders have to wait
	Patience     time.Duration // see Conn.WriteFrame; 0: none
	ConnMemory   int64         // bytes that one connection may hold, in both directions
	MaxConns     int           // connections of a listener
	MaxFiles     int           // descriptors with one frame; 0: none are negotiated
	HelloTimeout time.Duration // for the first frame on a native-only socket, and for Dial's answer
}

// The defaults of Limits.
const (
	DefaultMaxBody      = wire.DefaultMaxBody
	DefaultMaxPending   = 8192
	DefaultMaxCalls     = 4096
	DefaultMaxCallBytes = 32 << 20
	DefaultOutbox       = 4 << 20
	DefaultConnMemory   = 1 << 30
	DefaultMaxConns     = 65536
	DefaultHelloTimeout = 5 * time.Second
)

// byteSlack is what the largest body needs in credit beyond its own length at most: meta, and the
// headers of 16,384 parts.
const byteSlack = 256 << 10

// withDefaults returns l with every zero field set, and every field within what the wire can say.
func (l Limits) withDefaults() Limits {
	set := func(p *int, def, most int) {
		if *p == 0 {
			*p = def
		}
		*p = max(1, min(*p, most))
	}
	set(&l.MaxBody, DefaultMaxBody, 1<<32-1)
	set(&l.MaxPending, DefaultMaxPending, 1<<20)
	set(&l.MaxCalls, DefaultMaxCalls, 1<<20)
	set(&l.Outbox, DefaultOutbox, 1<<40)
	set(&l.MaxConns, DefaultMaxConns, 1<<30)
	l.MaxFiles = max(0, min(l.MaxFiles, wire.MaxFiles))
	if l.MaxCallBytes == 0 {
		l.MaxCallBytes = DefaultMaxCallBytes
	}
	// A receiver may owe a quarter of the credit before it gives any back: the largest body has to
	// fit into the other three.
	l.MaxCallBytes = max(l.MaxCallBytes, (int64(l.MaxBody)+byteSlack)/3*4+4)
	if l.ConnMemory == 0 {
		l.ConnMemory = DefaultConnMemory
	}
	if l.HelloTimeout == 0 {
		l.HelloTimeout = DefaultHelloTimeout
	}
	return l
}

// Hooks are functions that the loop calls; they must not block.
type Hooks struct {
	// Open is called for every connection before its first frame is handled. On a compatible
	// listener it is not known yet whether the peer is native.
	Open func(*Conn)
	// Close is called once for every connection for which Open was called, after its last frame.
	Close func(*Conn, error)
	// Room is called after Go, Begin or TryPost has given ErrFull, once there is room for as much
	// again.
	Room func(*Conn)
	// Trace is called for every frame in and out. Unset it costs one check.
	Trace func(Event)
}

// Event is what Hooks.Trace gets to see.
type Event struct {
	Conn   *Conn
	Out    bool // written by this side
	Header wire.Header
	Size   int // bytes of the whole body, all parts, when this is the last part
}

// settings are Options with every default applied; immutable, shared by the connections of a
// listener.
type settings struct {
	Options
	busyPoll time.Duration
	server   bool
	maxFrame uint32 // largest body of one frame that is read on a native connection
}

func (o Options) settings(server bool) *settings {
	s := &settings{Options: o, busyPoll: DefaultBusyPoll, server: server}
	s.Limits = o.Limits.withDefaults()
	if o.BusyPoll != nil {
		s.busyPoll = max(0, *o.BusyPoll)
	}
	s.maxFrame = uint32(min(int64(s.Limits.MaxBody)+wire.MaxMeta+maxUvarint, 1<<32-1))
	return s
}

// greets says whether this side says hello first, and waits for the answer.
func (s *settings) greets() bool { return !s.server && s.Foreign == nil }

// maxUvarint is the longest uvarint of a meta length in bytes.
const maxUvarint = 3

// hello is what this side says about itself.
func (s *settings) hello() wire.Hello {
	h := wire.Hello{
		MinVersion: wire.MinVersion, MaxVersion: wire.Version,
		MaxBody: uint32(s.Limits.MaxBody),
		Calls:   uint32(s.Limits.MaxCalls),
		Bytes:   uint64(s.Limits.MaxCallBytes),
	}
	if s.Limits.MaxFiles > 0 {
		h.Capabilities |= wire.CapFiles
	}
	return h
}

// Message is an outgoing call or oneway in full. What it points to is the caller's: it is read
// until the function that got the Message has returned, and is not kept.
//
// Fill is called once, with Size bytes whose content is left over, before that function returns. On
// a shared-memory lane with room they are where the peer will read them, else in a buffer. Fill
// must not block nor use the connection; its panic is an error of the call.
type Message struct {
	Method  string        // which handler of a Mux; at most wire.MaxMethod bytes
	Body    []byte        // the payload
	Gather  [][]byte      // further pieces of the payload, sent behind Body without joining them
	Size    int           // with Fill: bytes of the payload
	Fill    func([]byte)  // writes a payload of Size bytes, in place of Body and Gather
	Timeout time.Duration // 0: none but the context's
	Files   []File        // descriptors that travel with it; they stay the caller's
	Trace   []byte        // W3C trace context, at most wire.MaxTrace bytes
	Route   uint64        // route handle, for those who route

	// The rest is for hubs and their peers; see package hub.
	Action   []byte   // what is asked for, at most wire.MaxAction bytes
	Selector []byte   // whom it is for, at most wire.MaxSelector bytes
	Fan      wire.Fan // to how many
	Caller   uint64   // the number of the peer that it comes from
	Key      uint64   // the hash of what it is about
	Shared   *Shared  // what Body and Gather lie in, or nil
}

// size is the length of the payload in bytes.
func (m *Message) size() int {
	if m.Fill != nil {
		return m.Size
	}
	n := len(m.Body)
	for _, p := range m.Gather {
		n += len(p)
	}
	return n
}

// meta sets w, which is zero, to the wire form of what m says about its payload. It aliases m.
func (m *Message) meta(w *wire.Meta, timeout time.Duration) {
	if m.Method != "" {
		w.Method = stringBytes(m.Method)
	}
	if len(m.Trace) > 0 {
		w.Trace = m.Trace
	}
	w.Route, w.Files = m.Route, uint32(len(m.Files))
	if len(m.Action)|len(m.Selector) > 0 {
		w.Action, w.Selector = m.Action, m.Selector
	}
	w.Fan, w.Caller, w.Key = m.Fan, m.Caller, m.Key
	if timeout > 0 {
		w.TimeoutUs = uint64(max(1, timeout.Microseconds()))
	}
}

// File is what descriptors are taken from: *os.File and the connections of package net are some.
type File interface {
	Fd() uintptr
}

// timeoutOf joins the deadline of ctx and the timeout of a message; 0 means that there is none, a
// negative value that it is over.
func timeoutOf(ctx context.Context, timeout time.Duration) time.Duration {
	d, ok := ctx.Deadline()
	if !ok {
		return timeout
	}
	left := time.Until(d)
	if left <= 0 {
		return -1
	}
	if timeout > 0 && timeout < left {
		return timeout
	}
	return left
}
