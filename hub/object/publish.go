package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/bytebufferpool"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/wire"
)

// subscriberSuffix is what the name under which the subscribers of an object are found ends with,
// and callbackMethod what is called there: [topic, [argument, ...]].
const (
	subscriberSuffix = "@subscriber"
	callbackMethod   = "callback"
)

// goInfo tells listeners that an object is one of Go, where subscribing again changes nothing.
const goInfo = `"go"`

// Options are the choices for an object. The zero value works.
type Options struct {
	// Tag restricts who finds the object. "": it has none.
	Tag string

	// OnLoop has the methods run on the loop of the connection, where they must not block: the
	// fastest way for what takes no time.
	OnLoop bool

	// Weight is its share of the calls, for balancer.Weighted; 0 means 1.
	Weight uint32

	// Logger is told of panics, and of oneways that failed. nil: nobody is.
	Logger *slog.Logger
}

// Published is an object that others can call, until it is taken back.
type Published struct {
	table  *table           // immutable
	pub    *hub.Publication // immutable after Publish
	push   *hub.Route       // to the subscribers; immutable
	onLoop bool             // immutable
	log    *slog.Logger
	topics topics

	subscribers hub.Selector  // immutable
	client      *hub.Client   // immutable
	grace       time.Duration // immutable

	begin sync.Mutex // held while watch is begun
	watch *hub.Watch // of the subscribers; nil before the first one; guarded by begin

	mu      sync.Mutex
	present map[string]int         // publications of subscribers, by client; guarded by mu
	gone    map[string]*time.Timer // until who has gone is forgotten; guarded by mu
	closed  bool                   // guarded by mu

	quit   context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines
}

// grace is how long a subscriber that has gone may take to come back. Clients of both kinds publish
// again what they had when they have lost the hub, but do not subscribe again.
const grace = 30 * time.Second

// Publish makes the methods and properties of v callable at name: of a Map its entries, of any
// other value its exported methods and fields, under the names that NameOf gives. Methods may run
// side by side, and before Publish returns. A value that is a Source is told who listens.
func Publish(ctx context.Context, c *hub.Client, name string, v any, o Options) (
	*Published, error) {
	if name == "" {
		return nil, errors.New("object: publish: no name")
	}
	t, err := tableOf(name, v)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Published{table: t, onLoop: o.OnLoop, log: o.Logger, client: c,
		grace: grace, present: make(map[string]int), gone: make(map[string]*time.Timer),
		subscribers: hub.Selector{ObjectName: name + subscriberSuffix, ObjectTag: o.Tag}}
	p.quit, p.cancel = context.WithCancel(context.Background())
	p.topics.source, _ = v.(Source)
	p.push = c.Route(p.subscribers)
	p.pub, err = c.Publish(ctx, hub.Object{Name: name, Tag: o.Tag, Handler: p, OnLoop: o.OnLoop,
		Weight: o.Weight, Info: json.RawMessage(goInfo)})
	if err != nil {
		p.push.Release()
		return nil, err
	}
	return p, nil
}

// Close takes the object back. It returns when no method runs any more, or ctx is done.
func (p *Published) Close(ctx context.Context) error {
	err := p.pub.Unpublish(ctx)
	p.begin.Lock()
	watch := p.watch
	p.watch = nil
	p.begin.Unlock()
	if watch != nil {
		err = errors.Join(err, watch.Stop(ctx))
	}
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	for id, timer := range p.gone {
		if timer.Stop() {
			p.work.Done()
		}
		delete(p.gone, id)
	}
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
	if first {
		p.push.Release()
	}
	return err
}

// Topics are the topics that anybody listens to.
func (p *Published) Topics() []string { return p.topics.names() }

// Emit sends args to all who listen to a topic, in the order of calls; without listeners it does
// nothing. Nobody answers. Without room it waits within ctx.
func (p *Published) Emit(ctx context.Context, topic string, args ...any) error {
	if !p.topics.has(topic) {
		return nil
	}
	b := append(appendString([]byte{'['}, topic), ',')
	b, err := appendArgs(b, args)
	if err != nil {
		return fmt.Errorf("object: emit %s: %w", topic, err)
	}
	return p.push.SendAll(ctx, hub.Message{Method: callbackMethod, Payload: append(b, ']')})
}

