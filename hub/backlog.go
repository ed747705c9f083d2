package hub

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

// Policy is what happens to a call or oneway for a native provider that does not take any more,
// when what waits for it has reached its limit. Calls that are not carried out are answered at once
// with wire.CodeOverloaded, oneways are counted.
type Policy uint8

// The policies.
const (
	// Block has the senders wait: who sends to a route one of whose providers has half of its limit
	// waiting is told to hold back, until there is room again. What comes nevertheless, over the
	// limit, is refused.
	Block Policy = iota
	// DropOldest makes room by throwing away what has waited longest.
	DropOldest
	// DropNewest refuses what comes.
	DropNewest
	// Disconnect ends the provider's connection.
	Disconnect
)

var policyNames = [...]string{"block", "drop-oldest", "drop-newest", "disconnect"}

// String is the name of p, as ParsePolicy reads it.
func (p Policy) String() string { return policyNames[p] }

// ParsePolicy reads the name of a policy: block, drop-oldest, drop-newest or disconnect.
func ParsePolicy(name string) (Policy, error) {
	for i, n := range policyNames {
		if n == name {
			return Policy(i), nil
		}
	}
	return 0, fmt.Errorf("hub: unknown policy %q, known are %s", name,
		strings.Join(policyNames[:], ", "))
}

// errRefused says that a call was thrown away because its provider is too slow.
var errRefused = errors.New("hub: the provider takes no more")

// errNobody says that a call waited for a provider that was taken back, and there is no other one.
var errNobody = errors.New("hub: the object was taken back, and nobody else has it")

// backlog is what waits for a native provider that has given no more credit, in order.
type backlog struct {
	some  atomic.Bool  // something waits; set and cleared under mu
	bytes atomic.Int64 // that wait; written under mu
	n     atomic.Int64 // calls and oneways that wait; written under mu

	delayed atomic.Uint64 // calls and oneways that had to wait
	refused atomic.Uint64 // calls thrown away, and answered
	dropped atomic.Uint64 // oneways thrown away

	mu     sync.Mutex
	head   *waiting // guarded by mu
	tail   *waiting // guarded by mu
	busy   bool     // somebody sends; guarded by mu
	again  bool     // pump was called meanwhile; guarded by mu
	slow   bool     // the log has been told; guarded by mu
	held   []paused // who was told to hold back; guarded by mu
	closed bool     // guarded by mu
}

// waiting is one call or oneway of a backlog, with a copy of its message, but of a body that is
// shared a reference: who takes it out releases that.
type waiting struct {
	f      *flight // nil: a oneway
	ticket uint64  // of this use of f
	to     *target
	route  *route // nil: it is for to and nobody else
	m      transport.Message
	size   int64
	by     time.Time // zero: no end
	next   *waiting
}

// paused is a client's route whose senders hold back.
type paused struct {
	peer   *peer
	route  uint64
	number uint64 // of the pause or the resume; rises
}

// messageSize is the number of bytes that keep keeps of m.
func messageSize(m *transport.Message) int {
	return len(m.Method) + len(m.Action) + len(m.Trace) + len(m.Body) + size(m.Gather)
}

// keep makes a copy of m that lasts. What is shared is not copied: the copy has a reference.
func keep(m *transport.Message) transport.Message {
	alone := messageSize(m)
	if m.Shared != nil {
		alone -= len(m.Body) + size(m.Gather)
	}
	b := make([]byte, 0, alone)
	take := func(part []byte) []byte {
		at := len(b)
		b = append(b, part...)
		return b[at:len(b):len(b)]
	}
	k := *m
	k.Method = string(append([]byte(nil), m.Method...))
	k.Action, k.Trace = take(m.Action), take(m.Trace)
	if m.Shared != nil {
		k.Shared = m.Shared.Retain()
		return k
	}
	at := len(b)
	take(m.Body)
	for _, p := range m.Gather {
		take(p)
	}
	k.Body, k.Gather = b[at:], nil
	return k
}

// waitingSize is about what an entry of a backlog takes besides its bytes.
const waitingSize = 256

