package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// outboxPatience is how long a peer of Pandora's for which Limits.MaxOutbox waits may read nothing:
// a Node process that is at work on what it has, reads nothing meanwhile.
const outboxPatience = 250 * time.Millisecond

// closeGrace is how long a peer that is cut off has to take what was sent to it before.
const closeGrace = 5 * time.Second

// ErrClosed says that the hub has been closed. It wraps transport.ErrClosed, and so net.ErrClosed.
var ErrClosed = fmt.Errorf("hub: %w", transport.ErrClosed)

// Options are the choices for a Hub. The zero value works.
type Options struct {
	// Limits bound what is held for a peer.
	Limits Limits

	// Picker makes what decides which of several providers gets a call; each selector that finds
	// several has one of its own. nil means balancer.RoundRobin.
	Picker func() balancer.Picker

	// Policy is what happens to calls and oneways for a native provider that takes no more, when
	// Limits.MaxQueue is reached. The zero value is Block.
	Policy Policy

	// Logger is told who comes, goes, is cut off and why. nil: nobody is.
	Logger *slog.Logger

	// Transport are the options of the listeners. Handler, Foreign, Hooks.Open, Hooks.Close and the
	// limits of bodies and outboxes are the hub's own.
	Transport transport.Options
}

// Hub routes between the peers that connect to its listeners. All methods may be used by any number
// of goroutines.
type Hub struct {
	core    *core
	log     *slog.Logger
	options transport.Options // of every listener

	ctx     context.Context // ends when nobody waits any more for those who are cut off
	cancel  context.CancelFunc
	serving context.Context // ends when Close begins
	stop    context.CancelFunc
	ending  sync.WaitGroup // connections that are being closed, inspections

	inspecting  sync.Mutex   // held by the inspection that is under way for a peer
	inspections atomic.Int32 // that peers wait for

	mu     sync.Mutex
	closed bool          // guarded by mu
	done   chan struct{} // closed when Close has finished

	// listeners are replaced under mu, as a whole: loops read them, which must not wait for mu.
	listeners atomic.Pointer[[]*transport.Listener]
}

// New makes a hub that nobody can reach yet. It starts nothing.
func New(o Options) *Hub {
	if o.Picker == nil {
		o.Picker = func() balancer.Picker { return new(balancer.RoundRobin) }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hub{core: newCore(o.Limits, o.Picker), log: o.Logger, options: o.Transport,
		done: make(chan struct{})}
	h.listeners.Store(new([]*transport.Listener))
	h.core.sweep, h.core.log, h.core.policy = h.sweep, o.Logger, o.Policy
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.serving, h.stop = context.WithCancel(h.ctx)
	h.options.Handler = native{h}
	h.options.Hooks.Room = h.room
	h.options.Foreign = pandora{h}
	h.options.Hooks.Open = h.open
	h.options.Hooks.Close = h.left
	h.options.Limits.MaxBody = h.core.limits.frame()
	h.options.Limits.Outbox = h.core.limits.MaxOutbox
	h.options.Limits.Patience = outboxPatience
	return h
}

// Listen serves those who connect to address: the path of a socket (see PandoraPath for the one
// that Pandora's clients look for), or an abstract name after '@'. It returns when the socket is
// there.
// Errors are *transport.OpError, and ErrClosed.
func (h *Hub) Listen(address string) error {
	return h.serve(func(o transport.Options) (*transport.Listener, error) {
		o.Socket.Named = o.Socket.Named || address == PandoraPath() // as with Pandora's own
		return transport.Listen(address, o)
	})
}

// ListenFile serves those who connect to a socket that is listening already, as socket activation
// hands it over. f stays the caller's.
func (h *Hub) ListenFile(f *os.File) error {
	return h.serve(func(o transport.Options) (*transport.Listener, error) {
		return transport.ListenFile(f, o)
	})
}

func (h *Hub) serve(listen func(transport.Options) (*transport.Listener, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	l, err := listen(h.options)
	if err != nil {
		return err
	}
	more := append(slices.Clone(*h.listeners.Load()), l)
	h.listeners.Store(&more)
	h.log.Info("listening", "socket", l.Address())
	return nil
}

// Close answers every call that is under way with an error, stops listening and ends all
// connections once they have taken what was sent to them, or when ctx is done. Then nothing of the
// hub runs. The error wraps a *transport.DroppedError for each listener that lost something.
// Closing again waits for the first and returns nil.
func (h *Hub) Close(ctx context.Context) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		<-h.done
		return nil
	}
	h.closed = true
	listeners := *h.listeners.Load()
	h.mu.Unlock()
	defer close(h.done)
	defer context.AfterFunc(ctx, h.cancel)()

	h.stop()
	h.core.close()
	errs := make([]error, len(listeners))
	var closing sync.WaitGroup
	for i, l := range listeners {
		closing.Go(func() { errs[i] = l.Close(ctx) })
	}
	closing.Wait()
	h.ending.Wait()
	h.cancel()
	return errors.Join(errs...)
}

