package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// plainHub is the baseline for two hops: it forwards the frames of mux between net.UnixConns. A
// provider publishes a name, a caller looks it up once and gets a handle, which every call then
// begins with; 0 is the hub itself.
//
//	 0       1               5                9                13
//	+-------+---------------+----------------+----------------+------...
//	| flags | id (BE)       | length (BE)    | handle (BE)    | body
//	+-------+---------------+----------------+----------------+------...
//
// On its way a call gets an id of the provider's connection, and its reply the caller's back. Each
// connection has a reader, which appends to the outboxes of others and, before it waits for more,
// flushes those that nobody else does, as far as their sockets take it: so no reader waits for a
// writer.
type plainHub struct {
	*server
	limit  int
	routes atomic.Pointer[[]*hubPeer] // by handle - 1

	mu    sync.Mutex
	names map[string]uint32 // guarded by mu; handles
}

const (
	routeLen    = 4
	hubPublish  = 'P' // what the hub itself is asked, before a name
	hubLookup   = 'L'
	benchObject = "bench" // the name that every provider publishes
)

var errNoRoute = errors.New("bench: nobody has published this")

// hubPeer is one connection of a plainHub.
type hubPeer struct {
	hub   *plainHub
	conn  *net.UnixConn
	in    *bufio.Reader // reader only
	out   *outbox
	long  []byte    // reader only; a body that does not fit in
	dirty []*outbox // reader only; what it has to flush before it waits

	mu    sync.Mutex
	calls []origin // guarded by mu; calls sent to this peer, by id
	free  []uint32 // guarded by mu; ids not in use
	gone  bool     // guarded by mu
}

// origin is whose call it is: nobody's if peer is nil.
type origin struct {
	peer *hubPeer
	id   uint32
}

func servePlainHub(s Setup) (io.Closer, error) {
	h := &plainHub{limit: s.MaxBody + routeLen, names: make(map[string]uint32)}
	h.routes.Store(new([]*hubPeer))
	var err error
	h.server, err = listen(s.Path, func(conn *net.UnixConn) session {
		out, err := newOutbox(conn)
		if err != nil {
			_ = conn.Close()
			return nil
		}
		return &hubPeer{
			hub: h, conn: conn, in: bufio.NewReaderSize(conn, inboxSize), out: out,
		}
	})
	return h, err
}

