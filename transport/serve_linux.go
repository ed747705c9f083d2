//go:build linux && !portable

package transport

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// serving is the table of the peer's calls that outlived their handler, by id. Calls that are
// answered on the loop never enter it.
type serving struct {
	some    atomic.Bool  // n > 0; set and cleared under mu
	leaving atomic.Int32 // taken out, and the reply is not queued yet; partner: count

	mu      sync.Mutex
	buckets []*Request // chains, guarded by mu; made with the first
	n       int        // guarded by mu
}

// replace enters r, in place of old if that is there.
func (t *serving) replace(old, r *Request, there bool) {
	t.mu.Lock()
	if there {
		t.removeLocked(old)
	}
	if t.n >= len(t.buckets) {
		t.growLocked()
	}
	b := &t.buckets[r.id&uint32(len(t.buckets)-1)]
	r.next = *b
	*b = r
	t.n++
	if t.n == 1 {
		t.some.Store(true)
	}
	t.mu.Unlock()
}

func (t *serving) growLocked() {
	old := t.buckets
	t.buckets = make([]*Request, max(64, 2*len(old)))
	for _, r := range old {
		for r != nil {
			next := r.next
			b := &t.buckets[r.id&uint32(len(t.buckets)-1)]
			r.next = *b
			*b = r
			r = next
		}
	}
}

func (t *serving) findLocked(id uint32) *Request {
	if t.n == 0 {
		return nil
	}
	r := t.buckets[id&uint32(len(t.buckets)-1)]
	for r != nil && r.id != id {
		r = r.next
	}
	return r
}

// leave takes r out, before its reply can be read: the peer may call again as soon as it is. Until
// left is called, when the reply is queued, r goes on being counted.
func (t *serving) leave(r *Request) {
	t.mu.Lock()
	t.leaving.Add(1)
	t.removeLocked(r)
	t.mu.Unlock()
}

func (t *serving) left() { t.leaving.Add(-1) }

// remove is leave for a reply that is queued already.
func (t *serving) remove(r *Request) {
	t.mu.Lock()
	t.removeLocked(r)
	t.mu.Unlock()
}

func (t *serving) removeLocked(r *Request) {
	if t.n == 0 {
		return
	}
	for p := &t.buckets[r.id&uint32(len(t.buckets)-1)]; *p != nil; p = &(*p).next {
		if *p == r {
			*p = r.next
			r.next = nil
			t.n--
			if t.n == 0 {
				t.some.Store(false)
			}
			return
		}
	}
}

// count is the number of calls whose reply is not queued yet.
func (t *serving) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n + int(t.leaving.Load())
}

// cancel ends the context of the call id. It holds mu, so that the request is not recycled.
func (t *serving) cancel(id uint32, cause error) {
	var w watched
	t.mu.Lock()
	if r := t.findLocked(id); r != nil {
		w = r.abandon(cause)
	}
	t.mu.Unlock()
	w.give(cause)
}

// cancelAll ends the contexts of all of them.
func (t *serving) cancelAll(cause error) {
	var all []watched
	t.mu.Lock()
	for _, r := range t.buckets {
		for ; r != nil; r = r.next {
			all = append(all, r.abandon(cause))
		}
	}
	t.mu.Unlock()
	for _, w := range all {
		w.give(cause)
	}
}

// whole serves a call or oneway that came in one frame, in the inbox.
func (c *econn) whole(h wire.Header, body []byte) bool {
	r := &c.loop.serve.req
	payload := body
	if len(body) > 0 && body[0] == 0 {
		payload = body[1:]
		if c.loop.serve.metaSet {
			r.meta, c.loop.serve.metaSet = wire.Meta{}, false
		}
	} else {
		var err error
		c.loop.serve.metaSet = true
		if payload, err = r.meta.ParseBody(body); err != nil {
			c.violation(err)
			return false
		}
	}
	return c.admit(h, payload, int64(wire.HeaderSize+len(body)))
}

