package hub

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// The methods that the hub itself serves, for calls without a route or a selector; and those of
// the oneways that it sends. PROTOCOL.md, section 19, says what they take and give.
const (
	methodOnline    = "pithos.online"
	methodOffline   = "pithos.offline"
	methodPublish   = "pithos.publish"
	methodUnpublish = "pithos.unpublish"
	methodResolve   = "pithos.resolve"
	methodRelease   = "pithos.release"
	methodLookup    = "pithos.lookup"
	methodList      = "pithos.list"
	methodWatch     = "pithos.watch"
	methodUnwatch   = "pithos.unwatch"
	methodInspect   = "pithos.inspect"
	methodTap       = "pithos.tap"
	methodTapped    = "pithos.tapped"
	methodUntap     = "pithos.untap"

	methodEvent  = "pithos.event"
	methodPause  = "pithos.pause"
	methodResume = "pithos.resume"
)

// native serves the frames of peers that speak the native protocol.
type native struct{ hub *Hub }

// Serve takes one call or oneway. It runs on the loop of the connection.
func (n native) Serve(r *transport.Request) {
	s, ok := r.Conn().Attachment().(*socket)
	if !ok {
		_ = r.Fail(wire.CodeDraining, "hub is closing")
		return
	}
	c, p := n.hub.core, s.member.Load()
	if p == nil {
		n.stranger(s, r)
		return
	}
	var route *route
	switch handle := r.Route(); {
	case handle != 0:
		if route = p.member.find(handle); route == nil {
			_ = r.Fail(wire.CodeStale, "route "+strconv.FormatUint(handle, 10)+" is not known")
			return
		}
	case len(r.Selector()) > 0:
		if route = c.routeOf(r); route == nil {
			return
		}
	case r.Fan() == wire.FanEach:
		c.nativeBroadcast(p, r)
		return
	default:
		c.command(s, r)
		return
	}
	c.stats.messages.Add(1)
	route.calls.Add(1)
	switch r.Fan() {
	case wire.FanOne:
		c.forward(p, r, route)
	default:
		c.forwardAll(p, r, route)
	}
}

// stranger serves a peer that has not come online.
func (n native) stranger(s *socket, r *transport.Request) {
	c := n.hub.core
	if string(r.Method()) != methodOnline || r.Oneway() {
		_ = r.Fail(wire.CodeDenied, "not online: call "+methodOnline+" first")
		return
	}
	t := c.turns.Get().(*turn)
	defer c.putTurn(t)
	_, err := t.scanner.Scan(r.Body())
	if err != nil || js.KindOf(js.Value(r.Body())) != js.Object {
		_ = r.Fail(wire.CodeInvalid, "location is not a JSON object")
		return
	}
	c.leave(s.peer)
	p := newPeer(s)
	p.member = &member{conn: s.conn, location: string(js.Value(r.Body()))}
	p.self.name = balancer.KeyOf(p.member.location)
	if !c.open(p) {
		_ = r.Fail(wire.CodeDraining, "hub is closing")
		return
	}
	t.scratch = t.wanted.parse([]byte(p.member.location), t.scratch[:0])
	c.mu.Lock()
	p.renameLocked(p.member.location)
	if e := t.wanted.clone(); !t.wanted.blank() {
		c.enterLocked(p, &p.self, e, p.member.location)
	}
	c.unlock()
	s.member.Store(p)
	_ = r.Reply(appendNumber(nil, `{"peer":`, p.seq))
}

// blank says that no key of s restricts.
func (s *selector) blank() bool {
	for i := range s {
		if !s[i].free() {
			return false
		}
	}
	return true
}

// routeOf is the route of a request that names a selector; nil when it has been answered.
func (c *core) routeOf(r *transport.Request) *route {
	route, err := c.lookUp(r.Selector())
	if err != nil {
		_ = r.Fail(wire.CodeInvalid, "selector: "+err.Error())
	}
	return route
}

