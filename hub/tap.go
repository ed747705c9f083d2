package hub

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// The defaults of TapOptions.
const (
	DefaultTapBody   = 256
	DefaultTapRate   = 10_000
	DefaultTapBuffer = 4 << 20
)

const (
	// tapTurn is how often a reader is given what was recorded, and the tap new leave to record:
	// to hand over a record or thousands costs much the same. A tap never saves up more leave than
	// a turn gives it.
	tapTurn = 100 * time.Millisecond
	// maxTapText is how many bytes of a name are recorded.
	maxTapText = 256
	// maxTapBody is how many bytes of a payload are recorded at most: names and numbers fit beside
	// them.
	maxTapBody = wire.MaxTapRecord - 8<<10
	// maxTapBuffer is the largest buffer: it goes to the reader in one reply.
	maxTapBuffer = 12 << 20
	// maxTaps bounds the taps of a hub.
	maxTaps = 16
)

// TapOptions say what a Tap records. The zero value records the frames of everybody.
type TapOptions struct {
	// Peer, Object and Method are what the names have to be, * standing for any text; "" lets
	// everything pass. Peer is held against the sender and the receiver.
	Peer   string `json:"peer,omitempty"`
	Object string `json:"object,omitempty"`
	Method string `json:"method,omitempty"`

	// Kinds are the kinds of frames; none: all of them.
	Kinds []wire.TapKind `json:"kinds,omitempty"`

	// Body is how many bytes of a payload are kept. 0 means DefaultTapBody, a negative value none.
	Body int `json:"body,omitempty"`

	// Rate is how many frames a second are recorded at most, a tenth of them in a row; what is over
	// it is counted. It keeps the cost of a tap low however busy the hub is. 0 means
	// DefaultTapRate, a negative value no limit.
	Rate int `json:"rate,omitempty"`

	// Buffer is how many bytes of records wait for the reader; what finds no room is counted.
	// 0 means DefaultTapBuffer.
	Buffer int `json:"buffer,omitempty"`
}

// check says whether the options make sense.
func (o *TapOptions) check() error {
	for _, k := range o.Kinds {
		if k == wire.TapNote || k > wire.TapControl {
			return fmt.Errorf("hub: tap: no kind of frames has the number %d", k)
		}
	}
	if o.Body > maxTapBody {
		return fmt.Errorf("hub: tap: bytes of a payload: %d, limit %d", o.Body, maxTapBody)
	}
	if o.Buffer < 0 || o.Buffer > maxTapBuffer {
		return fmt.Errorf("hub: tap: bytes of the buffer: %d, limit %d", o.Buffer, maxTapBuffer)
	}
	return nil
}

// Tap begins to record frames that pass the hub. There are at most 16 taps at a time.
func (h *Hub) Tap(o TapOptions) (*Tap, error) { return h.core.taps.open(o) }

// Tap records the frames that pass a hub. Loops write records, one after the other, to a buffer of
// fixed size; the reader takes the whole buffer and leaves an empty one, so that no loop ever waits
// longer for the reader than two words take to change places. It does ten times a second, or when
// the buffer is half full.
//
//	loops --record--> active [ r | r | r |        ]
//	                     ^ swapped v
//	reader <---------  spare  [ r | r ]
//
// What is over the rate, or finds the buffer full, is not recorded; how many those were stands in
// the next record.
type Tap struct {
	taps     *taps
	want     TapOptions    // immutable
	kinds    uint8         // a bit for each of want.Kinds, 0: all; immutable
	filtered bool          // want leaves something out; immutable
	epoch    uint64        // what the clock of transport.Now began at, in ns since 1970; immutable
	credit   atomic.Int64  // frames that may be recorded in this turn; negative: so many were not
	shown    atomic.Uint64 // frames of taps.passed that it got to see; only where it derives
	closed   atomic.Bool
	wake     chan struct{} // of capacity 1: the buffer is half full, or the tap closed

	asked   atomic.Int32 // how often a peer that taps waits for what comes next
	serving sync.Mutex   // held while it is told

	mu     sync.Mutex
	active []byte // whole records; guarded by mu, capacity want.Buffer
	missed uint64 // frames that were not recorded since the last record; guarded by mu
	lost   uint64 // frames that were not recorded, in all; guarded by mu
	unseen unseen // guarded by mu
	names  []byte // of the record that is being written; guarded by mu

	spare   []byte        // the reader's
	taken   time.Duration // when the buffer was taken last; the reader's
	renewed time.Duration // when credit was given last; the reader's
}