// admit serves a call or oneway whose meta is in the loop's request.
func (c *econn) admit(h wire.Header, payload []byte, cost int64) bool {
	r := &c.loop.serve.req
	if len(payload) > c.set.Limits.MaxBody {
		c.violation(&LimitError{What: "body bytes", Value: int64(len(payload)),
			Limit: int64(c.set.Limits.MaxBody)})
		return false
	}
	if !c.receive(cost) {
		return false
	}
	var files []*os.File
	if r.meta.Files > 0 {
		var ok bool
		if files, ok = c.claimFiles(r.meta.Files); !ok {
			return false
		}
	}
	c.serve(h, payload, nil, files, cost)
	return true
}

// receive counts bytes of calls and oneways against the credit that the peer has.
func (c *econn) receive(n int64) bool {
	c.in.received += n
	if over := c.in.received - c.side.granted.Load(); over > 0 {
		c.violation(&LimitError{What: "bytes beyond credit", Value: over, Limit: 0})
		return false
	}
	return true
}

// serve hands a call or oneway, whose meta is in the loop's request, to the handler.
func (c *econn) serve(h wire.Header, body, owned []byte, files []*os.File, cost int64) {
	if c.lead.inbound.Load() != manyTicks {
		c.lead.inbound.Store(manyTicks)
	}
	oneway := h.Flags&wire.Oneway != 0
	if oneway && !c.roomFor(cost) {
		c.count.drops.Add(1)
		c.giveBack(cost)
	} else if oneway || c.admitCall(h.ID, cost) {
		c.handle(h, body, owned, files, cost)
		return
	}
	closeFiles(files)
	c.pub.group.putBuffer(owned)
}

// roomFor says whether the budgets of memory have room for a request of cost bytes.
func (c *econn) roomFor(cost int64) bool {
	g := c.pub.group
	held := c.ending.held.Load()
	return held == 0 || held+cost <= c.set.Limits.ConnMemory && g.held.Load()+cost <= g.memory
}

// handle runs the handler.
func (c *econn) handle(h wire.Header, body, owned []byte, files []*os.File, cost int64) {
	oneway := h.Flags&wire.Oneway != 0
	r := &c.loop.serve.req
	r.conn, r.id, r.oneway, r.onLoop, r.detached = c.pub, h.ID, oneway, true, false
	r.body, r.owned, r.files, r.cost = body, owned, files, cost
	r.deadline = time.Time{}
	if r.meta.TimeoutUs != 0 {
		r.deadline = deadlineOf(&r.meta)
	}
	r.life, r.replied = nil, false
	c.loop.serve.handling = r
	if handler := c.set.Handler; handler != nil {
		handler.Serve(r)
	} else {
		c.unhandled(r)
	}
	c.loop.serve.handling = nil
	c.served(r)
}

// served cleans up when the handler of r has returned.
func (c *econn) served(r *Request) {
	r.ended()
	r.onLoop = false
	if r.detached {
		r.owned = nil
		return
	}
	if r.oneway {
		c.giveBackHere(r.cost)
	}
	if r.life != nil || r.files != nil {
		r.finish()
	}
	if r.owned != nil {
		if raceEnabled {
			spoil(r.owned) // and nobody gets it again, so that it stays so
		} else {
			c.pub.group.putBuffer(r.owned)
		}
		r.owned = nil
	} else if raceEnabled {
		spoil(r.body)
	}
}

// unhandled is what happens without a Handler.
func (c *econn) unhandled(r *Request) {
	if r.oneway {
		c.count.drops.Add(1)
		return
	}
	_ = r.Fail(wire.CodeNoMethod, "nothing is served here")
}

// admitCall says whether a call may come in. If not, it is answered, or the connection ends.
func (c *econn) admitCall(id uint32, cost int64) bool {
	t := &c.serving
	n, twice := 0, false
	if t.some.Load() {
		t.mu.Lock()
		n, twice = t.n, t.findLocked(id) != nil
		t.mu.Unlock()
	}
	switch {
	case twice:
		c.violation(&duplicateError{id})
		return false
	case c.ending.closing.Load():
		c.refuse(id, wire.CodeDraining, "")
	case n >= c.set.Limits.MaxCalls:
		e := LimitError{What: "unanswered calls", Value: int64(n) + 1, Limit: int64(n)}
		c.refuse(id, wire.CodeOverloaded, e.Error())
	case !c.roomFor(cost):
		e := LimitError{What: "bytes held", Value: c.ending.held.Load() + cost,
			Limit: c.set.Limits.ConnMemory}
		c.refuse(id, wire.CodeOverloaded, e.Error())
	default:
		return true
	}
	c.giveBack(cost)
	return false
}

