package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// Object is what a client publishes.
type Object struct {
	Name string // what others select it by
	Tag  string // restricts who finds it; "": none

	// Handler serves its calls and oneways: Request.Method is the method, Body the payload (from
	// Pandora's clients a JSON array), Action what is asked for, empty when it is to call the
	// method, Caller the number of the peer. It runs on a worker of the client, and may block,
	// unless OnLoop is set.
	Handler transport.Handler

	// OnLoop has Handler run on the loop of the connection, where it must not block: the fastest
	// way for what takes no time.
	OnLoop bool

	// Weight is its share of the calls, for balancer.Weighted; 0 means 1.
	Weight uint32

	// Info is told to those who look it up or watch; it takes no part in matching. JSON, or nil.
	Info json.RawMessage
}

// Publication is an object that is published. It comes back with each rejoin until it is taken
// back.
type Publication struct {
	c       *Client
	object  Object
	number  uint64
	body    []byte // of the request to publish it
	handler transport.Handler
	there   bool // the hub has said so; guarded by publications.mu
}

// publications are those of a client.
type publications struct {
	mu       sync.RWMutex
	byNumber map[uint64]*Publication // guarded by mu
}

func (p *publications) find(number uint64) *Publication {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.byNumber[number]
}

// entry is a selector on its way to the hub.
type published struct {
	Selector
	Info json.RawMessage `json:"info,omitempty"`
}

// Publish lets others call an object at this client. Calls may come before Publish returns. The
// same name may be published under several tags, and several times.
func (c *Client) Publish(ctx context.Context, o Object) (*Publication, error) {
	if o.Handler == nil {
		return nil, errors.New("hub: publish: object has no Handler")
	}
	selector, err := json.Marshal(published{Selector{c.o.Location, o.Name, o.Tag}, o.Info})
	if err != nil {
		return nil, fmt.Errorf("hub: publish %q: %w", o.Name, err)
	}
	if len(selector) > maxKeptSelector {
		return nil, fmt.Errorf("hub: publish %q: bytes of the selector: %d, limit %d", o.Name,
			len(selector), maxKeptSelector)
	}
	p := &Publication{c: c, object: o, handler: o.Handler}
	if !o.OnLoop {
		p.handler = c.pool.Handler(o.Handler)
	}
	c.mu.Lock()
	c.last++
	p.number = c.last
	gone := c.draining || c.closed
	c.mu.Unlock()
	if gone {
		return nil, ErrLeft
	}
	p.body = fmt.Appendf(nil, `{"publication":%d,"weight":%d,"selector":%s}`, p.number, o.Weight,
		selector)
	c.pubs.mu.Lock()
	c.pubs.byNumber[p.number] = p
	c.pubs.mu.Unlock()
	if _, err := c.ask(ctx, methodPublish, p.body); err != nil {
		c.pubs.remove(p)
		return nil, fmt.Errorf("hub: publish %q: %w", o.Name, err)
	}
	c.pubs.mu.Lock()
	p.there = true
	c.pubs.mu.Unlock()
	return p, nil
}

func (p *publications) remove(x *Publication) {
	p.mu.Lock()
	delete(p.byNumber, x.number)
	p.mu.Unlock()
}

// Object is what was published.
func (p *Publication) Object() Object { return p.object }

// Unpublish takes the object back. It returns when no call of it is under way any more, or when ctx
// is done; no new one comes in either case.
func (p *Publication) Unpublish(ctx context.Context) error {
	p.c.pubs.mu.Lock()
	was := p.there
	p.there = false // so that a rejoin does not bring it back
	p.c.pubs.mu.Unlock()
	if !was {
		return nil
	}
	defer p.c.pubs.remove(p)
	s := p.c.session.Load()
	if s == nil {
		return nil // the hub that knew of it is gone
	}
	_, err := s.conn.Do(ctx, transport.Message{Method: methodUnpublish,
		Body: appendNumber(nil, `{"publication":`, p.number)}, nil)
	if errors.Is(err, transport.ErrConnLost) {
		return nil
	}
	return remote(err)
}

// republishing is how many publications are under way at a time when a client joins again.
const republishing = 512

// publishAll publishes again what was published.
func (c *Client) publishAll(ctx context.Context, s *session) error {
	c.mu.Lock()
	draining := c.draining
	c.mu.Unlock()
	if draining {
		return nil
	}
	c.pubs.mu.RLock()
	numbers := slices.Sorted(maps.Keys(c.pubs.byNumber))
	all := make([]*Publication, 0, len(numbers))
	for _, n := range numbers {
		if p := c.pubs.byNumber[n]; p.there {
			all = append(all, p)
		}
	}
	c.pubs.mu.RUnlock()
	results := make(chan error, republishing)
	under := 0
	var failed error
	take := func() {
		under--
		if err := <-results; err != nil && failed == nil {
			failed = err
		}
	}
	for _, p := range all {
		m := transport.Message{Method: methodPublish, Body: p.body}
		for {
			if under >= republishing {
				take()
			}
			err := s.conn.Go(m, nil, func(_ []byte, err error) { results <- err })
			if err == transport.ErrFull && under > 0 {
				take()
				continue
			}
			if err != nil {
				failed = err
				break
			}
			under++
			break
		}
		if failed != nil {
			break
		}
	}
	for under > 0 {
		take()
	}
	return remote(failed)
}

// incoming serves what comes from the hub.
type incoming struct{ c *Client }

// Serve runs on the loop of the connection.
func (i incoming) Serve(r *transport.Request) {
	if r.Caller() == 0 {
		i.c.told(r)
		return
	}
	if string(r.Action()) == ActionEcho {
		_ = r.Gather([][]byte{[]byte(`{"echo":`), orNull(r.Body()), []byte(`}`)})
		return
	}
	if n := r.Route(); n != 0 {
		if p := i.c.pubs.find(n); p != nil {
			p.handler.Serve(r)
			return
		}
		_ = r.Fail(wire.CodeDraining, "the object was taken back")
		return
	}
	if h := i.c.o.Handler; h != nil {
		i.c.pool.Handler(h).Serve(r)
		return
	}
	_ = r.Fail(wire.CodeNoMethod, "nothing is served here but objects")
}

func orNull(b []byte) []byte {
	if len(b) == 0 {
		return []byte("null")
	}
	return b
}

// told takes what the hub itself says.
func (c *Client) told(r *transport.Request) {
	switch string(r.Method()) {
	case methodEvent:
		c.event(r.Body())
	case methodPause, methodResume:
		var which struct{ Route, Number uint64 }
		if json.Unmarshal(r.Body(), &which) != nil {
			return
		}
		if route := c.routeOf(which.Route); route != nil {
			route.told(which.Number, string(r.Method()) == methodPause)
		}
	default:
		if !r.Oneway() {
			_ = r.Fail(wire.CodeNoMethod, "the hub asks for nothing")
		}
	}
}

// routeOf finds a route by its handle on the present session.
func (c *Client) routeOf(handle uint64) *Route {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.routes {
		if v := r.state.Load(); v != nil && v.handle == handle {
			return r
		}
	}
	return nil
}