// unseen are the frames of taps.passed that a tap was not shown.
type unseen struct {
	before uint64 // taps.passed when the tap was opened
	n      uint64 // frames since then
	ended  bool   // there come no more
}

// taps are those of one hub. Nobody taps, mostly: then list is nil, and all that the frames pay is
// to see that.
//
// Frames that have one receiver are counted by the hub in any case. A tap that has no leave to
// record is not shown those, and finds out by passed how many they were.
type taps struct {
	list   atomic.Pointer[[]*Tap]
	passed func() uint64 // frames that spent was, or would have been, asked about; immutable
	mu     sync.Mutex    // held by who changes list
}

// on is who taps, nil if nobody does.
func (t *taps) on() *[]*Tap { return t.list.Load() }

// open adds a tap.
func (t *taps) open(o TapOptions) (*Tap, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Body == 0 {
		o.Body = DefaultTapBody
	}
	if o.Rate == 0 {
		o.Rate = DefaultTapRate
	}
	if o.Buffer == 0 {
		o.Buffer = DefaultTapBuffer
	}
	now := transport.Now()
	tap := &Tap{taps: t, want: o, epoch: uint64(time.Now().UnixNano() - int64(now)), renewed: now,
		taken: now, wake: make(chan struct{}, 1),
		active: make([]byte, 0, o.Buffer), spare: make([]byte, 0, o.Buffer)}
	for _, k := range o.Kinds {
		tap.kinds |= 1 << k
	}
	tap.filtered = tap.kinds != 0 || o.Peer != "" || o.Object != "" || o.Method != ""
	tap.credit.Store(tap.burst())
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*Tap
	if l := t.list.Load(); l != nil {
		all = *l
	}
	if len(all) >= maxTaps {
		return nil, fmt.Errorf("hub: taps: %d, limit %d", len(all)+1, maxTaps)
	}
	all = append(slices.Clone(all), tap)
	tap.mu.Lock() // nothing is recorded before it is known what passed before
	defer tap.mu.Unlock()
	t.list.Store(&all)
	tap.unseen.before = t.passed()
	return tap, nil
}

// burst is how many frames may be recorded in a row: what a turn gives, but at least one.
func (t *Tap) burst() int64 { return max(1, int64(t.want.Rate)*int64(tapTurn)/int64(time.Second)) }

// leave takes the leave to record one more frame, if the rate gives it.
func (t *Tap) leave() bool { return t.want.Rate < 0 || t.credit.Add(-1) >= 0 }

// wants says whether p is of the kinds and has the names that are asked for. A peer is called by
// its name, by its number as in #7, or by both.
func (t *Tap) wants(p *passage) bool {
	o := &t.want
	return (t.kinds == 0 || t.kinds&(1<<p.kind) != 0) &&
		(o.Object == "" || fits(o.Object, p.object)) &&
		(o.Method == "" || p.called == "" && fits(o.Method, p.method) ||
			p.called != "" && fits(o.Method, p.called)) &&
		(o.Peer == "" || fitsPeer(o.Peer, p.from.title()) || fitsPeer(o.Peer, p.to.title()))
}

func fitsPeer(pattern string, title []byte) bool {
	at := bytes.LastIndexByte(title, '#')
	return fits(pattern, title) ||
		at >= 0 && (fits(pattern, title[:at]) || fits(pattern, title[at:]))
}

// Matches says whether name is what pattern says, in which * stands for any text.
func Matches(pattern, name string) bool { return fits(pattern, name) }

