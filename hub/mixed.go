package hub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// Native peers and Pandora's meet here. The hub composes envelopes and copies values; it encodes
// none.
//
//	native                                         Pandora
//	method "add", payload [1,2]             <->    OBJECT_ACTION_INVOKE, propertyName, data
//	action "OBJECT_ACTION_..."              <->    action; the method is propertyName or register
//	any other action, payload: the message  <->    action, the message itself
//	reply, payload 3                        <->    {"success":true,"data":3}
//	error, code and text                    <->    {"success":false,"error":{...}}

// The actions of Pandora's messages that name a member of an object.
const (
	ActionInvoke      = "OBJECT_ACTION_INVOKE"
	ActionIntrospect  = "OBJECT_ACTION_INTROSPECT"
	ActionGetProperty = "OBJECT_ACTION_GET_PROPERTY"
	ActionSubscribe   = "OBJECT_ACTION_SUBSCRIBE"
	ActionUnsubscribe = "OBJECT_ACTION_UNSUBSCRIBE"
	// ActionEcho is answered by every client with the message itself.
	ActionEcho = "echo"
)

// memberKey is the member of a message that a native method stands for, by the action.
func memberKey(action string) string {
	switch action {
	case ActionSubscribe, ActionUnsubscribe:
		return "register"
	}
	return "propertyName"
}

// wholeMessage says whether what Pandora's peers ask a native one for by action carries their whole
// message, as no part of it is known to be what it is about.
func wholeMessage(action string) bool {
	switch action {
	case "", ActionInvoke, ActionGetProperty, ActionIntrospect, ActionSubscribe, ActionUnsubscribe:
		return false
	}
	return true
}

// errPayload says that a native payload cannot go to a peer of Pandora's.
var errPayload = errors.New("payload for a peer of Pandora's")

// compose makes the body of a MSG_DOWN of what a native peer has sent, or what has waited for one.
// remote is a selector as JSON, or "" for a broadcast; host the sender's location, or empty. The
// pieces are good until the next use of t.
func (t *turn) compose(host string, m *transport.Message, remote string, need, all bool) (
	[][]byte, error) {
	payload := m.Body
	if len(payload) > 0 {
		ascii, err := t.scanner.Scan(payload)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errPayload, err)
		}
		if !ascii && !utf8.Valid(payload) {
			t.clean = js.AppendClean(t.clean[:0], payload)
			payload = t.clean
		}
		payload = js.Value(payload)
	}
	action := m.Action
	b := append(t.out[:0], downHead+`{`...)
	if remote != "" {
		b = append(append(append(b, `"remote":`...), remote...), ',')
	}
	b = append(b, `"action":`...)
	if len(action) == 0 {
		b = append(b, `"`+ActionInvoke+`"`...)
	} else {
		b = js.AppendQuoted(b, action)
	}
	if m.Method != "" {
		b = append(js.AppendQuoted(append(b, ','), memberKey(string(action))), ':')
		b = js.AppendQuoted(b, m.Method)
	}
	if len(host) > 0 {
		b = append(append(b, `,"host":`...), host...)
	}
	b = append(strconv.AppendBool(append(b, `,"broadcast":`...), all), `,"needReply":`...)
	b = strconv.AppendBool(b, need)
	if m.Timeout != 0 {
		b = append(b, `,"timeout":`...)
		b = strconv.AppendInt(b, max(1, m.Timeout.Milliseconds()), 10)
	}
	end := "}" + tail
	if len(payload) > 0 {
		b = append(b, `,"data":`...)
	}
	n := len(b)
	b = append(b, end...)
	t.out = b
	t.pieces = [3][]byte{b[:n:n], payload, b[n:]}
	return t.pieces[:], nil
}