// queue puts a call, or with a nil f a oneway, at the end of b, or does what the policy says. What
// is refused is not copied first.
func (c *core) queue(b *backlog, f *flight, r *route, to *target, m *transport.Message) {
	w := &waiting{f: f, to: to, route: r, size: int64(messageSize(m) + waitingSize)}
	b.mu.Lock()
	refused := w.size > int64(c.limits.MaxQueue) || b.closed ||
		c.policy != DropOldest && c.fullLocked(b, w)
	b.mu.Unlock()
	var out *waiting // what is thrown away
	if !refused {
		w.m = keep(m)
		if m.Timeout > 0 {
			w.by = time.Now().Add(m.Timeout)
		}
		if f != nil {
			w.ticket = f.ticket
		}
		b.mu.Lock()
		out = c.makeRoomLocked(b, w)
		if refused = b.closed || c.fullLocked(b, w); !refused {
			b.pushLocked(w)
			c.queued.Add(w.size)
			b.delayed.Add(1)
		}
		b.mu.Unlock()
	}
	if refused || out != nil {
		c.blame(to.peer, b)
	}
	for out != nil {
		next := out.next
		c.discard(b, out)
		out = next
	}
	if refused {
		c.discard(b, w)
	} else if f != nil {
		f.takeBack(b, w.ticket)
	}
	c.pump(to.peer)
}

// fullLocked says whether there is no room for w.
func (c *core) fullLocked(b *backlog, w *waiting) bool {
	return b.bytes.Load()+w.size > int64(c.limits.MaxQueue) || c.over(w.size)
}

// makeRoomLocked throws out what has waited longest, until there is room for w, if that is the
// policy.
func (c *core) makeRoomLocked(b *backlog, w *waiting) (out *waiting) {
	for c.policy == DropOldest && !b.closed && c.fullLocked(b, w) && b.head != nil &&
		!(b.busy && b.head.next == nil) {
		out = b.oldestLocked(out)
		c.queued.Add(-out.size)
	}
	return out
}

// over says whether n more bytes are too many for the whole hub.
func (c *core) over(n int64) bool { return c.queued.Load()+n > c.limits.MaxTotal }

// blame names a provider that does not keep up, once until it has caught up. The policy may end it.
func (c *core) blame(p *peer, b *backlog) {
	b.mu.Lock()
	known := b.slow || b.closed
	b.slow = true
	b.mu.Unlock()
	if known {
		return
	}
	c.stats.slow.Add(1)
	c.log.Warn("slow consumer", "peer", p.seq, "name", p.member.location,
		"policy", c.policy.String(), "queued", b.n.Load(), "bytes", b.bytes.Load())
	if c.policy == Disconnect {
		p.link.end(transport.ErrFull)
	}
}

func (b *backlog) pushLocked(w *waiting) {
	if b.tail == nil {
		b.head = w
	} else {
		b.tail.next = w
	}
	b.tail = w
	b.bytes.Add(w.size)
	b.n.Add(1)
	b.some.Store(true)
}

// oldestLocked takes the oldest out that is not being sent, and puts it in front of out.
func (b *backlog) oldestLocked(out *waiting) *waiting {
	w := b.head
	if b.busy {
		prev := w
		w = w.next
		prev.next = w.next
		if b.tail == w {
			b.tail = prev
		}
	} else if b.head = w.next; b.head == nil {
		b.tail = nil
	}
	b.tookLocked(w)
	w.next = out
	return w
}

func (b *backlog) tookLocked(w *waiting) {
	b.bytes.Add(-w.size)
	b.n.Add(-1)
	if b.head == nil {
		b.some.Store(false)
		b.slow = false
	}
}

// discard answers a call, or counts a oneway, that will not be sent.
func (c *core) discard(b *backlog, w *waiting) {
	defer w.m.Shared.Release()
	if w.f != nil {
		b.refused.Add(1)
		c.stats.refused.Add(1)
		w.f.end(fmt.Errorf("%w: %d bytes wait for peer %d, limit %d", errRefused,
			b.bytes.Load(), w.to.peer.seq, c.limits.MaxQueue))
		return
	}
	b.dropped.Add(1)
	c.stats.dropped.Add(1)
}

// remove takes the call of f out, if that use of it waits there and is not being sent.
func (b *backlog) remove(f *flight, ticket uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	var prev *waiting
	for w := b.head; w != nil; prev, w = w, w.next {
		if w.f != f || w.ticket != ticket {
			continue
		}
		if prev == nil {
			if b.busy {
				return false
			}
			b.head = w.next
		} else {
			prev.next = w.next
		}
		if b.tail == w {
			b.tail = prev
		}
		b.tookLocked(w)
		f.core.queued.Add(-w.size)
		w.m.Shared.Release()
		return true
	}
	return false
}

