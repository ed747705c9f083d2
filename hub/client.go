package hub

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// The defaults of JoinOptions.
const (
	DefaultWorkers = 256
	DefaultBuffer  = 1 << 20
)

// ErrLeft says that the client has left the hub. It wraps transport.ErrClosed, and so
// net.ErrClosed.
var ErrLeft = fmt.Errorf("hub: client has left: %w", transport.ErrClosed)

// ErrAway says that there is no connection to the hub at this moment; the client is joining again.
// Nothing was sent. It wraps transport.ErrConnLost.
var ErrAway = fmt.Errorf("hub: no hub at this moment: %w", transport.ErrConnLost)

// JoinOptions are the choices for a Client. The zero value works.
type JoinOptions struct {
	// Location says who this process is. A ClientID and a PID that are missing are filled in.
	Location Location

	// Handler serves what is for this process and not for one of its objects: messages to its
	// location, and broadcasts, which are oneways. It runs on a worker. nil: calls are answered
	// with wire.CodeNoMethod.
	Handler transport.Handler

	// OnLost is told that the connection to the hub has ended, and why. OnRejoin is told that there
	// is a new one, on which everything is published again. Both must not block.
	OnLost   func(error)
	OnRejoin func()

	// Workers is how many handlers run at a time; 0 means DefaultWorkers.
	Workers int

	// Buffer is how many bytes of oneways are kept while there is no hub, to be sent when there is;
	// 0 means DefaultBuffer, less than 0 keeps none.
	Buffer int

	// Logger is told of lost and new connections. nil: nobody is.
	Logger *slog.Logger

	// Redial are the options of the connections and of the attempts to join again. Handler, Up and
	// Down are the client's own.
	Redial transport.RedialOptions
}