// toPandora sends a native call or oneway to a provider of Pandora's.
func (c *core) toPandora(p *peer, r *transport.Request, o *outgoing, route *route, to *target,
	b *batch) {
	refuse := func(code wire.Code, text string) {
		if b != nil {
			b.addResult(c, to.peer.seq, code, []byte(text))
		} else if !r.Oneway() {
			_ = r.Fail(code, text)
		}
	}
	need := !r.Oneway()
	if taps := c.taps.on(); taps != nil {
		c.passRequest(taps, p, r, route, to.peer, 1, false)
	}
	body, err := o.compose(c, p, route.raw, need, b != nil)
	if err != nil {
		refuse(wire.CodeInvalid, err.Error())
		return
	}
	if n := size(body.pieces); n > c.limits.MaxBody {
		refuse(wire.CodeTooLarge, fmt.Sprintf("bytes of a body: %d, limit %d", n, c.limits.MaxBody))
		return
	}
	if !need {
		c.sendPandora(to.peer, body)
		return
	}
	wait := timeout{ms: maxTimeout.Seconds() * 1000}
	if by, ok := r.Deadline(); ok {
		wait.ms = max(0, time.Until(by).Seconds()*1000)
	}
	ask := asker{peer: p, batch: b}
	ticket := c.tickets.Add(1)
	if b == nil {
		ask.held = r.Hold(c, ticket)
	}
	m := route.object.method(countedBy(r))
	c.mu.Lock()
	if to.peer.gone.Load() || c.closed {
		c.unlock()
		ask.fail(c, to.peer, wire.CodePeerLost, errProviderLost.Error())
		return
	}
	call := c.pending.open(p, 0, to.peer, wait, c.arrived(p))
	call.ask, call.ticket, call.method = ask, ticket, m
	id := call.id
	c.askers[ticket] = call
	c.armLocked()
	c.unlock()
	if b != nil {
		b.enter(c, ticket)
	}
	m.begin()
	to.load.Begin()
	if err := to.peer.sendBody(id, body); err != nil {
		c.deliver(c.cut(nil, to.peer, err))
		return
	}
	c.stats.delivered.Add(1)
}

// Canceled is told that nobody waits any more for the reply of a provider of Pandora's, which
// cannot be told.
func (c *core) Canceled(ticket uint64, cause error) {
	c.mu.Lock()
	call := c.askers[ticket]
	var jobs []job
	if call != nil {
		c.stats.canceled.Add(1)
		jobs = c.settleLocked(jobs, call, &failure{class: "Error", code: wire.CodeCanceled})
	}
	c.unlock()
	c.deliver(jobs)
}

// outcome is what a reply package of Pandora's says: the data, or with a code other than CodeOK why
// there is none.
type outcome struct {
	data, why []byte
	code      wire.Code
}

func parseOutcome(pkg []byte) outcome {
	var fields [3][]byte
	js.Fields(pkg, replyKeys, fields[:])
	success, data, why := fields[0], fields[1], fields[2]
	switch {
	case len(pkg) == 0 || js.Truthy(success):
		return outcome{data: data}
	case len(why) == 0:
		why = pkg
	}
	if js.Is(js.Field(why, "name"), timeoutClass) {
		return outcome{why: why, code: wire.CodeDeadline}
	}
	return outcome{why: why, code: wire.CodeFailed}
}

var replyKeys = []string{"success", "data", "error"}

// answerNative hands the reply of a provider of Pandora's to a native caller.
func (c *core) answerNative(ask *asker, from *peer, o outcome) {
	switch {
	case o.code != wire.CodeOK:
		ask.fail(c, from, o.code, string(o.why))
	case ask.batch != nil:
		ask.batch.addResult(c, from.seq, wire.CodeOK, o.data)
	default:
		answerHeld(ask.held, o.data)
	}
}

// downNative sends a message of Pandora's to a native provider. f is nil where no reply is due, r
// where nobody else can do instead.
func (c *core) downNative(p *peer, t *turn, r *route, to *target, f *flight, raw []byte) {
	var keys [4][]byte
	js.Fields(raw, downKeys, keys[:])
	m := transport.Message{Route: to.pub, Caller: p.seq, Action: t.text(keys[0]), Shared: t.shared}
	member := keys[1]
	switch string(m.Action) {
	case ActionInvoke:
		m.Action, m.Body = nil, keys[2]
	case ActionGetProperty, ActionIntrospect:
	case ActionSubscribe, ActionUnsubscribe:
		member = keys[3]
	default: // the message itself is what it is about
		member, m.Body = nil, raw
	}
	if member != nil {
		name := t.name(member)
		if len(name) > wire.MaxMethod || len(m.Action) > wire.MaxAction {
			name = name[:0]
		}
		m.Method = string(name)
	}
	if len(m.Action) > wire.MaxAction {
		m.Action = m.Action[:0]
	}
	if f == nil {
		c.post(r, to, &m)
		return
	}
	f.wait = parseTimeout(t.message[messageTimeout])
	f.wait.keep()
	if wait := f.wait.duration(); wait < maxTimeout {
		m.Timeout = wait + callerFirst
	}
	c.launch(f, &m)
}