func fits[T string | []byte](pattern string, name T) bool {
	at, star, mark := 0, -1, 0 // star: behind the last *; mark: where its text may end
	for i := 0; i < len(name); {
		switch {
		case at < len(pattern) && pattern[at] == '*':
			at++
			star, mark = at, i
		case at < len(pattern) && pattern[at] == name[i]:
			at++
			i++
		case star >= 0:
			mark++
			at, i = star, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[at:], "*") == ""
}

// record writes p to the buffer, if there is room.
func (t *Tap) record(p *passage) {
	const numbers = 128 // bytes that all but names and payload take at most
	object, called := clip(p.object), clip(p.called)
	r := wire.TapRecord{Time: t.epoch + uint64(p.at), Kind: p.kind, ID: p.id, Sent: p.sent,
		Size: uint64(len(p.payload)), From: p.from.title(), To: p.to.title(),
		Method: clip(p.method), Copies: uint32(p.copies), Code: p.code,
		Took: uint64(max(0, p.took)),
		Body: p.payload[:max(0, min(len(p.payload), t.want.Body))]}
	size := numbers + len(r.From) + len(r.To) + len(object) + len(r.Method) + len(called) +
		len(r.Body)
	if t.add(&r, object, called, size) {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// add appends r, of so many bytes at most, or counts it as missed. It says whether the buffer has
// become half full by it.
func (t *Tap) add(r *wire.TapRecord, object, called string, size int) (half bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(t.active)
	if before+size > cap(t.active) {
		t.missLocked(1)
		return false
	}
	r.Lost, t.missed = t.missed, 0
	t.names = append(append(t.names[:0], object...), called...)
	r.Object = t.names[:len(object)]
	if called != "" {
		r.Method = t.names[len(object):]
	}
	t.active = r.AppendTo(t.active)
	return before < cap(t.active)/2 && len(t.active) >= cap(t.active)/2
}

// clip is the start of a name, as far as it is recorded.
func clip[T string | []byte](name T) T { return name[:min(len(name), maxTapText)] }

// Next waits until something was recorded, and returns it: whole records, one after the other, for
// wire.ParseTapRecord, valid until Next is called again. It returns ten times a second at most,
// unless the buffer fills faster. Only one goroutine may call it at a time. Errors: those of ctx,
// and ErrClosed after Close when all was returned.
func (t *Tap) Next(ctx context.Context) ([]byte, error) {
	timer := time.NewTimer(max(0, t.taken+tapTurn-transport.Now()))
	defer timer.Stop()
	for !t.closed.Load() {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.wake:
		case <-timer.C:
			timer.Reset(tapTurn)
		}
		if b := t.take(); len(b) > 0 {
			return b, nil
		}
	}
	if b := t.take(); len(b) > 0 {
		return b, nil
	}
	return nil, ErrClosed
}

// take renews the leave to record, and takes what was recorded.
func (t *Tap) take() []byte {
	t.taken = transport.Now()
	refused := t.renew()
	t.mu.Lock()
	t.missLocked(refused)
	t.deriveLocked()
	t.active, t.spare = t.spare[:0], t.active
	note := wire.TapRecord{}
	if len(t.spare) == 0 {
		note.Lost, t.missed = t.missed, 0
	}
	t.mu.Unlock()
	if note.Lost > 0 {
		note.Time = t.epoch + uint64(transport.Now())
		t.spare = note.AppendTo(t.spare)
	}
	return t.spare
}

// renew gives leave to record as many frames as the rate allows since the last time, up to what a
// turn gives. It returns how many were shown to it without leave.
func (t *Tap) renew() (refused uint64) {
	if t.want.Rate < 0 {
		return 0
	}
	gone := (t.taken - t.renewed).Seconds()
	more := int64(min(gone*float64(t.want.Rate), float64(t.burst())))
	if more > 0 {
		t.renewed = t.taken
	}
	for {
		left := t.credit.Load()
		if t.credit.CompareAndSwap(left, min(max(left, 0)+more, t.burst())) {
			return uint64(max(-left, 0))
		}
	}
}

// derives says whether t counts by taps.passed what spent keeps from it.
func (t *Tap) derives() bool { return !t.filtered && t.want.Rate > 0 }

func (t *Tap) missLocked(n uint64) {
	t.missed += n
	t.lost += n
}

// deriveLocked counts the frames that spent has kept from t. One that is being shown may be counted
// as shown already and not yet as passed, never the other way round.
func (t *Tap) deriveLocked() {
	u := &t.unseen
	if !t.derives() || u.ended {
		return
	}
	shown := t.shown.Load()
	if n := t.taps.passed() - u.before - shown; int64(n-u.n) > 0 {
		t.missLocked(n - u.n)
		u.n = n
	}
}

// Lost is how many frames the tap was to record and has not: over its rate, or without room.
func (t *Tap) Lost() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deriveLocked()
	return t.lost + uint64(max(-t.credit.Load(), 0))
}

// Close ends the tap: nothing is recorded any more, and Next returns what was. Closing again does
// nothing.
func (t *Tap) Close() {
	if t.closed.Swap(true) {
		return
	}
	select {
	case t.wake <- struct{}{}:
	default: // it will be woken
	}
	t.taps.mu.Lock()
	defer t.taps.mu.Unlock()
	rest := slices.Clone(*t.taps.list.Load())
	rest = slices.DeleteFunc(rest, func(o *Tap) bool { return o == t })
	if len(rest) == 0 {
		t.taps.list.Store(nil)
	} else {
		t.taps.list.Store(&rest)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deriveLocked()
	t.unseen.ended = true
}