// Location says who a client is, and where.
type Location struct {
	AppName     string `json:"appName,omitempty"`
	ProcessName string `json:"processName,omitempty"`
	PID         string `json:"pid,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

// Selector says whom a message is for: all who have every field that it sets.
type Selector struct {
	Location
	ObjectName string `json:"objectName,omitempty"`
	ObjectTag  string `json:"objectTag,omitempty"`
}

// Client is a process at a hub: it calls others, by a Route, and serves them, by its Publications.
//
//	Route.Do -> conn -> hub -> provider        hub -> conn -> Publication -> worker -> Handler
//	   ^                          |            (by number)
//	   +---------- reply <--------+
//
// When the hub goes away, calls under way fail with transport.ErrConnLost and are not repeated;
// the client joins again as soon as there is a hub, and what it has published and watched is there
// again before anything else is sent. Calls that are made meanwhile wait, within their context. All
// methods may be used by any number of goroutines.
type Client struct {
	o        JoinOptions // immutable
	host     []byte      // the location as JSON; immutable
	pool     *transport.Pool
	redialer *transport.Redialer
	session  atomic.Pointer[session] // nil: there is no hub
	first    chan error              // the outcome of the first attempt
	step     atomic.Uint32           // of an attempt to join; await reads it when time is over
	rejoins  atomic.Uint64

	mu       sync.Mutex
	routes   map[Selector]*Route // guarded by mu
	unused   []*resolved         // handles to be released; guarded by mu
	watches  map[uint64]*Watch   // guarded by mu
	again    map[uint64]func()   // see AfterRejoin; guarded by mu
	last     uint64              // number of a publication or a watch; guarded by mu
	joined   bool                // once; guarded by mu
	draining bool                // nothing is published again; guarded by mu
	closed   bool                // guarded by mu
	buffer   buffer              // guarded by mu

	pubs publications
}

// session is one connection to the hub.
type session struct {
	conn *transport.Conn
	peer uint64 // the hub's number of this client
}

// The steps of an attempt to join, and what each waits for.
const (
	stepConnect = iota // from the start
	stepHello
	stepOnline
)

var steps = [...]string{"no connection was accepted", "no answer to the hello",
	"no answer to " + methodOnline}

// Join connects to the hub at address and comes online, within ctx. It makes one attempt; from then
// on the client keeps itself connected until Close. Errors: those of transport.Dial, *RemoteError;
// when ctx ends first, its own, with what was waited for. All name the address.
func Join(ctx context.Context, address string, o JoinOptions) (*Client, error) {
	if o.Location.ClientID == "" {
		o.Location.ClientID = rand.Text()
	}
	if o.Location.PID == "" {
		o.Location.PID = strconv.Itoa(os.Getpid())
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	if o.Buffer == 0 {
		o.Buffer = DefaultBuffer
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	host, err := json.Marshal(o.Location)
	if err != nil {
		return nil, fmt.Errorf("hub: location: %w", err)
	}
	c := &Client{o: o, host: host, first: make(chan error, 1),
		pool:   transport.NewPool(o.Workers, 16*o.Workers),
		routes: make(map[Selector]*Route), watches: make(map[uint64]*Watch)}
	c.pubs.byNumber = make(map[uint64]*Publication)
	r := o.Redial
	r.Options.Handler = incoming{c}
	r.Up, r.Down = c.up, c.down
	authorize := r.Options.Authorize
	if authorize == nil {
		authorize = transport.SameUser
	}
	r.Options.Authorize = func(peer transport.Credentials) error {
		c.step.Store(stepHello) // it is asked between the connection and the hello
		return authorize(peer)
	}
	c.redialer = transport.Redial(address, r)
	if err := c.await(ctx); err != nil {
		c.redialer.Close(ctx)
		c.pool.Close()
		if op := new(*transport.OpError); errors.As(err, op) {
			return nil, err // it names the address
		}
		return nil, fmt.Errorf("hub: join %s: %w", address, err)
	}
	return c, nil
}

// await returns the outcome of the first attempt, or what it waits for when ctx ends.
func (c *Client) await(ctx context.Context) error {
	select {
	case err := <-c.first:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-c.first: // it is more exact
		return err
	default:
		return fmt.Errorf("%s: %w", steps[c.step.Load()], ctx.Err())
	}
}

// Location is who this client is.
func (c *Client) Location() Location { return c.o.Location }

// Peer is the hub's number of this client, which others see as Request.Caller; 0 while there is no
// hub. It is another one after each rejoin.
func (c *Client) Peer() uint64 {
	if s := c.session.Load(); s != nil {
		return s.peer
	}
	return 0
}

// AfterRejoin has f called whenever the client has joined again, as JoinOptions.OnRejoin is, until
// stop is called: for packages above that have told others something that is to be told again. f
// must not block.
func (c *Client) AfterRejoin(f func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	n := c.last
	if c.again == nil {
		c.again = make(map[uint64]func())
	}
	c.again[n] = f
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.again, n)
	}
}

// online returns the session, once there is one.
func (c *Client) online(ctx context.Context) (*session, error) {
	for {
		if s := c.session.Load(); s != nil && s.conn.Err() == nil {
			return s, nil
		}
		if _, err := c.redialer.Conn(ctx); err != nil {
			if errors.Is(err, transport.ErrClosed) {
				return nil, ErrLeft
			}
			return nil, fmt.Errorf("%w: %w", ErrAway, err)
		}
	}
}

// up comes online on a new connection and brings everything back. Nobody else sends on it yet.
func (c *Client) up(ctx context.Context, conn *transport.Conn) error {
	c.step.Store(stepOnline)
	reply, err := conn.Do(ctx, transport.Message{Method: methodOnline, Body: c.host}, nil)
	if err != nil {
		return remote(err)
	}
	var who struct{ Peer uint64 }
	if err := json.Unmarshal(reply, &who); err != nil {
		return fmt.Errorf("hub: answer to %s: %w", methodOnline, err)
	}
	s := &session{conn: conn, peer: who.Peer}
	if err := c.publishAll(ctx, s); err != nil {
		return err
	}
	if err := c.watchAll(ctx, s); err != nil {
		return err
	}
	c.mu.Lock()
	again := c.joined
	c.joined = true
	err = c.buffer.flush(ctx, conn)
	if err == nil {
		c.session.Store(s)
	}
	c.mu.Unlock()
	switch {
	case err != nil:
		return err
	case !again:
		c.first <- nil
	default:
		c.rejoins.Add(1)
		c.o.Logger.Info("joined the hub again", "peer", s.peer)
		c.mu.Lock()
		all := slices.Collect(maps.Values(c.again))
		c.mu.Unlock()
		for _, f := range all {
			f()
		}
		if c.o.OnRejoin != nil {
			c.o.OnRejoin()
		}
	}
	return nil
}

// down is told of the end of a connection, and of attempts that fail.
func (c *Client) down(err error) {
	was := c.session.Swap(nil)
	c.mu.Lock()
	joined := c.joined
	for _, r := range c.routes {
		r.reset()
	}
	c.mu.Unlock()
	switch {
	case !joined:
		select {
		case c.first <- remote(err):
		default:
		}
	case was != nil:
		c.o.Logger.Warn("lost the hub", "cause", err)
		if c.o.OnLost != nil {
			c.o.OnLost(err)
		}
	}
}

// ask calls a method of the hub itself. It asks again when the hub is lost on the way: what a hub
// is asked here ends with the connection, or changes nothing.
func (c *Client) ask(ctx context.Context, method string, body []byte) ([]byte, error) {
	for {
		s, err := c.online(ctx)
		if err != nil {
			return nil, err
		}
		reply, err := s.conn.Do(ctx, transport.Message{Method: method, Body: body}, nil)
		if !errors.Is(err, transport.ErrConnLost) && !errors.Is(err, transport.ErrDraining) {
			return reply, remote(err)
		}
		select { // a hub that drains is going
		case <-s.conn.Done():
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrAway, ctx.Err())
		}
	}
}

// Drain takes everything back that is published, so that no new call comes, and returns when the
// calls inside have ended, or ctx is done. The client can still call others.
func (c *Client) Drain(ctx context.Context) error {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
	s := c.session.Load()
	if s == nil {
		return nil // the hub that knew of it is gone
	}
	_, err := s.conn.Do(ctx, transport.Message{Method: methodOffline}, nil)
	if err = remote(err); errors.Is(err, transport.ErrConnLost) {
		return nil
	}
	return err
}

// Close drains, ends the connection and waits until nothing of the client runs, all within ctx. The
// error says what was lost: oneways that waited for a hub (*LostError), and what
// transport.Conn.Close reports. Closing again waits for the first and returns nil. It is not for a
// Handler to call.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if !first {
		return c.redialer.Close(ctx)
	}
	errs := []error{c.Drain(ctx), c.redialer.Close(ctx)}
	c.session.Store(nil)
	c.pool.Close()
	c.mu.Lock()
	errs = append(errs, c.buffer.lost())
	c.mu.Unlock()
	return errors.Join(errs...)
}

// ClientStats are counters and gauges of a Client.
type ClientStats struct {
	Rejoins  uint64 // times that the hub was found again
	Buffered int    // gauge: oneways that wait for a hub
	Dropped  uint64 // oneways that found no room in the buffer
}

// Stats are the counters of the client.
func (c *Client) Stats() ClientStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ClientStats{Rejoins: c.rejoins.Load(), Buffered: len(c.buffer.waiting),
		Dropped: c.buffer.dropped}
}

// RemoteError is a reply that says why something was not done, by the hub or by a provider.
type RemoteError struct {
	Code    wire.Code
	Name    string          // the class, where it is told
	Message string          // what went wrong
	Raw     json.RawMessage // the error of a Node provider as it came; nil otherwise
	err     *transport.RemoteError
}

func (e *RemoteError) Error() string {
	if e.Message == "" {
		return "hub: remote: " + e.Code.String()
	}
	return "hub: remote: " + e.Message
}

// Unwrap returns the error of the transport, by which errors.Is finds transport.ErrDeadline and
// others.
func (e *RemoteError) Unwrap() error { return e.err }

// Remote makes a *RemoteError of the error reply that err is, as callbacks of Route.Go get it;
// other errors stay as they are.
func Remote(err error) error { return remote(err) }

func remote(err error) error {
	t, ok := err.(*transport.RemoteError)
	if !ok {
		return err
	}
	e := &RemoteError{Code: t.Code, Message: t.Text, err: t}
	if len(t.Text) > 0 && t.Text[0] == '{' {
		var fields struct{ Name, Message string }
		if json.Unmarshal([]byte(t.Text), &fields) == nil {
			e.Name, e.Message, e.Raw = fields.Name, fields.Message, json.RawMessage(t.Text)
		}
	}
	return e
}

// LostError says how many oneways waited for a hub when the client left.
type LostError struct{ Oneways, Bytes int }

func (e *LostError) Error() string {
	return fmt.Sprintf("hub: left with %d oneways (%d bytes) that waited for a hub", e.Oneways,
		e.Bytes)
}

// buffer keeps oneways while there is no hub. Client.mu guards it.
type buffer struct {
	waiting []transport.Message
	bytes   int
	dropped uint64
}

// add keeps a copy of m, within limit bytes.
func (b *buffer) add(m *transport.Message, limit int) error {
	n := messageSize(m) + len(m.Selector) + waitingSize
	if b.bytes+n > limit {
		b.dropped++
		return fmt.Errorf("%w: %w: bytes of oneways that wait for a hub: %d, limit %d", ErrAway,
			transport.ErrFull, b.bytes+n, max(0, limit))
	}
	k := keep(m)
	k.Selector = append([]byte(nil), m.Selector...)
	b.waiting = append(b.waiting, k)
	b.bytes += n
	return nil
}

// flush sends what waits, in order.
func (b *buffer) flush(ctx context.Context, conn *transport.Conn) error {
	for len(b.waiting) > 0 {
		if err := conn.Post(ctx, b.waiting[0]); err != nil {
			return err
		}
		b.waiting = b.waiting[1:]
	}
	b.waiting, b.bytes = nil, 0
	return nil
}

// lost is what is still there when the client leaves.
func (b *buffer) lost() error {
	if len(b.waiting) == 0 {
		return nil
	}
	return &LostError{Oneways: len(b.waiting), Bytes: b.bytes}
}