var downKeys = []string{"action", "propertyName", "data", "register"}

// text is the text of a raw string, good until the turn ends; empty when raw is none.
func (t *turn) text(raw []byte) []byte {
	if js.KindOf(raw) != js.String {
		return nil
	}
	if text := raw[1 : len(raw)-1]; !js.Escaped(text) {
		return text
	}
	start := len(t.scratch)
	t.scratch = js.AppendString(t.scratch, raw)
	return t.scratch[start:len(t.scratch):len(t.scratch)]
}

// name is raw as JavaScript takes it for the name of a member: 5 is "5".
func (t *turn) name(raw []byte) []byte {
	if js.KindOf(raw) == js.String {
		return t.text(raw)
	}
	start := len(t.scratch)
	t.scratch = js.AppendToString(t.scratch, raw)
	return t.scratch[start:len(t.scratch):len(t.scratch)]
}

// replyPandora answers a caller of Pandora's with the payload of a native provider.
func (c *core) replyPandora(a *asker, from *peer, payload []byte) {
	t := c.turns.Get().(*turn)
	defer c.putTurn(t)
	if n := len(payload); n > c.limits.MaxBody {
		c.failPandora(a, from, wire.CodeTooLarge,
			fmt.Sprintf("bytes of a reply: %d, limit %d", n, c.limits.MaxBody))
		return
	}
	if len(payload) > 0 {
		ascii, err := t.scanner.Scan(payload)
		if err != nil {
			c.failPandora(a, from, wire.CodeFailed, "reply is not JSON: "+err.Error())
			return
		}
		if !ascii && !utf8.Valid(payload) {
			t.clean = js.AppendClean(t.clean[:0], payload)
			payload = t.clean
		}
		payload = js.Value(payload)
	}
	b := appendPackageHead(t.out[:0], a, from)
	b = append(b, `"success":true`...)
	if len(payload) > 0 {
		b = append(append(b, `,"data":`...), payload...)
	}
	t.out = append(b, '}')
	c.settlePandora(a, t, t.out)
}

// failPandora answers a caller of Pandora's with an error.
func (c *core) failPandora(a *asker, from *peer, code wire.Code, text string) {
	t := c.turns.Get().(*turn)
	defer c.putTurn(t)
	b := appendPackageHead(t.out[:0], a, from)
	b = append(b, `"success":false,"error":`...)
	_, err := t.scanner.Scan([]byte(text))
	if err == nil && text[0] == '{' && utf8.ValidString(text) {
		b = append(b, text...)
	} else {
		if text == "" {
			text = code.String()
		}
		f := failure{class: "Error", text: []byte(text)}
		if code == wire.CodeDeadline {
			f.class, f.named = timeoutClass, true
		}
		b = f.appendError(b)
	}
	t.out = append(b, '}')
	c.settlePandora(a, t, t.out)
}

// appendPackageHead begins a reply package as Pandora's clients write it.
func appendPackageHead(b []byte, a *asker, from *peer) []byte {
	b = append(append(b, `{"host":`...), from.member.location...)
	if len(a.host) > 0 {
		b = append(append(b, `,"remote":`...), a.host...)
	}
	return append(b, ',')
}

// settlePandora hands a package to its caller, or to the batch that it is a part of.
func (c *core) settlePandora(a *asker, t *turn, pkg []byte) {
	if a.batch != nil {
		a.batch.addPackage(c, pkg)
		return
	}
	if a.peer.gone.Load() {
		return
	}
	head := append(appendReplyHead(nil, a.id), `,"data":`...)
	if err := a.peer.send(a.peer.id(), [][]byte{head, pkg, []byte(tail)}); err != nil {
		c.deliver(c.cut(nil, a.peer, err))
	}
}