// lookUp is the route of the selector raw, as JSON.
func (c *core) lookUp(raw []byte) (*route, error) {
	t := c.turns.Get().(*turn)
	defer c.putTurn(t)
	if err := t.parseSelector(raw); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.unlock()
	return c.routeLocked(&t.wanted, t), nil
}

// parseSelector puts the selector raw, which is not checked yet, into t.wanted.
func (t *turn) parseSelector(raw []byte) error {
	if _, err := t.scanner.Scan(raw); err != nil {
		return err
	}
	if !utf8.Valid(raw) {
		return fmt.Errorf("not UTF-8")
	}
	raw = js.Value(raw)
	if kind := js.KindOf(raw); kind != js.Object {
		return fmt.Errorf("not an object: %.40s", raw)
	}
	t.scratch = t.wanted.parse(raw, t.scratch[:0])
	return nil
}

func (c *core) putTurn(t *turn) {
	t.release()
	c.turns.Put(t)
}

// forward sends a call or oneway to one of those that the route finds.
func (c *core) forward(p *peer, r *transport.Request, route *route) {
	s := c.current(route)
	if len(s.targets) == 0 {
		c.nobody(p, r, route)
		return
	}
	i := 0
	if len(s.targets) > 1 {
		i = route.picker.Pick(s.set, r.Key())
	}
	to := s.targets[i]
	if to.peer.gone.Load() && len(s.targets) > 1 { // it is just leaving: somebody else is there
		to = s.targets[(i+1)%len(s.targets)]
	}
	var o outgoing
	o.take(p, r, nil)
	c.forwardTo(p, r, &o, route, to, nil)
	if o.turn != nil {
		o.release(c)
	}
}

// forwardAll sends a call or oneway to each of those that the route finds.
func (c *core) forwardAll(p *peer, r *transport.Request, route *route) {
	s := c.current(route)
	if len(s.targets) == 0 {
		if !r.Oneway() {
			_ = r.Reply(nil)
		}
		return
	}
	var o outgoing
	o.take(p, r, s.targets)
	defer o.release(c)
	if r.Oneway() {
		for _, to := range s.targets {
			c.forwardTo(p, r, &o, route, to, nil)
		}
		return
	}
	b := &batch{left: len(s.targets), native: true, limit: c.limits.MaxBatch}
	b.ask.peer = p
	b.ask.held = r.Hold(b, 0)
	for _, to := range s.targets {
		c.forwardTo(p, r, &o, route, to, b)
	}
}

// passRequest shows a native call or oneway to those who tap.
func (c *core) passRequest(taps *[]*Tap, p *peer, r *transport.Request, route *route, to *peer,
	copies int, counted bool) {
	e := passage{kind: callKind(r.Oneway()), at: r.Conn().Arrival(), id: r.ID(), from: p, to: to,
		copies: copies, object: route.name(), method: calledBy(r), payload: r.Body(),
		counted: counted}
	e.pass(taps)
}

// calledBy is the method that r calls, or else what it asks for.
func calledBy(r *transport.Request) []byte {
	if m := r.Method(); len(m) > 0 {
		return m
	}
	return r.Action()
}

// countedBy is the method under which r is counted: other actions than to call one by their own
// names, as there is no end of topics.
func countedBy(r *transport.Request) []byte {
	if a := r.Action(); len(a) > 0 && string(a) != ActionInvoke {
		return a
	}
	return r.Method()
}

// nobody answers a call whose route finds nobody.
func (c *core) nobody(p *peer, r *transport.Request, route *route) {
	c.stats.notFound.Add(1)
	if taps := c.taps.on(); taps != nil {
		c.passRequest(taps, p, r, route, nil, 0, false)
	}
	if !r.Oneway() {
		_ = r.Fail(wire.CodeNoRoute, "Cannot found any clients by selector: "+route.raw)
	}
}