// refuse answers a call that is not served. It runs on the loop.
func (c *econn) refuse(id uint32, code wire.Code, text string) {
	m := wire.Meta{Code: code}
	h := wire.Header{Flags: wire.FlagsError, ID: id, Length: uint32(m.Size() + len(text))}
	c.out.put(c.pub.group, &c.out.urgent, h, &m, stringBytes(text), nil)
	c.dirty = true
}

// cancelled handles a cancel frame. A call that it does not find has been answered.
func (c *econn) cancelled(id uint32) {
	if !c.abandon(id) {
		c.serving.cancel(id, context.Canceled)
	}
}

// giveBack returns credit for n bytes that this side is done with; it travels in lots.
func (c *econn) giveBack(n int64) {
	if c.side.owed.Add(n) < c.set.Limits.MaxCallBytes/8 {
		return
	}
	n = c.side.owed.Swap(0)
	if n == 0 {
		return
	}
	c.side.granted.Add(n)
	c.out.putControl(c.pub.group, wire.KindCredit, 0, uint64(n))
	if c.loop.here() {
		c.dirtyNow()
	} else if !c.flush(flushBudget) {
		c.armWrite()
	}
}

// giveBackHere is giveBack for requests that were over within their handler. Loop only.
func (c *econn) giveBackHere(n int64) {
	c.side.here += n
	if c.side.here >= c.set.Limits.MaxCallBytes/8 {
		n, c.side.here = c.side.here, 0
		c.giveBack(n)
	}
}

// reply answers r, once.
func (c *econn) reply(r *Request, f replyFrame) error {
	if r.oneway || r.detached {
		return ErrReplied
	}
	n := f.size()
	if limit := c.peerMaxBody(); uint64(n) > uint64(limit) {
		return &LimitError{What: "body bytes", Value: int64(n), Limit: int64(limit)}
	}
	if !r.claim() {
		return ErrReplied
	}
	m := f.meta()
	onLoop := r.onLoop
	if !onLoop && n <= copyMax && f.fill == nil && c.loop.here() && !c.dead() {
		c.replyHere(r, &m, &f, n)
		return nil
	}
	if !onLoop {
		c.serving.leave(r)
	}
	if c.dead() {
		c.over(r)
		return c.err()
	}
	if f.fill != nil {
		if onLoop {
			c.out.uncork()
		}
		c.replyFilled(r, &m, &f)
	} else if n <= copyMax {
		h := wire.Header{Flags: f.flags(), ID: r.id, Length: uint32(m.Size() + n)}
		if c.direct(h, &m, f.body, f.gather, onLoop) {
			if onLoop && c.lane.late {
				c.dirty = true
			}
			c.over(r)
			return nil
		}
		if onLoop {
			c.out.putCorked(c.pub.group, corkUrgent, h, &m, f.body, f.gather)
			c.dirty = true
			c.relay(corkUrgent)
			c.over(r)
			return nil
		}
		c.out.put(c.pub.group, &c.out.urgent, h, &m, f.body, f.gather)
	} else {
		c.replyLong(r, &m, &f, n)
	}
	c.over(r)
	if onLoop {
		c.dirty = true
	} else if !c.flush(flushBudget) {
		c.armWrite()
	}
	c.checkOutbox()
	return nil
}

// replyHere queues a short reply to a call that has left its handler, from the loop: in a callback
// of another connection, say. It goes out with what the loop's batch produces.
func (c *econn) replyHere(r *Request, m *wire.Meta, f *replyFrame, n int) {
	h := wire.Header{Flags: f.flags(), ID: r.id, Length: uint32(m.Size() + n)}
	if !c.direct(h, m, f.body, f.gather, true) {
		c.out.putCorked(c.pub.group, corkUrgent, h, m, f.body, f.gather)
		c.relay(corkUrgent)
	}
	c.dirtyNow()
	c.serving.remove(r) // before this loop reads what the peer does next
	c.giveBackHere(r.cost)
	c.forgotten(r)
	c.loop.spared(r)
}

