package hub

import (
	"time"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// defaultTimeoutMs is how long Pandora's hub waits for a reply when a message does not say, in ms.
const defaultTimeoutMs = 20000

// maxTimeout stands for every time that is longer. JavaScript's timers fire at once beyond
// 2^31-1 ms, which nobody can want.
const maxTimeout = 100 * 365 * 24 * time.Hour

// callerFirst is how much later than the timeout the hub gives up. Pandora's clients watch the same
// time by a clock that starts earlier but is coarser; theirs is to strike first, as they expect it.
const callerFirst = 10 * time.Millisecond

// timeoutClass is what Pandora calls the error of a call whose time is over.
const timeoutClass = "MessengerRequestTimeoutError"

// timeout is how long a provider has to reply.
type timeout struct {
	ms float64
	// text is the timeout as the message said it, when that was not a number. It is borrowed until
	// keep has made a copy.
	text []byte
}

// parseTimeout reads message.timeout as Pandora does: whatever is false gives the default, numbers
// count as they are and strings as what Number makes of them. The rest is not a number: it fires at
// once.
func parseTimeout(raw []byte) timeout {
	if !js.Truthy(raw) {
		return timeout{ms: defaultTimeoutMs}
	}
	if js.KindOf(raw) == js.Number {
		return timeout{ms: js.Float(raw)}
	}
	return timeout{ms: js.ToNumber(raw), text: raw}
}

// keep makes t independent of the message that it was read from.
func (t *timeout) keep() {
	t.text = append([]byte(nil), t.text...)
}

// duration is what JavaScript's setTimeout would wait: whole milliseconds, at least one, which is
// also what negative and missing numbers give.
func (t *timeout) duration() time.Duration {
	switch {
	case t.ms != t.ms || t.ms < 1:
		return time.Millisecond
	case t.ms >= float64(maxTimeout/time.Millisecond):
		return maxTimeout
	}
	return time.Duration(t.ms) * time.Millisecond
}

// over is what Pandora says when the time is over.
func (t *timeout) over() string {
	return string(append(t.append([]byte("target no response in ")), "ms"...))
}

// append appends t as JavaScript prints it.
func (t *timeout) append(dst []byte) []byte {
	if t.text != nil {
		return js.AppendToString(dst, t.text)
	}
	return js.AppendFloat(dst, t.ms)
}
