//go:build linux && !portable

package transport

import (
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

const (
	// segmentSize is how many bytes of small frames are written at a time.
	segmentSize = 64 << 10
	// copyMax is the largest body, in bytes, that is copied into a segment; a larger one is written
	// from where it lies.
	copyMax = 16 << 10
	// relayFrames is how many frames the loop writes in the middle of a batch, of at most
	// relayMost bytes.
	relayFrames = 32
	relayMost   = 6 << 10
	// flushBudget is how many bytes of others a caller writes before it hands the rest to the loop.
	flushBudget = 64 << 10
)

// outbox holds what waits to be written. Frames go in under mu; who has the write lease takes them
// out, a batch at a time, and writes without any lock:
//
//	urgent: control, replies     -> segment
//	normal: calls, oneways       -> segment or parcel   }  one batch: at most a segment of each
//	large:  bodies in parts      -> next part           }  and one frame of a parcel
//
// Lock order: calls.mu before outbox.mu; neither is held across a system call.
type outbox struct {
	lease     atomic.Bool // partner: every flush
	pending   atomic.Bool // there is something to write; set and cleared under mu
	full      atomic.Bool // over the watermark; set and cleared under mu
	stalled   atomic.Bool // the socket takes no more; an EPOLLOUT or a leader ends it
	broken    atomic.Bool // the peer reads no more, and ending.cause is set
	limit     int64       // the watermark, in bytes; immutable
	w         batch       // write lease
	noCarrier atomic.Bool // the socket has no room for descriptors; an EPOLLOUT ends it
	trace     func(Event) // nil, or told of every frame; immutable
	cork      [2]*segment // frames of the loop's batch: urgent, normal; loop only

	mu     sync.Mutex
	over   bool         // nothing is queued any more, guarded by mu
	bytes  int64        // in the queues and in the batch, headers included; guarded by mu
	lent   int64        // of them callers' memory, which no watermark has to bound; guarded by mu
	frames atomic.Int32 // of them; written under mu
	urgent queue        // guarded by mu
	normal queue        // guarded by mu
	large  []*parcel    // with parts left, in turns; guarded by mu
	last   []byte       // to be the last frame on the socket, then a ring follows; guarded by mu
	seen   progress     // of a peer for which much waits; guarded by mu
}

// segment is a run of whole small frames, or one parcel.
type segment struct {
	buf    []byte
	frames int
	parcel *parcel
	next   *segment
}

type queue struct {
	head, tail *segment
}

func (q *queue) push(s *segment) {
	if q.tail == nil {
		q.head = s
	} else {
		q.tail.next = s
	}
	q.tail = s
}

func (q *queue) pop() *segment {
	s := q.head
	q.head = s.next
	if q.head == nil {
		q.tail = nil
	}
	s.next = nil
	return s
}

// remove takes the segment of p out.
func (q *queue) remove(g *Group, p *parcel) {
	var prev *segment
	for s := q.head; s != nil; prev, s = s, s.next {
		if s.parcel != p {
			continue
		}
		if prev == nil {
			q.head = s.next
		} else {
			prev.next = s.next
		}
		if q.tail == s {
			q.tail = prev
		}
		g.putSegment(s)
		return
	}
}

// batch is what is being written; it belongs to the write lease.
type batch struct {
	vecs   [][]byte // left to be written
	room   [maxVecs][]byte
	segs   [2]*segment
	parcel *parcel
	lent   int // how many of the last vecs are the parcel's memory
	files  []int
	frames int
	out    int64 // bytes written that are not taken off outbox.bytes yet
	// partSize is the length of the parcel's frame in the batch, in bytes.
	partSize int
	traced   Event // of that frame
	last     bool  // it is the last one on the socket
}

// returnLent counts n bytes of p as the outbox's own, or as gone. mu is held.
func (o *outbox) returnLent(p *parcel, n int64) {
	p.lent -= n
	o.lent -= n
}

// segmentLocked returns the last segment of q with room for n more bytes.
func (o *outbox) segmentLocked(g *Group, q *queue, n int) *segment {
	s := q.tail
	if s == nil || s.parcel != nil || len(s.buf)+n > segmentSize {
		s = g.segment()
		q.push(s)
	}
	return s
}

// addedLocked counts what was queued.
func (o *outbox) addedLocked(frames int, n int64) {
	o.frames.Add(int32(frames))
	o.bytes += n
	if !o.pending.Load() {
		o.pending.Store(true)
	}
	o.judgeLocked()
}

// judgeLocked holds what waits in memory of the outbox against the watermark.
func (o *outbox) judgeLocked() {
	if full := o.bytes-o.lent > o.limit; full != o.full.Load() {
		o.full.Store(full)
	}
}

// takenLocked counts what was written or thrown away.
func (o *outbox) takenLocked(frames int, n int64) {
	o.frames.Add(int32(-frames))
	o.bytes -= n
	o.judgeLocked()
}

// load is how much waits to be written.
func (o *outbox) load() (frames int, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int(o.frames.Load()), o.bytes
}

// refuses is progress.refuses.
func (o *outbox) refuses(l *Limits, waiting int64, written uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen.refuses(l, waiting, written, Now())
}

// put appends one small frame to q.
func (o *outbox) put(g *Group, q *queue, h wire.Header, m *wire.Meta, body []byte, more [][]byte) {
	n := wire.HeaderSize + int(h.Length)
	if o.trace != nil {
		o.trace(Event{Out: true, Header: h, Size: int(h.Length)})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	o.segmentLocked(g, q, n).add(h, m, body, more)
	o.addedLocked(1, int64(n))
}

// add appends one small frame; its length is that of all that follows. A nil meta is none at all.
func (s *segment) add(h wire.Header, m *wire.Meta, body []byte, more [][]byte) {
	at := len(s.buf)
	b := s.buf
	if n := wire.HeaderSize + int(h.Length); cap(b)-at < n {
		b = slices.Grow(b, n)
	}
	b = b[:at+wire.HeaderSize]
	h.Put(b[at:])
	if m != nil {
		if m.Empty() {
			b = append(b, 0)
		} else {
			b = m.AppendTo(b)
		}
	}
	b = append(b, body...)
	for _, p := range more {
		b = append(b, p...)
	}
	s.buf = b
	s.frames++
}

// The corks of an outbox.
const (
	corkUrgent = 0
	corkNormal = 1
)

// putCorked is put for the loop: the frame waits for the end of the batch that the loop is
// handling, without a lock. The caller sees to it that uncork comes.
func (o *outbox) putCorked(g *Group, cork int, h wire.Header, m *wire.Meta, body []byte,
	more [][]byte) {
	if o.trace != nil {
		o.trace(Event{Out: true, Header: h, Size: int(h.Length)})
	}
	s := o.cork[cork]
	if s != nil && len(s.buf)+wire.HeaderSize+int(h.Length) > segmentSize {
		o.uncork()
		s = nil
	}
	if s == nil {
		s = g.segment()
		o.cork[cork] = s
	}
	s.add(h, m, body, more)
}

// relay writes what the loop's batch has collected so far, when it is enough for a system call and
// the peer may as well begin. In a long batch it does not: the peer has enough to do.
func (c *econn) relay(cork int) {
	s := c.out.cork[cork]
	if s == nil || s.frames < relayFrames || !c.loop.more() ||
		c.loop.reading.in.w > relayMost {
		return
	}
	c.out.uncork()
	if !c.flush(math.MaxInt) && c.in.lease.Load() != leaseLoop {
		c.armWrite() // else the loop tries again by itself
	}
}

// uncork queues what the loop's batch has collected. Loop only.
func (o *outbox) uncork() {
	if o.cork[corkUrgent] == nil && o.cork[corkNormal] == nil {
		return
	}
	o.mu.Lock()
	for i, q := range [...]*queue{&o.urgent, &o.normal} {
		if s := o.cork[i]; s != nil {
			q.push(s)
			o.addedLocked(s.frames, int64(len(s.buf)))
			o.cork[i] = nil
		}
	}
	o.mu.Unlock()
}

// putControl appends a control frame.
func (o *outbox) putControl(g *Group, kind wire.ControlKind, id uint32, credit uint64) {
	var room [64]byte
	if kind == wire.KindCredit {
		o.putRaw(g, wire.AppendCredit(room[:0], credit))
	} else {
		o.putRaw(g, wire.AppendControl(room[:0], kind, id))
	}
}

// putRaw appends a whole urgent frame that is encoded already.
func (o *outbox) putRaw(g *Group, frame []byte) {
	if o.trace != nil {
		h, _ := wire.ParseHeader(frame)
		o.trace(Event{Out: true, Header: h, Size: int(h.Length)})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	s := o.segmentLocked(g, &o.urgent, len(frame))
	s.buf = append(s.buf, frame...)
	s.frames++
	o.addedLocked(1, int64(len(frame)))
}

// flush writes what waits, if nobody else does. After budget bytes the rest is the loop's. It
// reports false when the socket takes no more: the caller has to see to it that somebody goes on.
func (c *econn) flush(budget int) bool {
	o := &c.out
	for o.pending.Load() && !o.broken.Load() && !o.stalled.Load() {
		if !o.lease.CompareAndSwap(false, true) {
			return true // the holder looks again after it has let go
		}
		stalled, spent := c.write(budget)
		o.lease.Store(false)
		if stalled {
			return false
		}
		if spent {
			c.loop.post(c, errandFlush)
			return true
		}
		c.checkQuiet()
	}
	return true
}

// write writes batches until there is nothing left, the socket is full, or the budget is spent.
func (c *econn) write(budget int) (stalled, spent bool) {
	o := &c.out
	for {
		if len(o.w.vecs) == 0 && !o.fill(c.pub.group) {
			return false, false
		}
		if budget <= 0 {
			return false, true
		}
		var n int
		var e unix.Errno
		if c.lane.out != nil {
			n, e = c.laneSend(o.w.vecs, o.w.files)
		} else {
			n, e = send(c.fd, o.w.vecs, o.w.files)
			c.count.writes.Add(1)
		}
		if e != 0 {
			if e == unix.EAGAIN {
				o.stalled.Store(true)
				return true, false
			}
			c.writeFailed(e)
			return false, false
		}
		budget -= n
		o.w.files = nil
		c.wrote(n)
	}
}

// wrote takes n bytes off the batch.
func (c *econn) wrote(n int) {
	o := &c.out
	w := &o.w
	c.count.bytesOut.Add(uint64(n))
	w.out += int64(n)
	if o.stalled.Load() {
		o.stalled.Store(false)
	}
	for n > 0 {
		v := w.vecs[0]
		if n < len(v) {
			w.vecs[0] = v[n:]
			return
		}
		n -= len(v)
		w.vecs[0] = nil
		w.vecs = w.vecs[1:]
		w.lent = min(w.lent, len(w.vecs))
	}
	if len(w.vecs) > 0 {
		return
	}
	c.count.framesOut.Add(uint64(w.frames))
	if w.last {
		c.switched()
		w.last = false
	}
	o.batchDone(c.pub.group)
	c.calls.roomMade(c)
}

// batchDone releases what the batch has used.
func (o *outbox) batchDone(g *Group) {
	w := &o.w
	for i, s := range w.segs {
		if s != nil {
			g.putSegment(s)
			w.segs[i] = nil
		}
	}
	p := w.parcel
	w.parcel = nil
	o.mu.Lock()
	o.takenLocked(w.frames, w.out)
	last := p != nil && p.left == 0
	if p != nil && !last {
		o.large = append(o.large, p)
	}
	o.mu.Unlock()
	if last {
		p.finish(g)
	}
	w.frames, w.lent, w.out = 0, 0, 0
}

// fill takes the next batch out of the queues; it reports false when they are empty.
func (o *outbox) fill(g *Group) bool {
	w := &o.w
	w.vecs = w.room[:0]
	o.mu.Lock()
	if o.last != nil {
		w.vecs, w.frames, w.last = append(w.vecs, o.last), 1, true
		o.last = nil
		o.mu.Unlock()
		return true
	}
	p := o.takeLocked(g, &o.urgent, 0)
	if p == nil && !o.urgentOnlyLocked() {
		p = o.takeLocked(g, &o.normal, 1)
	}
	if p == nil && len(o.large) > 0 {
		p = o.large[0]
		o.large = o.large[:copy(o.large, o.large[1:])]
	}
	if p != nil {
		w.addPart(p)
		if p.lent > 0 {
			o.returnLent(p, min(p.lent, int64(w.partSize)))
		}
	}
	if len(w.vecs) == 0 {
		o.pending.Store(false)
	}
	o.mu.Unlock()
	if p != nil && o.trace != nil {
		o.trace(w.traced)
	}
	return len(w.vecs) > 0
}

// urgentOnlyLocked says that the next normal one travels with descriptors, and so alone.
func (o *outbox) urgentOnlyLocked() bool {
	h := o.normal.head
	return h != nil && h.parcel != nil && len(h.parcel.files) > 0 && len(o.w.vecs) > 0
}

// takeLocked moves the head of q into the batch; a parcel is returned instead.
func (o *outbox) takeLocked(g *Group, q *queue, i int) *parcel {
	for q.head != nil {
		s := q.pop()
		if s.parcel == nil {
			o.w.segs[i] = s
			o.w.vecs = append(o.w.vecs, s.buf)
			o.w.frames += s.frames
			return nil
		}
		p := s.parcel
		g.putSegment(s)
		if !p.done() {
			return p
		}
	}
	return nil
}

// writeFailed notes that the peer reads no more. What it wrote before that is still read; the end
// of the stream ends the connection.
func (c *econn) writeFailed(e unix.Errno) {
	c.ending.cause.CompareAndSwap(nil, &failure{lost(os.NewSyscallError("sendmsg", e))})
	c.out.broken.Store(true) // from now on the loop may end it, with this cause
	c.loop.post(c, errandRead)
}

// discard empties the outbox of a connection that is over, and says what was lost. Write lease
// held.
func (o *outbox) discard(g *Group) (frames, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	frames, bytes = int(o.frames.Load()), int(o.bytes-o.w.out)
	o.lent = 0
	o.takenLocked(int(o.frames.Load()), o.bytes)
	o.pending.Store(false)
	for i, s := range o.cork {
		if s != nil {
			frames += s.frames
			bytes += len(s.buf)
			g.putSegment(s)
			o.cork[i] = nil
		}
	}
	for _, q := range [...]*queue{&o.urgent, &o.normal} {
		for q.head != nil {
			s := q.pop()
			if s.parcel != nil {
				s.parcel.finish(g)
			}
			g.putSegment(s)
		}
	}
	for _, p := range o.large {
		p.finish(g)
	}
	o.large = nil
	if o.w.parcel != nil {
		o.w.parcel.finish(g)
	}
	for _, s := range o.w.segs {
		if s != nil {
			g.putSegment(s)
		}
	}
	o.w = batch{}
	return frames, bytes
}