// pump sends what waits for p, as far as there is room. One goroutine does at a time.
func (c *core) pump(p *peer) {
	b := &p.member.backlog
	b.mu.Lock()
	if b.busy {
		b.again = true // room may have come while it was told that there is none
		b.mu.Unlock()
		return
	}
	b.busy = true
	for b.head != nil {
		w := b.head
		b.again = false
		b.mu.Unlock()
		err := c.sendWaiting(p, w)
		b.mu.Lock()
		if err == transport.ErrFull && !b.closed {
			if b.again {
				continue
			}
			break
		}
		b.head = w.next
		if b.head == nil {
			b.tail = nil
		}
		b.tookLocked(w)
		c.queued.Add(-w.size)
		w.m.Shared.Release()
		if err != nil {
			b.mu.Unlock()
			c.lose(b, w, err)
			b.mu.Lock()
		}
	}
	b.busy = false
	var resumed []paused
	if len(b.held) > 0 && b.bytes.Load() <= int64(c.limits.MaxQueue)/4 {
		resumed = b.takeHeldLocked(c)
	}
	b.mu.Unlock()
	for _, r := range resumed {
		c.tellPaused(r, false)
	}
}

// sendWaiting sends one that has waited.
func (c *core) sendWaiting(p *peer, w *waiting) error {
	if !w.by.IsZero() {
		if w.m.Timeout = time.Until(w.by); w.m.Timeout <= 0 {
			return transport.ErrDeadline
		}
	}
	if w.f != nil {
		return w.f.send(&w.m)
	}
	return p.member.conn.TryPost(w.m)
}

// lose is for one that could not be sent.
func (c *core) lose(b *backlog, w *waiting, err error) {
	if w.f != nil {
		w.f.end(err)
		return
	}
	b.dropped.Add(1)
	c.stats.dropped.Add(1)
}

// close answers everything that waits for a provider that is gone.
func (c *core) closeBacklog(p *peer) {
	b := &p.member.backlog
	b.mu.Lock()
	b.closed = true
	held := b.takeHeldLocked(c)
	b.mu.Unlock()
	c.pump(p) // whatever is left fails, as the connection is over
	for _, r := range held {
		c.tellPaused(r, false)
	}
}

// holdBack has the sender of a frame for a provider with a long backlog wait from now on.
func (c *core) holdBack(sender *peer, handle uint64, to *target) {
	b := &to.peer.member.backlog
	if c.policy != Block || sender.member == nil || handle == 0 ||
		b.bytes.Load() < int64(c.limits.MaxQueue)/2 {
		return
	}
	r := paused{peer: sender, route: handle}
	b.mu.Lock()
	// Looked at again under the lock: what waits now will be pumped, and then all held are told.
	again := b.closed || b.bytes.Load() < int64(c.limits.MaxQueue)/2
	for _, h := range b.held {
		again = again || h.peer == r.peer && h.route == r.route
	}
	if !again {
		r.number = c.tickets.Add(1)
		b.held = append(b.held, r)
	}
	b.mu.Unlock()
	if !again {
		c.tellPaused(r, true)
	}
}

// takeHeldLocked empties the list of those who hold back, each with the number of the resume.
func (b *backlog) takeHeldLocked(c *core) []paused {
	held := b.held
	b.held = nil
	for i := range held {
		held[i].number = c.tickets.Add(1)
	}
	return held
}

// tellPaused tells a client to hold back, or to go on. Two that cross are told apart by their
// numbers, the higher of which counts.
func (c *core) tellPaused(r paused, hold bool) {
	body := strconv.AppendUint([]byte(`{"route":`), r.route, 10)
	m := transport.Message{Method: methodResume,
		Body: appendNumber(body, `,"number":`, r.number)}
	if hold {
		m.Method = methodPause
	}
	_ = r.peer.member.conn.TryPost(m) // one that takes nothing sends nothing either
}

// tell queues an event; false says that there is no room.
func (b *backlog) tell(c *core, to *target, m transport.Message) bool {
	w := &waiting{to: to, m: m, size: int64(len(m.Body) + waitingSize)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.bytes.Load()+w.size > int64(c.limits.MaxQueue) || c.over(w.size) {
		return false
	}
	b.pushLocked(w)
	c.queued.Add(w.size)
	return true
}
