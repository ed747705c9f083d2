package object

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/wire"
)

// joinTimeout is how long a server of an object that has just come may take to take a subscription.
const joinTimeout = 10 * time.Second

// maxWaiting is how many pushes wait for the functions that take them; further ones are refused.
const maxWaiting = 4096

// Listener listens to the topics of one object. It is found by those who serve the object, of which
// there may be several, as <name>@subscriber.
//
//	Emit -> <name>@subscriber -> Listener -> the functions of the topic, one push after the other
//
// When a server of the object comes, a restarted one or another, the listener subscribes with it,
// too: with all that a call could reach. So with a tag those of the tag count, and when there are
// none those without a tag, which stand in.
//
// A server is known by the id of its client. One that publishes no id (no client of this module or
// of Pandora's does that) is known, and reached, by what it publishes instead; a Node process that
// the same keys find may be subscribed with twice then, and pushes once more after the listener has
// left.
type Listener struct {
	c      *hub.Client  // immutable
	object hub.Selector // immutable
	route  *hub.Route   // immutable
	log    *slog.Logger // immutable
	queue  chan func()  // what is still to be done, in order
	pool   argsPool
	quit   context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended

	begin  sync.Mutex       // held while topics change; before mu
	watch  *hub.Watch       // of the servers; guarded by begin
	pub    *hub.Publication // guarded by begin
	stop   func()           // what AfterRejoin has given; guarded by begin
	closed bool             // guarded by begin

	mu      sync.Mutex
	subs    map[string][]*Subscription // by topic; guarded by mu
	servers map[server]*presence       // that have published the name; guarded by mu
}

// server is who serves the object: the id of its client, or without one its location.
type server struct {
	location hub.Location
	tag      string
}

// presence is how a server is there.
type presence struct {
	n    int  // how often: while it is restarted, perhaps twice
	isGo bool // where subscribing again changes nothing
}

// Subscription is a function that hears of a topic.
type Subscription struct {
	l     *Listener
	topic string
	f     func(*Args)
}

// Listen returns a listener to the object of this name and tag. It does nothing before the first
// Subscribe.
func Listen(c *hub.Client, name, tag string, log *slog.Logger) *Listener {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := hub.Selector{ObjectName: name, ObjectTag: tag}
	l := &Listener{c: c, object: s, route: c.Route(s), log: log,
		queue:   make(chan func(), maxWaiting),
		subs:    make(map[string][]*Subscription),
		servers: make(map[server]*presence), done: make(chan struct{})}
	l.quit, l.cancel = context.WithCancel(context.Background())
	return l
}

// Subscribe has f hear of a topic: it is called with the arguments of each push, one after the
// other, together with all other functions of the listener. The first one of a topic subscribes at
// everybody who serves the object; when there is nobody the error is an *Error with
// wire.CodeNoRoute. Args are borrowed until f returns.
func (l *Listener) Subscribe(ctx context.Context, topic string, f func(*Args)) (
	*Subscription, error) {
	l.begin.Lock()
	defer l.begin.Unlock()
	if l.closed {
		return nil, hub.ErrLeft
	}
	if err := l.start(ctx); err != nil {
		return nil, err
	}
	s := &Subscription{l: l, topic: topic, f: f}
	l.mu.Lock()
	l.subs[topic] = append(l.subs[topic], s)
	first := len(l.subs[topic]) == 1
	l.mu.Unlock()
	if !first {
		return s, nil
	}
	if err := l.tell(ctx, hub.ActionSubscribe, topic); err != nil {
		l.remove(s)
		return nil, err
	}
	return s, nil
}

// start publishes the name under which the listener is found, once.
func (l *Listener) start(ctx context.Context) error {
	if l.pub == nil {
		name := l.object.ObjectName + subscriberSuffix
		pub, err := l.c.Publish(ctx, hub.Object{Name: name, Tag: l.object.ObjectTag, Handler: l,
			OnLoop: true})
		if err != nil {
			return fmt.Errorf("object: listen: %w", err)
		}
		l.pub = pub
		l.stop = l.c.AfterRejoin(l.rejoined)
		go l.run() // waited for by Close
	}
	if l.watch == nil {
		all := hub.Selector{ObjectName: l.object.ObjectName} // those who stand in have no tag
		w, err := l.c.Watch(ctx, all, l.seen)
		if err != nil {
			return fmt.Errorf("object: listen: %w", err)
		}
		l.watch = w
	}
	return nil
}

