package hub

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// command serves what is for the hub itself.
func (c *core) command(s *socket, r *transport.Request) {
	t := c.turns.Get().(*turn)
	defer c.putTurn(t)
	body := r.Body()
	if taps := c.taps.on(); taps != nil && !ofTaps(r.Method()) {
		e := passage{kind: wire.TapControl, at: r.Conn().Arrival(), id: r.ID(),
			from: s.member.Load(), method: r.Method(), payload: body}
		e.pass(taps)
	}
	if len(body) > 0 {
		if _, err := t.scanner.Scan(body); err != nil {
			_ = r.Fail(wire.CodeInvalid, string(r.Method())+": "+err.Error())
			return
		}
		body = js.Value(body)
	}
	out, err := c.obey(s, t, r, body)
	var known *commandError
	switch {
	case err == errLater:
	case errors.As(err, &known):
		_ = r.Fail(known.code, known.text)
	case err != nil:
		_ = r.Fail(wire.CodeInvalid, string(r.Method())+": "+err.Error())
	case !r.Oneway():
		answer(r, out)
	}
}

// answer replies to r. A reply that the peer does not take is an error of its own.
func answer(r *transport.Request, out []byte) {
	var limit *transport.LimitError
	if err := r.Reply(out); errors.As(err, &limit) {
		_ = r.Fail(wire.CodeTooLarge, err.Error())
	}
}

// errLater says that the reply to a command comes later.
var errLater = errors.New("hub: the reply comes later")

// commandError is an error with a code.
type commandError struct {
	code wire.Code
	text string
}

func (e *commandError) Error() string { return e.text }

func (c *core) obey(s *socket, t *turn, r *transport.Request, body []byte) ([]byte, error) {
	p := s.member.Load()
	switch string(r.Method()) {
	case methodOnline:
		c.comeBack(p, t)
		return appendNumber(nil, `{"peer":`, p.seq), nil
	case methodOffline:
		return nil, c.quit(p, r)
	case methodPublish:
		return nil, c.publishNative(p, t, body)
	case methodUnpublish:
		n, err := number(body, "publication")
		if err != nil {
			return nil, err
		}
		return nil, c.unpublishNative(p, r, n)
	case methodResolve:
		return c.resolve(p, t, body)
	case methodRelease:
		n, err := number(body, "route")
		if err == nil {
			p.member.release(n)
		}
		return nil, err
	case methodLookup, methodList:
		return c.lookup(t, body)
	case methodWatch:
		return c.watch(p, t, body)
	case methodUnwatch:
		n, err := number(body, "watch")
		if err == nil {
			c.unwatch(p, n)
		}
		return nil, err
	case methodTap:
		return nil, s.hub.tap(s, body)
	case methodTapped:
		return nil, s.hub.tapped(s, r)
	case methodUntap:
		return nil, s.hub.untap(s)
	case methodInspect:
		return nil, s.hub.inspectJSON(r, body)
	}
	return nil, &commandError{wire.CodeNoMethod,
		fmt.Sprintf("the hub has no method %q", r.Method())}
}

// ofTaps says whether method is how a tap is read and ended: taps do not show that.
func ofTaps(method []byte) bool {
	return string(method) == methodTapped || string(method) == methodUntap
}

// number is a member of body that is a whole number.
func number(body []byte, name string) (uint64, error) {
	raw := js.Field(body, name)
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: want a whole number, got %.40q", name, raw)
	}
	return n, nil
}

// resolve gives the client a handle for a selector.
func (c *core) resolve(p *peer, t *turn, body []byte) ([]byte, error) {
	if err := t.parseSelector(body); err != nil {
		return nil, err
	}
	if n := len(p.member.routes) - len(p.member.free); n >= c.limits.MaxRoutes {
		return nil, &commandError{wire.CodeOverloaded,
			fmt.Sprintf("routes of one peer: %d, limit %d", n+1, c.limits.MaxRoutes)}
	}
	c.mu.Lock()
	r := c.routeLocked(&t.wanted, t)
	n := len(c.currentLocked(r).targets)
	h := p.member.resolve(r)
	c.unlock()
	b := strconv.AppendUint(append(t.out[:0], `{"route":`...), h, 10)
	return appendNumber(b, `,"providers":`, uint64(n)), nil
}