// Serve answers one call; the client of the hub calls it.
func (p *Published) Serve(r *hub.Request) {
	if p.onLoop && len(r.Action()) > 0 { // subscribing asks the hub, for which a loop cannot wait
		r = r.Detach()
		p.work.Go(func() { p.serve(r) })
		return
	}
	p.serve(r)
}

func (p *Published) serve(r *hub.Request) {
	buf := bytebufferpool.Get()
	defer bytebufferpool.Put(buf)
	ctx := &callContext{r: r}
	out, err := p.do(ctx, r, buf.B)
	ctx.end()
	buf.B = out
	switch {
	case r.Oneway():
		if err != nil {
			p.log.Warn("oneway failed", "object", p.table.object, "method", string(r.Method()),
				"error", err)
		}
	case err != nil:
		e := describe(err)
		_ = r.Fail(e.code(), e.text()) // an error says that nobody waits
	default:
		if err := r.Reply(out); err != nil { // too large, or nobody waits
			e := &Error{Name: "RangeError", Code: codeResult, Message: "result: " + err.Error()}
			_ = r.Fail(wire.CodeTooLarge, e.text())
		}
	}
}

// do does what is asked for.
func (p *Published) do(ctx context.Context, r *hub.Request, dst []byte) ([]byte, error) {
	name := r.Method()
	switch string(r.Action()) {
	case "", hub.ActionInvoke:
		return p.table.invoke(ctx, name, r.Body(), dst, p.log)
	case hub.ActionGetProperty:
		return p.table.property(string(name), dst)
	case hub.ActionIntrospect:
		return json.Marshal(p.table.introspect())
	case hub.ActionSubscribe:
		id, err := p.subscriber(ctx, r.Caller())
		if err != nil {
			return dst, err
		}
		return dst, p.topics.subscribe(ctx, string(name), id)
	case hub.ActionUnsubscribe:
		id, err := p.subscriber(ctx, r.Caller())
		if err != nil {
			return dst, err
		}
		return dst, p.topics.unsubscribe(ctx, string(name), id)
	}
	return dst, nil // an event of Pandora's clients, which nobody here waits for
}

// subscriber is what a peer is known by among the subscribers: the id of its client, which stays
// when the connection or the hub is another one.
func (p *Published) subscriber(ctx context.Context, peer uint64) (string, error) {
	if err := p.watchSubscribers(ctx); err != nil {
		return "", err
	}
	all, err := p.client.Lookup(ctx, p.subscribers)
	if err != nil {
		return "", fmt.Errorf("look the subscriber up: %w", err)
	}
	for _, one := range all {
		if one.Peer == peer {
			return idOf(&one), nil
		}
	}
	return "peer " + strconv.FormatUint(peer, 10), nil
}

func idOf(p *hub.Provider) string {
	if id := p.Selector.ClientID; id != "" {
		return id
	}
	return "peer " + strconv.FormatUint(p.Peer, 10)
}

func (p *Published) watchSubscribers(ctx context.Context) error {
	p.begin.Lock()
	defer p.begin.Unlock()
	if p.watch != nil {
		return nil
	}
	w, err := p.client.Watch(ctx, p.subscribers, p.seen)
	if err != nil {
		return fmt.Errorf("watch the subscribers: %w", err)
	}
	p.watch = w
	return nil
}

// seen is told who can be pushed to, on the loop.
func (p *Published) seen(e hub.Event) {
	id := idOf(&e.Provider)
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Up {
		p.present[id]++
		if timer := p.gone[id]; timer != nil {
			delete(p.gone, id)
			if timer.Stop() {
				p.work.Done()
			}
		}
		return
	}
	if p.present[id]--; p.present[id] > 0 || p.closed {
		return
	}
	delete(p.present, id)
	p.work.Add(1)
	p.gone[id] = time.AfterFunc(p.grace, func() { p.forget(id) })
}

// forget takes who has not come back off all topics.
func (p *Published) forget(id string) {
	defer p.work.Done()
	p.mu.Lock()
	_, still := p.gone[id]
	delete(p.gone, id)
	p.mu.Unlock()
	if still {
		p.topics.forget(p.quit, id)
	}
}

// appendArgs appends args as a list.
func appendArgs(dst []byte, args []any) ([]byte, error) {
	dst = append(dst, '[')
	for i, a := range args {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, a); err != nil {
			return dst, fmt.Errorf("argument %d: %w", i+1, err)
		}
	}
	return append(dst, ']'), nil
}