// tell has everybody who serves the object know.
func (l *Listener) tell(ctx context.Context, action, topic string) error {
	replies, err := l.route.CallAll(ctx, hub.Message{Method: topic, Action: action})
	if err != nil {
		if err = failure(err); isNobody(err) {
			return nobody(l.object)
		}
		return err
	}
	if len(replies) == 0 {
		return nobody(l.object)
	}
	for _, r := range replies {
		if r.Err == nil {
			return nil // one that pushes is enough
		}
		err = failure(r.Err)
	}
	return err
}

// remove says true when the topic has lost its last function.
func (l *Listener) remove(s *Subscription) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.subs[s.topic]
	for i := range all {
		if all[i] != s {
			continue
		}
		// a copy: a push may be going through the old one
		all = append(append([]*Subscription(nil), all[:i]...), all[i+1:]...)
		if l.subs[s.topic] = all; len(all) == 0 {
			delete(l.subs, s.topic)
		}
		return len(all) == 0
	}
	return false
}

// Stop ends the subscription. Pushes that have come before may still reach its function. Stopping
// again does nothing.
func (s *Subscription) Stop(ctx context.Context) error {
	l := s.l
	l.begin.Lock()
	defer l.begin.Unlock()
	if !l.remove(s) {
		return nil
	}
	if err := l.tell(ctx, hub.ActionUnsubscribe, s.topic); err != nil && !isNobody(err) {
		return err
	}
	return nil
}

// Close ends all subscriptions and takes the listener back. No function runs when it has returned
// nil. It is not for a function of the listener to call.
func (l *Listener) Close(ctx context.Context) error {
	first, err := l.leave(ctx)
	if !first {
		return nil
	}
	l.cancel()
	select {
	case <-l.done:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("object: a function of the listener still runs: %w",
			ctx.Err()))
	}
}

// leave has nothing more come. The first time it says true.
func (l *Listener) leave(ctx context.Context) (first bool, err error) {
	l.begin.Lock()
	defer l.begin.Unlock()
	if l.closed {
		return false, nil
	}
	l.closed = true
	defer l.route.Release()
	l.mu.Lock()
	topics := sorted(l.subs)
	clear(l.subs)
	l.mu.Unlock()
	if l.pub == nil { // it was never begun
		close(l.done)
		return true, nil
	}
	l.stop()
	var errs []error
	for _, topic := range topics {
		if err := l.tell(ctx, hub.ActionUnsubscribe, topic); err != nil && !isNobody(err) {
			errs = append(errs, err)
		}
	}
	if l.watch != nil {
		errs = append(errs, l.watch.Stop(ctx))
	}
	errs = append(errs, l.pub.Unpublish(ctx))
	return true, errors.Join(errs...)
}

// Serve takes one push, on the loop; the hub's client calls it.
func (l *Listener) Serve(r *hub.Request) {
	if string(r.Method()) != callbackMethod || len(r.Action()) > 0 {
		e := &Error{Name: "TypeError", Code: codeNoMethod, wire: wire.CodeNoMethod,
			Message: "a subscriber has no method but " + callbackMethod}
		_ = r.Fail(e.code(), e.text())
		return
	}
	own := r.Detach()
	select {
	case l.queue <- func() { l.push(own) }:
	default:
		l.log.Warn("push dropped", "object", l.object.ObjectName, "waiting", maxWaiting)
		_ = own.Fail(wire.CodeOverloaded, fmt.Sprintf("pushes that wait: %d, limit %d",
			maxWaiting+1, maxWaiting))
	}
}

// run does what is queued, in order.
func (l *Listener) run() {
	defer close(l.done)
	for {
		select {
		case f := <-l.queue:
			f()
		case <-l.quit.Done():
			return
		}
	}
}

