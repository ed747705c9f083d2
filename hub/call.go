package hub

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// Message is a call or oneway to an object. What it points to is the caller's again when the
// function that got it has returned.
type Message struct {
	Method  string        // of the object; at most wire.MaxMethod bytes
	Payload []byte        // between native peers any bytes; for Pandora's a JSON array of arguments
	Timeout time.Duration // 0: none but the context's
	Trace   []byte        // W3C trace context, as the traceparent header writes it
	Key     uint64        // balancer.KeyOf what it is about, for consistent hashing; 0: none
	Action  string        // what is asked, where that is not to call the method; see ActionInvoke
}

// Route is a selector that a client sends to. It is resolved with the first call, and again after
// a rejoin; a call on a resolved route allocates nothing.
type Route struct {
	c        *Client
	selector Selector
	raw      []byte                   // the selector as JSON
	state    atomic.Pointer[resolved] // nil: not yet

	resolving chan struct{} // a token for who asks the hub
	holders   int           // who have it from Client.Route; guarded by Client.mu

	paused atomic.Bool // set and cleared under mu
	mu     sync.Mutex
	gate   chan struct{} // closed when the route is open again; guarded by mu
	heard  uint64        // number of the last pause or resume; guarded by mu
}

// resolved is the handle of a route on one session.
type resolved struct {
	session *session
	handle  uint64
}

// Route returns the route to s. It is made once, and lives as long as the client, or until all who
// have asked for it have released it: that is for selectors of which there is no end, such as those
// of single processes.
func (c *Client) Route(s Selector) *Route {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.routes[s]
	if r == nil {
		raw, _ := json.Marshal(s) // strings cannot fail
		r = &Route{c: c, selector: s, raw: raw, resolving: make(chan struct{}, 1)}
		c.routes[s] = r
	}
	r.holders++
	return r
}

// Release gives back what one call of Client.Route or Object has returned, which may not be used by
// its caller any more. When it was the last one the route is forgotten, here and by the hub.
func (r *Route) Release() {
	c := r.c
	c.mu.Lock()
	r.holders--
	last := r.holders == 0
	if last {
		delete(c.routes, r.selector)
		if v := r.state.Swap(nil); v != nil {
			c.unused = append(c.unused, v)
		}
	}
	c.mu.Unlock()
	if last {
		c.releaseUnused()
	}
}

// releaseUnused tells the hub of the handles that nobody uses any more, as far as there is room;
// those of a session that is over have ended with it.
func (c *Client) releaseUnused() {
	c.mu.Lock()
	unused := c.unused
	c.unused = nil
	c.mu.Unlock()
	s := c.session.Load()
	for i, v := range unused {
		if v.session != s {
			continue
		}
		body := appendNumber(nil, `{"route":`, v.handle)
		err := s.conn.TryPost(transport.Message{Method: methodRelease, Body: body})
		if errors.Is(err, transport.ErrFull) { // the next one tries again
			c.mu.Lock()
			c.unused = append(c.unused, unused[i:]...)
			c.mu.Unlock()
			return
		}
	}
}

// Object is Route for the name of an object.
func (c *Client) Object(name string) *Route { return c.Route(Selector{ObjectName: name}) }

// Selector is whom the route leads to.
func (r *Route) Selector() Selector { return r.selector }

// Resolve has the hub find the route, if it has not. Calls do that by themselves.
func (r *Route) Resolve(ctx context.Context) error {
	_, err := r.resolve(ctx)
	return err
}

func (r *Route) resolve(ctx context.Context) (*resolved, error) {
	if v := r.state.Load(); v != nil && v.session == r.c.session.Load() {
		return v, nil
	}
	return r.resolveSlow(ctx)
}