// Stats are the counters of the hub, and what is there now.
func (h *Hub) Stats() Stats { return h.core.snapshot() }

// Transport sums up the statistics of the connections of all listeners.
func (h *Hub) Transport() []transport.ListenerStats {
	listeners := *h.listeners.Load()
	all := make([]transport.ListenerStats, len(listeners))
	for i, l := range listeners {
		all[i] = l.Stats()
	}
	return all
}

// sweep takes in who has connected and is not known yet.
func (h *Hub) sweep() {
	for _, l := range *h.listeners.Load() {
		l.Sweep()
	}
}

// open takes a new connection in: a Pandora client until it says something else.
func (h *Hub) open(c *transport.Conn) {
	s := &socket{hub: h, conn: c}
	s.peer = newPeer(s)
	c.Attach(s)
	if !h.core.open(s.peer) {
		c.Abort(ErrClosed)
		return
	}
	h.log.Debug("peer connected", "peer", c.Peer().String())
}

// left forgets a connection that is over.
func (h *Hub) left(c *transport.Conn, cause error) {
	s, ok := c.Attachment().(*socket)
	if !ok {
		return
	}
	if t := s.tap.Load(); t != nil {
		t.Close()
	}
	p := s.peer
	h.core.leave(p)
	if m := s.member.Load(); m != nil {
		p = m
		h.core.leave(p)
	}
	h.log.Debug("peer disconnected", "peer", c.Peer().String(), "name", h.core.nameOf(p),
		"cause", cause)
}

// room sends what has waited for the credit of a native peer.
func (h *Hub) room(c *transport.Conn) {
	if s, ok := c.Attachment().(*socket); ok {
		if p := s.member.Load(); p != nil {
			h.core.pump(p)
		}
	}
}

// pandora takes the frames of Pandora's clients.
type pandora struct{ hub *Hub }

// Frame handles one frame. It never ends the connection by itself, so that what is queued for the
// peer goes out first.
func (p pandora) Frame(c *transport.Conn, f wire.Frame) error {
	if s, ok := c.Attachment().(*socket); ok {
		p.hub.core.frame(s.peer, f.ID, f.Body)
	}
	return nil
}

// socket is a connection of the transport as the core sees it.
type socket struct {
	hub  *Hub
	conn *transport.Conn
	peer *peer // of Pandora's, until it turns out to be native; immutable

	// member is the peer that has come online by the native protocol, or nil.
	member atomic.Pointer[peer]

	// tap is that of a peer which taps the hub, or nil.
	tap atomic.Pointer[Tap]
}

func (s *socket) write(h wire.Header, pieces [][]byte) error {
	return s.conn.WriteFrameGather(h, pieces)
}

func (s *socket) writeShared(h wire.Header, body *transport.Shared) error {
	return s.conn.WriteShared(h, body)
}

func (s *socket) native() bool { return s.conn.Native() }

func (s *socket) end(cause error) {
	h := s.hub
	if errors.Is(cause, transport.ErrConnLost) || errors.Is(cause, transport.ErrClosed) {
		return // it is ending already
	}
	if errors.Is(cause, transport.ErrFull) {
		h.core.stats.cut.Add(1)
	}
	h.log.Warn("peer cut off", "peer", s.conn.Peer().String(), "name", h.core.nameOf(s.who()),
		"cause", cause, "queued", s.conn.Stats().OutboxBytes)
	if s.member.Load() != nil {
		s.conn.Abort(cause) // its calls are others', who should not wait for it
		return
	}
	h.ending.Go(func() {
		ctx, cancel := context.WithTimeout(h.ctx, closeGrace)
		defer cancel()
		if err := s.conn.Close(ctx); err != nil {
			h.log.Warn("peer did not take everything", "peer", s.conn.Peer().String(), "cause", err)
		}
	})
}

// who is the peer that the connection stands for now.
func (s *socket) who() *peer {
	if p := s.member.Load(); p != nil {
		return p
	}
	return s.peer
}