// push hands one push to the functions of its topic.
func (l *Listener) push(r *hub.Request) {
	a := l.pool.take()
	defer l.pool.give(a)
	var topic string
	err := a.parse(r.Body())
	if err == nil {
		err = a.Decode(0, &topic)
	}
	if err == nil {
		inner := l.pool.take()
		defer l.pool.give(inner)
		if err = inner.parse(a.Raw(1)); err == nil {
			l.mu.Lock()
			subs := l.subs[topic]
			l.mu.Unlock()
			for _, s := range subs {
				s.f(inner)
			}
		}
	}
	switch {
	case r.Oneway() && err != nil:
		l.log.Warn("bad push", "object", l.object.ObjectName, "error", err)
	case r.Oneway():
	case err != nil:
		e := &Error{Name: "TypeError", Code: codeArguments, Message: err.Error()}
		_ = r.Fail(wire.CodeInvalid, e.text())
	default:
		_ = r.Reply(nil)
	}
}

// serverOf is p among the servers.
func serverOf(p *hub.Provider) server {
	s := server{location: p.Selector.Location, tag: p.Selector.ObjectTag}
	if id := s.location.ClientID; id != "" {
		s.location = hub.Location{ClientID: id}
	}
	return s
}

// servingLocked are those of the servers that calls reach.
func (l *Listener) servingLocked() map[server]bool {
	serving := make(map[server]bool)
	for _, tag := range []string{l.object.ObjectTag, ""} {
		for one := range l.servers {
			if one.tag == tag || l.object.ObjectTag == "" {
				serving[one] = true
			}
		}
		if len(serving) > 0 {
			break
		}
	}
	return serving
}

// seen is told who serves the object, on the loop.
func (l *Listener) seen(e hub.Event) {
	one := serverOf(&e.Provider)
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.servingLocked()
	p := l.servers[one]
	switch {
	case e.Up && p == nil:
		l.servers[one] = &presence{n: 1, isGo: string(e.Provider.Info) == goInfo}
	case e.Up:
		p.n++ // it was restarted before it was missed
	case p != nil:
		if p.n--; p.n <= 0 {
			delete(l.servers, one)
		}
	}
	if len(l.subs) == 0 { // the first Subscribe will reach them
		return
	}
	after := l.servingLocked()
	for s := range after {
		again := s == one && e.Up && (l.servers[s].isGo || s.location.ClientID == "")
		if !before[s] || again {
			l.later(s, hub.ActionSubscribe)
		}
	}
	for s := range before {
		if !after[s] && l.servers[s] != nil { // it has stood in
			l.later(s, hub.ActionUnsubscribe)
		}
	}
}

// rejoined subscribes again with those who may have forgotten the listener while it was away. Those
// of Node have not, and would count it twice.
func (l *Listener) rejoined() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := range l.servingLocked() {
		if l.servers[one].isGo {
			l.later(one, hub.ActionSubscribe)
		}
	}
}

// later has the listener subscribe with a server, or unsubscribe.
func (l *Listener) later(to server, action string) {
	select {
	case l.queue <- func() { l.join(to, action) }:
	default:
		l.log.Warn("not subscribed with a server of the object", "object", l.object.ObjectName,
			"waiting", maxWaiting)
	}
}

// join subscribes to all topics with a server, or unsubscribes.
func (l *Listener) join(with server, action string) {
	l.mu.Lock()
	topics := sorted(l.subs)
	l.mu.Unlock()
	to := hub.Selector{Location: with.location, ObjectName: l.object.ObjectName,
		ObjectTag: with.tag}
	route := l.c.Route(to)
	defer route.Release()
	for _, topic := range topics {
		replies, err := route.CallAll(l.quit, hub.Message{Method: topic, Action: action,
			Timeout: joinTimeout})
		for _, r := range replies {
			err = errors.Join(err, r.Err)
		}
		if err != nil {
			l.log.Warn("a server of the object refused", "object", to.ObjectName,
				"topic", topic, "error", failure(err))
		}
	}
}