func (r *Route) resolveSlow(ctx context.Context) (*resolved, error) {
	// One at a time: what the hub says about a route, it says about the handle that it gave last.
	select {
	case r.resolving <- struct{}{}:
		defer func() { <-r.resolving }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if v := r.state.Load(); v != nil && v.session == r.c.session.Load() {
		return v, nil
	}
	s, err := r.c.online(ctx)
	if err != nil {
		return nil, err
	}
	reply, err := s.conn.Do(ctx, transport.Message{Method: methodResolve, Body: r.raw}, nil)
	if err != nil {
		return nil, remote(err)
	}
	var found struct{ Route uint64 }
	if err := json.Unmarshal(reply, &found); err != nil {
		return nil, fmt.Errorf("hub: answer to %s: %w", methodResolve, err)
	}
	v := &resolved{session: s, handle: found.Route}
	r.state.Store(v)
	return v, nil
}

// message is m on the way to the hub.
func (m *Message) message() transport.Message {
	t := transport.Message{Method: m.Method, Body: m.Payload, Timeout: m.Timeout, Trace: m.Trace,
		Key: m.Key}
	if m.Action != "" && m.Action != ActionInvoke {
		t.Action = []byte(m.Action)
	}
	return t
}

// Call calls a method of one provider and waits for the reply; see Do.
func (r *Route) Call(ctx context.Context, method string, payload, buf []byte) ([]byte, error) {
	return r.Do(ctx, Message{Method: method, Payload: payload}, buf)
}

// Do sends m to one of those that the route finds, and returns the payload of the reply, in buf
// when it fits there (buf[:n]). Errors: *RemoteError (wire.CodeNoRoute: there is nobody;
// wire.CodePeerLost: the provider went away), those of ctx, transport.ErrDeadline,
// transport.ErrConnLost when the hub went away: the call may have been carried out. It is repeated
// only where the hub says that it was not begun.
func (r *Route) Do(ctx context.Context, m Message, buf []byte) ([]byte, error) {
	for {
		v, err := r.resolve(ctx)
		if err == nil && r.paused.Load() {
			err = r.wait(ctx)
		}
		if err != nil {
			return nil, err
		}
		t := m.message()
		t.Route = v.handle
		reply, err := v.session.conn.Do(ctx, t, buf)
		if err == nil {
			return reply, nil
		}
		if !r.stale(v, err) {
			return nil, remote(err)
		}
	}
}

// stale says that err is about the handle, which is forgotten then.
func (r *Route) stale(v *resolved, err error) bool {
	var remote *transport.RemoteError
	if errors.As(err, &remote) && remote.Code == wire.CodeStale {
		return r.state.CompareAndSwap(v, nil)
	}
	return false
}

// Go sends m as Do does, without waiting: done is called once, on the loop of the connection, so it
// must not block; it may use Go again. An error reply is a *transport.RemoteError, of which Remote
// makes a *RemoteError. buf is lent until then, the reply is borrowed until done returns. Go never
// blocks: without room, or while the route holds back, it gives transport.ErrFull, without a hub
// ErrAway; done is not called then.
func (r *Route) Go(m Message, buf []byte, done func(reply []byte, err error)) error {
	t := m.message()
	conn, err := r.address(&t)
	if err != nil {
		return err
	}
	return conn.Go(t, buf, done)
}

// address puts the route into t: its handle, or else the selector.
func (r *Route) address(t *transport.Message) (*transport.Conn, error) {
	s := r.c.session.Load()
	if s == nil {
		return nil, ErrAway
	}
	if r.paused.Load() {
		return nil, transport.ErrFull
	}
	if v := r.state.Load(); v != nil && v.session == s {
		t.Route = v.handle
	} else {
		t.Selector = r.raw
	}
	return s.conn, nil
}

// Send sends m to one of those that the route finds; nobody replies. Without room it waits within
// ctx. While there is no hub it is buffered; over JoinOptions.Buffer the error wraps
// transport.ErrFull. When nobody is found it is lost.
func (r *Route) Send(ctx context.Context, m Message) error { return r.post(ctx, m, wire.FanOne) }

// SendAll sends m to each of those that the route finds.
func (r *Route) SendAll(ctx context.Context, m Message) error { return r.post(ctx, m, wire.FanAll) }

func (r *Route) post(ctx context.Context, m Message, fan wire.Fan) error {
	t := m.message()
	t.Fan = fan
	if r.paused.Load() {
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
	if v := r.state.Load(); v != nil && v.session == r.c.session.Load() {
		t.Route = v.handle
		return v.session.conn.Post(ctx, t)
	}
	t.Selector = r.raw
	return r.c.post(ctx, &t)
}

// post sends a oneway that says whom it is for, or keeps it until there is a hub.
func (c *Client) post(ctx context.Context, t *transport.Message) error {
	if s := c.session.Load(); s != nil {
		return s.conn.Post(ctx, *t)
	}
	c.mu.Lock()
	if s := c.session.Load(); s != nil {
		c.mu.Unlock()
		return s.conn.Post(ctx, *t)
	}
	defer c.mu.Unlock()
	if c.closed {
		return ErrLeft
	}
	return c.buffer.add(t, c.o.Buffer)
}

// Broadcast sends m to every process at the hub, this one included; see JoinOptions.Handler.
func (c *Client) Broadcast(ctx context.Context, m Message) error {
	t := m.message()
	t.Fan = wire.FanEach
	return c.post(ctx, &t)
}

// Reply is what one of many has replied.
type Reply struct {
	Peer    uint64 // the hub's number of the provider
	Payload []byte
	Err     error // *RemoteError
}

// CallAll sends m to each of those that the route finds, and returns their replies in the order in
// which they came, when all have come or failed. Nobody there: none, and no error. When ctx ends
// first, each provider that is still at work is told, as by Do.
func (r *Route) CallAll(ctx context.Context, m Message) ([]Reply, error) {
	v, err := r.resolve(ctx)
	if err != nil {
		return nil, err
	}
	t := m.message()
	t.Route, t.Fan = v.handle, wire.FanAll
	body, err := v.session.conn.Do(ctx, t, nil)
	if err != nil {
		return nil, remote(err)
	}
	return parseReplies(body)
}

// errReplies says that the replies of many do not have the form that they should.
var errReplies = errors.New("hub: malformed replies of many")

// parseReplies reads the payload of the reply to a call that went to many; see batch.
func parseReplies(b []byte) ([]Reply, error) {
	var all []Reply
	for len(b) > 0 {
		var n [3]uint64
		for i := range n {
			v, k := binary.Uvarint(b)
			if k <= 0 {
				return nil, errReplies
			}
			n[i], b = v, b[k:]
		}
		if n[2] > uint64(len(b)) {
			return nil, errReplies
		}
		r := Reply{Peer: n[0], Payload: b[:n[2]:n[2]]}
		if code := wire.Code(n[1]); code != wire.CodeOK {
			r.Err = remote(&transport.RemoteError{Code: code, Text: string(r.Payload)})
			r.Payload = nil
		}
		all, b = append(all, r), b[n[2]:]
	}
	return all, nil
}

// told has senders wait, or lets them go on, unless something later has been said.
func (r *Route) told(number uint64, pause bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if number < r.heard {
		return
	}
	r.heard = number
	r.setLocked(pause)
}

// reset lets senders go on, when the session is over.
func (r *Route) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = 0
	r.setLocked(false)
}

func (r *Route) setLocked(pause bool) {
	switch {
	case pause == r.paused.Load():
	case pause:
		r.gate = make(chan struct{})
		r.paused.Store(true)
	default:
		r.paused.Store(false)
		close(r.gate)
	}
}

// wait waits until the route is open.
func (r *Route) wait(ctx context.Context) error {
	r.mu.Lock()
	gate, paused := r.gate, r.paused.Load()
	r.mu.Unlock()
	if !paused {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hub: providers of %s take no more: %w", r.raw, ctx.Err())
	}
}
