package hub

import (
	"fmt"
	"unicode/utf8"

	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/wire"
)

// maxName is how many bytes of a location the log shows.
const maxName = 256

// maxKeptSelector is how many bytes a selector may have to be listed as it was written.
const maxKeptSelector = 4096

// frame handles one frame of p. Frames of one peer come one after the other; the body is borrowed.
// An error says that the body is not JSON; the peer is cut off then.
func (c *core) frame(p *peer, id uint32, body []byte) error {
	if len(body) == 0 || p.gone.Load() {
		return nil
	}
	if !p.spoken.Load() {
		p.spoken.Store(true)
	}
	t := c.turns.Get().(*turn)
	err := c.handle(p, t, id, body)
	t.release()
	c.turns.Put(t)
	if err != nil {
		c.stats.invalid.Add(1)
		c.deliver(c.cut(nil, p, err))
	}
	return err
}

func (c *core) handle(p *peer, t *turn, id uint32, body []byte) error {
	if limit := c.limits.MaxBody; len(body) > limit {
		return fmt.Errorf("hub: bytes of a body: %d, limit %d", len(body), limit)
	}
	ascii, err := t.scanner.Scan(body)
	if err != nil {
		return err
	}
	if !ascii && !utf8.Valid(body) {
		t.clean = js.AppendClean(t.clean[:0], body)
		body = t.clean
	}
	js.Fields(js.Value(body), envelopeKeys, t.envelope[:])
	data := t.envelope[1]
	action, answered := parseAction(t.envelope[0])
	if taps := c.taps.on(); taps != nil && action.asksHub() {
		e := passage{kind: wire.TapControl, at: c.arrived(p), id: id, from: p,
			called: action.String(), payload: data}
		e.pass(taps)
	}
	switch action {
	case actionReply:
		c.answer(p, t, answered, data)
	case actionMessage:
		c.message(p, t, id, data)
	case actionOnline:
		c.online(p, t, id, data)
	case actionOffline:
		c.offline(p, t, id)
	case actionPublish:
		c.publish(p, t, id, data)
	case actionUnpublish:
		c.unpublish(p, t, id, data)
	default:
		c.stats.ignored.Add(1)
	}
	return nil
}

// online enters the location of p into its list of selectors.
func (c *core) online(p *peer, t *turn, id uint32, pkg []byte) {
	host, ok := c.property(p, t, id, pkg, "host")
	if !ok {
		return
	}
	if c.enter(p, t, id, host) {
		c.mu.Lock()
		p.renameLocked(string(host[:min(len(host), maxName)]))
		c.unlock()
	}
}

// offline takes p out of the table. The connection stays.
func (c *core) offline(p *peer, t *turn, id uint32) {
	c.mu.Lock()
	c.removeLocked(p)
	p.publishing = 0
	c.unlock()
	c.succeed(p, t, id)
}

// publish enters one more selector for p.
func (c *core) publish(p *peer, t *turn, id uint32, pkg []byte) {
	if selector, ok := c.selectorOf(p, t, id, pkg); ok {
		c.enter(p, t, id, selector)
	}
}

// enter puts the selector raw into the table, and answers.
func (c *core) enter(p *peer, t *turn, id uint32, raw []byte) bool {
	if !js.Truthy(raw) {
		text := append(t.scratch[:0], "Selector is required, but got "...)
		if kind := js.KindOf(raw); kind == js.Number || kind == js.Undefined {
			text = js.AppendToString(text, raw)
		} else {
			text = append(text, raw...)
		}
		t.scratch = text
		c.fail(p, t, id, "Error", text)
		return false
	}
	t.scratch = t.wanted.parse(raw, t.scratch[:0])
	s := t.wanted.clone()
	text := ""
	if len(raw) <= maxKeptSelector {
		text = string(raw)
	}
	size := s.size() + len(text)
	c.mu.Lock()
	total := p.publishing + size
	fits := total <= c.limits.MaxPublishing
	if fits && !p.gone.Load() {
		p.publishing = total
		c.enterLocked(p, &p.self, s, text)
	}
	c.unlock()
	if !fits {
		c.stats.refused.Add(1)
		c.fail(p, t, id, "RangeError", fmt.Appendf(nil, "bytes of selectors: %d, limit %d", total,
			c.limits.MaxPublishing))
		return false
	}
	c.succeed(p, t, id)
	return true
}

// unpublish drops every selector of p that the given one matches.
func (c *core) unpublish(p *peer, t *turn, id uint32, pkg []byte) {
	raw, ok := c.selectorOf(p, t, id, pkg)
	if !ok {
		return
	}
	nothing := isNothing(raw)
	t.scratch = t.wanted.parse(raw, t.scratch[:0])
	c.mu.Lock()
	known := c.table.has(p)
	if known && !nothing {
		p.publishing -= c.table.drop(p, &t.wanted, func(e *entry) { c.tellLocked(e, eventDown) })
	}
	c.unlock()
	switch {
	case !known:
		c.fail(p, t, id, "Error", []byte("Can not found client when forgetRelation()"))
	case nothing:
		t.scratch = appendNoProperty(t.scratch[:0], raw, selectorKeys[0])
		c.fail(p, t, id, "TypeError", t.scratch)
	default:
		c.succeed(p, t, id)
	}
}

// selectorOf is data.selector of the package of a PUBLISH or UNPUBLISH.
func (c *core) selectorOf(p *peer, t *turn, id uint32, pkg []byte) ([]byte, bool) {
	data, ok := c.property(p, t, id, pkg, "data")
	if !ok {
		return nil, false
	}
	return c.property(p, t, id, data, "selector")
}

// property is the property of the value raw. Where JavaScript throws a TypeError, because raw is
// undefined or null, it answers with that, and says false.
func (c *core) property(p *peer, t *turn, id uint32, raw []byte, name string) ([]byte, bool) {
	if isNothing(raw) {
		t.scratch = appendNoProperty(t.scratch[:0], raw, name)
		c.fail(p, t, id, "TypeError", t.scratch)
		return nil, false
	}
	return js.Field(raw, name), true
}

// isNothing says whether raw is undefined or null: what has no properties.
func isNothing(raw []byte) bool {
	kind := js.KindOf(raw)
	return kind == js.Undefined || kind == js.Null
}

// succeed answers the message id with  {"success":true}.
func (c *core) succeed(p *peer, t *turn, id uint32) {
	t.out = appendSuccess(t.out[:0], id)
	c.reply(p, t)
}

// fail answers the message id with an error.
func (c *core) fail(p *peer, t *turn, id uint32, class string, text []byte) {
	t.out = appendFailure(t.out[:0], id, &failure{class: class, text: text})
	c.reply(p, t)
}

// reply writes t.out to p.
func (c *core) reply(p *peer, t *turn) {
	if err := p.send(p.id(), t.whole(t.out)); err != nil {
		c.deliver(c.cut(nil, p, err))
	}
}