// forwardTo sends a call or oneway on to to. With a batch the reply is a part of it.
func (c *core) forwardTo(p *peer, r *transport.Request, o *outgoing, route *route, to *target,
	b *batch) {
	if to.peer.member == nil {
		c.toPandora(p, r, o, route, to, b)
		return
	}
	if o.late {
		if a := (asker{peer: p, batch: b}); b != nil {
			a.fail(c, to.peer, wire.CodeDeadline, "")
		} else {
			_ = r.Fail(wire.CodeDeadline, "")
		}
		return
	}
	m := &o.m
	m.Route = to.pub
	if taps := c.taps.on(); taps != nil && !spent(taps) {
		c.passRequest(taps, p, r, route, to.peer, 1, true)
	}
	c.stats.forwarded.Add(1)
	c.holdBack(p, r.Route(), to)
	if r.Oneway() {
		if r.Fan() != wire.FanOne {
			route = nil // others have got theirs
		}
		c.post(route, to, m)
		return
	}
	f := c.newFlight(p, route, to, route.object.method(countedBy(r)))
	if f.ask.batch = b; b == nil {
		f.ask.held = r.Hold(f, f.ticket)
	} else {
		b.enter(f, f.ticket)
	}
	c.launch(f, m)
}

// post sends a oneway to a native peer, or has it wait.
func (c *core) post(r *route, to *target, m *transport.Message) {
	b := &to.peer.member.backlog
	if b.some.Load() {
		c.queue(b, nil, r, to, m)
		return
	}
	if err := to.peer.member.conn.TryPost(*m); err == transport.ErrFull {
		c.queue(b, nil, r, to, m)
	} else if err != nil {
		b.dropped.Add(1)
		c.stats.dropped.Add(1)
	}
}

// nativeBroadcast sends a oneway to every peer that there is.
func (c *core) nativeBroadcast(p *peer, r *transport.Request) {
	c.stats.messages.Add(1)
	c.stats.broadcasts.Add(1)
	c.sweep()
	t := c.turns.Get().(*turn)
	defer c.putTurn(t)
	c.mu.Lock()
	for _, to := range c.peers {
		t.found.targets = append(t.found.targets, &to.self)
	}
	c.unlock()
	all := t.found.targets
	var o outgoing
	o.take(p, r, all)
	defer o.release(c)
	body, err := o.compose(c, p, "", false, true)
	if taps := c.taps.on(); taps != nil {
		c.passRequest(taps, p, r, nil, nil, len(all), false)
	}
	for _, to := range all {
		switch {
		case to.peer.member != nil:
			c.post(nil, to, &o.m)
		case err == nil:
			c.sendPandora(to.peer, body)
		}
	}
	if err != nil && !r.Oneway() {
		_ = r.Fail(wire.CodeInvalid, err.Error())
	} else if !r.Oneway() {
		_ = r.Reply(nil)
	}
}

// sendPandora writes a message for which no reply is due.
func (c *core) sendPandora(to *peer, b body) {
	if !to.spoken.Load() && to.link.native() {
		return // it has said hello, and is not online
	}
	c.mu.Lock()
	id := to.unusedID()
	c.unlock()
	if err := to.sendBody(id, b); err != nil {
		c.deliver(c.cut(nil, to, err))
		return
	}
	c.stats.delivered.Add(1)
}

// appendNumber appends  head n }.
func appendNumber(dst []byte, head string, n uint64) []byte {
	return append(strconv.AppendUint(append(dst, head...), n, 10), '}')
}

// appendJSON appends s as an object of JSON.
func (s *selector) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	for i := range s {
		a := &s[i]
		if a.free() {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(js.AppendQuoted(dst, selectorKeys[i]), ':')
		switch a.kind {
		case js.Number:
			dst = js.AppendFloat(dst, a.number)
		case js.String:
			dst = js.AppendText(dst, a.text)
		case js.True:
			dst = append(dst, "true"...)
		default:
			dst = append(dst, "{}"...)
		}
	}
	return append(dst, '}')
}