// publishNative enters a selector of a native peer under the peer's own number.
func (c *core) publishNative(p *peer, t *turn, body []byte) error {
	n, err := number(body, "publication")
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("publication: 0 is the peer itself")
	}
	raw := js.Field(body, "selector")
	if err := t.parseSelector(raw); err != nil {
		return fmt.Errorf("selector: %w", err)
	}
	to := &target{peer: p, pub: n}
	if w, err := number(body, "weight"); err == nil {
		to.weight = uint32(min(w, 1<<31))
	}
	text := string(raw)
	to.name = balancer.KeyOf(text)
	s := t.wanted.clone()
	size := s.size() + len(text) + targetSize
	c.mu.Lock()
	defer c.unlock()
	switch {
	case p.gone.Load():
		return &commandError{wire.CodeDraining, "the connection ends"}
	case p.member.pubs[n] != nil:
		return fmt.Errorf("publication %d is there already", n)
	case p.publishing+size > c.limits.MaxPublishing:
		c.stats.refused.Add(1)
		return &commandError{wire.CodeOverloaded, fmt.Sprintf("bytes of selectors: %d, limit %d",
			p.publishing+size, c.limits.MaxPublishing)}
	}
	p.publishing += size
	if p.member.pubs == nil {
		p.member.pubs = make(map[uint64]*entry)
	}
	e := c.enterLocked(p, to, s, text)
	e.size = size
	p.member.pubs[n] = e
	return nil
}

// targetSize is about what a published object takes besides its selector, in bytes.
const targetSize = 256

// unpublishNative takes one back. The reply comes when the last call inside has ended.
func (c *core) unpublishNative(p *peer, r *transport.Request, n uint64) error {
	c.mu.Lock()
	e := p.member.pubs[n]
	if e == nil {
		c.unlock()
		return fmt.Errorf("publication %d is not there", n)
	}
	c.takeNativeLocked(p, n, e)
	c.unlock()
	c.reroute(e.to)
	l := newLeaving(r)
	e.to.quit(l)
	l.done()
	return errLater
}

func (c *core) takeNativeLocked(p *peer, n uint64, e *entry) {
	p.publishing -= e.size
	delete(p.member.pubs, n)
	c.takeLocked(e)
}

func newLeaving(r *transport.Request) *leaving {
	l := &leaving{held: r.Hold(nil, 0)}
	l.left.Store(1)
	return l
}

// quit takes everything back that p has published, its location too. The reply comes when the last
// call inside has ended.
func (c *core) quit(p *peer, r *transport.Request) error {
	if r.Oneway() {
		return errLater
	}
	l := newLeaving(r)
	c.mu.Lock()
	targets := []*target{&p.self}
	for n, e := range p.member.pubs {
		targets = append(targets, e.to)
		c.takeNativeLocked(p, n, e)
	}
	c.removeLocked(p)
	c.unlock()
	for _, to := range targets {
		c.reroute(to)
		to.quit(l)
	}
	l.done()
	return errLater
}

// enterLocked adds an entry and tells who watches.
func (c *core) enterLocked(p *peer, to *target, s *selector, raw string) *entry {
	e := c.table.enter(to, p, s, raw)
	c.tellLocked(e, eventUp)
	return e
}

// takeLocked removes an entry and tells who watches.
func (c *core) takeLocked(e *entry) {
	c.tellLocked(e, eventDown)
	c.table.take(e)
}

// removeLocked removes all entries of p and tells who watches.
func (c *core) removeLocked(p *peer) {
	for l := p.listed; l != nil && len(l.entries) > 0; {
		c.takeLocked(l.entries[len(l.entries)-1])
	}
}

// lookup lists what is published and matches.
func (c *core) lookup(t *turn, body []byte) ([]byte, error) {
	if len(body) == 0 {
		body = []byte("{}")
	}
	if err := t.parseSelector(body); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.unlock()
	return c.appendProvidersLocked(nil, &t.wanted), nil
}

// appendProvidersLocked appends  {"providers":[...]}  of all entries that wanted matches.
func (c *core) appendProvidersLocked(dst []byte, wanted *selector) []byte {
	dst = append(dst, `{"providers":[`...)
	first := true
	c.table.each(wanted, func(e *entry) {
		if e.raw == "" {
			return
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = e.appendProvider(dst)
	})
	return append(dst, `]}`...)
}

// appendProvider appends e as  {"peer":1,"publication":2,"selector":{...}}.
func (e *entry) appendProvider(dst []byte) []byte {
	dst = strconv.AppendUint(append(dst, `{"peer":`...), e.of.peer.seq, 10)
	dst = strconv.AppendUint(append(dst, `,"publication":`...), e.to.pub, 10)
	return append(append(append(dst, `,"selector":`...), e.raw...), '}')
}

// comeBack enters a peer again that has gone offline.
func (c *core) comeBack(p *peer, t *turn) {
	location := []byte(p.member.location)
	t.scratch = t.wanted.parse(location, t.scratch[:0])
	c.mu.Lock()
	defer c.unlock()
	if p.listed != nil || p.gone.Load() {
		return
	}
	c.table.connect(p)
	if !t.wanted.blank() {
		c.enterLocked(p, &p.self, t.wanted.clone(), p.member.location)
	}
}