// replyLong queues a body that is written from where it lies. One that lies in the request's own
// buffer is handed over with it; of another one the rest that the socket does not take at once is
// copied.
func (c *econn) replyLong(r *Request, m *wire.Meta, f *replyFrame, n int) {
	g := c.pub.group
	p := g.parcel()
	p.flags, p.id, p.split, p.left = f.flags(), r.id, true, n
	p.meta = m.AppendTo(p.meta[:0])
	p.setPieces(f.body, f.gather)
	if len(f.gather) == 0 && within(f.body, r.owned) {
		p.owned, r.owned, r.body = r.owned, nil, nil
		p.state.Store(parcelDisowned)
		c.out.putParcel(g, &c.out.urgent, p)
		return
	}
	c.out.putParcel(g, &c.out.urgent, p)
	if !c.flush(flushBudget + n) {
		c.armWrite()
	}
	c.lend(p)
}

// over ends a request of the peer: its credit goes back, its context ends. Called once for each.
func (c *econn) over(r *Request) {
	if r.onLoop {
		c.giveBackHere(r.cost)
		return
	}
	if !r.oneway {
		c.serving.left()
	}
	c.ended(r)
}

// ended is over for a request that has left its handler, and is out of the table.
func (c *econn) ended(r *Request) {
	c.giveBack(r.cost)
	c.forgotten(r)
}

// forgotten ends what else there is of it than its credit.
func (c *econn) forgotten(r *Request) {
	if !r.watch.lean { // it has neither memory, nor a context, nor descriptors
		c.letGo(r)
		r.finish()
	}
	c.checkQuiet()
}

// letGo ends the charge for a detached request's memory.
func (c *econn) letGo(r *Request) {
	if r.held > 0 {
		c.holdAnyway(-r.held)
		r.held = 0
	}
}

// detach makes a request that outlives its handler.
func (c *econn) detach(r *Request, pooled bool) *Request {
	fromLoop := r.onLoop
	d := r.clone(pooled)
	if d.answered.Load() {
		if r.done() {
			d.finish()
		}
		return d
	}
	if d.held == 0 && (pooled || !d.oneway) {
		d.held = int64(len(d.body)) + 1
		c.holdAnyway(d.held)
	}
	if r.oneway {
		if !pooled {
			c.giveBack(d.cost)
			c.letGo(d)
		}
		return d
	}
	c.serving.replace(r, d, !fromLoop)
	if c.dead() {
		d.abandon(c.err()).give(c.err())
	}
	return d
}

// retain moves the duty to reply out of the handler. One that has nothing but that, as is usual, is
// made here: nobody but the loop knows of r yet, so that no lock is needed.
func (c *econn) retain(r *Request, w watched) *Request {
	if !r.onLoop || r.held != 0 || r.life != nil || r.files != nil || w.w == nil {
		return r.retain(w)
	}
	w.lean = true
	var d *Request
	spare := &c.loop.serve.spare
	if n := len(*spare); n > 0 {
		d = (*spare)[n-1]
		*spare = (*spare)[:n-1]
	} else {
		d = c.pub.group.request()
	}
	d.conn, d.id, d.cost, d.deadline, d.watch = r.conn, r.id, r.cost, r.deadline, w
	d.oneway, d.pooled = false, true
	d.answered.Store(false)
	r.detached = true
	c.serving.replace(nil, d, false)
	if c.dead() {
		d.abandon(c.err()).give(c.err())
	}
	return d
}

// spareMost is how many requests a loop keeps for calls that are to be held.
const spareMost = 512

// spared takes r back, which was held and is over, without the detour over the pool. Loop only.
func (l *loop) spared(r *Request) {
	if !r.watch.lean || raceEnabled || len(l.serve.spare) >= spareMost {
		return // its owner recycles it
	}
	r.conn, r.watch, r.pooled = nil, watched{}, false
	l.serve.spare = append(l.serve.spare, r)
}

func (c *econn) drop() { c.count.drops.Add(1) }