// batch collects the replies of many to one call, in the form of whoever has made it.
//
//	Pandora  {"success":true,"remote":HOST,"batchReply":[PACKAGE,PACKAGE,...]}
//	native   (peer uvarint | code uvarint | length uvarint | payload)*
type batch struct {
	ask    asker
	native bool
	limit  int // of the body in bytes

	mu   sync.Mutex
	left int    // replies that are missing; guarded by mu
	none bool   // none has come yet; guarded by mu
	over bool   // the body has grown over its limit, and was thrown away; guarded by mu
	body []byte // of the reply, so far; guarded by mu

	canceled bool   // nobody waits for it any more; guarded by mu
	calls    []part // what a native one is made of; guarded by mu
}

// part is a call of a native batch, as whoever knows of it tells it apart.
type part struct {
	w      transport.Canceler
	ticket uint64
}

// enter makes a call a part of b, to be taken back with it. One that has a reply may stay there.
func (b *batch) enter(w transport.Canceler, ticket uint64) {
	b.mu.Lock()
	canceled := b.canceled
	if !canceled {
		b.calls = append(b.calls, part{w, ticket})
	}
	b.mu.Unlock()
	if canceled {
		w.Canceled(ticket, context.Canceled)
	}
}

// Canceled is told by the caller's connection that nobody waits any more. Each provider that is
// still at work is told.
func (b *batch) Canceled(_ uint64, cause error) {
	b.mu.Lock()
	calls := b.calls
	b.canceled, b.calls = true, nil
	b.mu.Unlock()
	for _, p := range calls {
		p.w.Canceled(p.ticket, cause)
	}
}

// add takes one package of Pandora's. It says true when it was the last one. For one that does not
// fit there is an error in its place, for which half of the slack of frames is left.
func (b *batch) add(pkg []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	const around = len(batchTail) + len("null,")
	if !b.over && len(b.body)+len(pkg)+around > b.limit {
		pkg = b.tooLarge().appendPackage(nil)
		if len(b.body)+len(pkg)+around > b.limit+frameSlack/2 {
			b.over, b.body = true, nil
		}
	}
	if !b.over {
		b.body = appendEntry(b.body, b.none, pkg)
	}
	b.none = false
	b.left--
	return b.left == 0
}

// addPackage is add, and answers when it was the last one.
func (b *batch) addPackage(c *core, pkg []byte) {
	if !b.add(pkg) {
		return
	}
	to := b.ask.peer
	if err := to.send(to.id(), [][]byte{b.reply(b.ask.id)}); err != nil {
		c.deliver(c.cut(nil, to, err))
	}
}

// addResult takes one result of a native batch, and answers when it was the last one.
func (b *batch) addResult(c *core, peer uint64, code wire.Code, payload []byte) {
	b.mu.Lock()
	if b.over = b.over || len(b.body)+len(payload)+32 > b.limit; !b.over {
		b.body = binary.AppendUvarint(b.body, peer)
		b.body = binary.AppendUvarint(b.body, uint64(code))
		b.body = binary.AppendUvarint(b.body, uint64(len(payload)))
		b.body = append(b.body, payload...)
	}
	b.left--
	last, over := b.left == 0, b.over
	b.mu.Unlock()
	switch {
	case !last:
	case over:
		_ = b.ask.held.Fail(wire.CodeTooLarge,
			fmt.Sprintf("bytes of a batch of replies: over the limit of %d", b.limit))
	default:
		answerHeld(b.ask.held, b.body)
	}
}

// reply is the body of the reply to id, when all have come.
func (b *batch) reply(id uint32) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return appendFailure(nil, id, b.tooLarge())
	}
	return append(b.body, batchTail...)
}

// tooLarge says that there is no room for a reply.
func (b *batch) tooLarge() *failure {
	return &failure{class: "RangeError",
		text: fmt.Appendf(nil, "bytes of a batch of replies: over the limit of %d", b.limit)}
}