// servePlainProvider is the other end of a hub's row: it answers what the hub sends on.
func servePlainProvider(s Setup) (io.Closer, error) {
	m, err := dialPlainHub(s, answer)
	if err != nil {
		return nil, err
	}
	if _, err = m.Call(append([]byte{hubPublish}, benchObject...), nil); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// dialPlainCaller resolves the provider's name once.
func dialPlainCaller(s Setup) (Conn, error) {
	m, err := dialPlainHub(s, nil)
	if err != nil {
		return nil, err
	}
	handle, err := m.Call(append([]byte{hubLookup}, benchObject...), make([]byte, routeLen))
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.route = handle
	return m, nil
}

func dialPlainHub(s Setup, handler func(body, dst []byte) []byte) (*mux, error) {
	conn, err := dial(s.Path)
	if err != nil {
		return nil, err
	}
	m, err := newMux(conn, s, handler)
	if err != nil {
		return nil, err
	}
	m.route = make([]byte, routeLen)
	go m.serve()
	return m, nil
}

// Close implements session.
func (p *hubPeer) Close() error { return p.conn.Close() }

// serve forwards frames until the connection ends.
func (p *hubPeer) serve() {
	var err error
	for err == nil {
		err = p.forward()
	}
	p.flush()
	_ = p.conn.Close()
	p.mu.Lock()
	p.gone = true
	calls := p.calls
	p.calls = nil
	p.mu.Unlock()
	for _, o := range calls {
		if o.peer != nil {
			p.send(o.peer.out, flagsError, o.id, nil)
		}
	}
	p.flush()
	p.out.fail(err)
	p.out.wake()
	<-p.out.done
}

// forward takes one frame.
func (p *hubPeer) forward() error {
	b, err := p.peek(headerLen)
	if err != nil {
		return err
	}
	h, err := parseHeader(b, p.hub.limit)
	if err != nil {
		return err
	}
	if _, err = p.in.Discard(headerLen); err != nil {
		return err
	}
	body, borrowed, err := p.body(h.length)
	if err != nil {
		return err
	}
	switch h.flags {
	case flagsCall:
		err = p.call(h.id, body)
	case flagsReply, flagsError:
		err = p.reply(h, body)
	default:
		err = fmt.Errorf("%w: flags %#02x", errNotCall, h.flags)
	}
	if err == nil {
		_, err = p.in.Discard(borrowed)
	}
	return err
}

// call sends a call on, or answers it.
func (p *hubPeer) call(id uint32, body []byte) error {
	if len(body) < routeLen {
		return fmt.Errorf("%w: %d bytes, no handle", errNotCall, len(body))
	}
	handle := binary.BigEndian.Uint32(body)
	body = body[routeLen:]
	if handle == 0 {
		return p.ask(id, body)
	}
	routes := *p.hub.routes.Load()
	if uint64(handle) <= uint64(len(routes)) {
		provider := routes[handle-1]
		if given, ok := provider.add(origin{p, id}); ok {
			p.send(provider.out, flagsCall, given, body)
			return nil
		}
	}
	p.send(p.out, flagsError, id, nil)
	return nil
}

// reply brings a reply back to its caller.
func (p *hubPeer) reply(h header, body []byte) error {
	o, err := p.remove(h.id)
	if err != nil {
		return err
	}
	p.send(o.peer.out, h.flags, o.id, body)
	return nil
}

// ask answers what the hub itself is asked.
func (p *hubPeer) ask(id uint32, body []byte) error {
	if len(body) == 0 {
		return fmt.Errorf("%w: an empty question", errNotCall)
	}
	name := string(body[1:])
	h := p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	switch body[0] {
	case hubPublish:
		routes := append(slices.Clone(*h.routes.Load()), p)
		h.routes.Store(&routes)
		h.names[name] = uint32(len(routes))
		p.send(p.out, flagsReply, id, nil)
	case hubLookup:
		if handle, ok := h.names[name]; ok {
			p.send(p.out, flagsReply, id, binary.BigEndian.AppendUint32(nil, handle))
		} else {
			p.send(p.out, flagsError, id, nil)
		}
	default:
		return fmt.Errorf("%w: question %q", errNotCall, body[0])
	}
	return nil
}

// send appends a frame to an outbox, and remembers to flush it if nobody else does. The error of an
// outbox is met by the reader of its own connection.
func (p *hubPeer) send(out *outbox, flags byte, id uint32, body []byte) {
	if mine, _ := out.append(flags, id, nil, body); mine {
		p.dirty = append(p.dirty, out)
	}
}

func (p *hubPeer) flush() {
	for _, out := range p.dirty {
		out.tryFlush()
	}
	p.dirty = p.dirty[:0]
}

// add gives a call to this peer an id, unless the peer is gone.
func (p *hubPeer) add(o origin) (id uint32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return 0, false
	}
	if last := len(p.free) - 1; last >= 0 {
		id = p.free[last]
		p.free = p.free[:last]
		p.calls[id] = o
		return id, true
	}
	p.calls = append(p.calls, o)
	return uint32(len(p.calls) - 1), true
}

// remove takes the call with this id out of the table.
func (p *hubPeer) remove(id uint32) (origin, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(id) >= len(p.calls) || p.calls[id].peer == nil {
		return origin{}, fmt.Errorf("%w: id %d", errNoWaiter, id)
	}
	o := p.calls[id]
	p.calls[id] = origin{}
	p.free = append(p.free, id)
	return o, nil
}

// body returns the next n bytes, and how many of them are still to be discarded.
func (p *hubPeer) body(n int) (b []byte, borrowed int, err error) {
	if n <= shortBody || n <= p.in.Buffered() {
		b, err = p.peek(n)
		return b, n, err
	}
	p.flush()
	p.long = slices.Grow(p.long[:0], n)[:n]
	_, err = io.ReadFull(p.in, p.long)
	return p.long, 0, err
}

// peek is bufio's Peek that flushes before it waits.
func (p *hubPeer) peek(n int) ([]byte, error) {
	if p.in.Buffered() < n {
		p.flush()
	}
	return p.in.Peek(n)
}
