//go:build linux && !portable

package transport

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// phase is where a slot of the table of calls stands.
//
//	             give up                      reply ends
//	        +------------------+          +----------------> free (nobody to tell)
//	        |                  v          |
//	free -> waiting --------> tomb -------+
//	        |   ^ give up      ^
//	 bytes  v   |              | give up
//	       filling <------> partial      (between two reads of a long reply)
//	        |             short replies to callbacks skip filling
//	        v  reply ends, or the connection does
//	       done -> free (by the caller; by the loop for callbacks)
//
// Who moves a slot from waiting or partial to filling, by one CAS, may touch the caller's buffer
// until it moves on; who moves it to tomb has taken the buffer away. filling is short: a copy, or
// one read that cannot block.
type phase uint32

const (
	phaseFree phase = iota
	phaseWaiting
	phaseFilling
	phasePartial
	phaseDone
	phaseTomb
)

const phaseBits = 8

// slot is one call of this side, in two cache lines: the first is what a reader needs.
type slot struct {
	state  atomic.Uint64 // id<<phaseBits | phase
	buf    []byte        // the caller's; filling
	reply  []byte        // filling
	wakeup chan struct{}

	deadline atomic.Int64 // ns of nanotime, 0: none
	callback func([]byte, error)
	parcel   *parcel     // lent memory of the request, or nil; the caller's
	err      error       // filling
	index    uint32      // immutable
	id       uint32      // of the call; the caller's, as long as the slot is his
	free     int32       // next in the free list; guarded by calls.mu
	code     wire.Code   // of an error reply; filling
	calls    atomic.Bool // callback is set; may be asked by those whose slot it is not
	awaited  bool        // a reader awaits that the caller runs; filling
	long     bool        // the request of a callback goes out in parts, whatever becomes of it
	_        [4]byte
}

// move takes the slot of call id from one phase to another, if that is where it stands.
func (s *slot) move(id uint32, from, to phase) bool {
	at := uint64(id) << phaseBits
	return s.state.CompareAndSwap(at|uint64(from), at|uint64(to))
}

// phase is where the slot of call id stands; free when it is another call's.
func (s *slot) phase(id uint32) phase {
	v := s.state.Load()
	if uint32(v>>phaseBits) != id {
		return phaseFree
	}
	return phase(v & (1<<phaseBits - 1))
}

// wake has the caller look again. A token more than needed does no harm.
func (s *slot) wake() {
	select {
	case s.wakeup <- struct{}{}:
	default:
	}
}

const (
	chunkBits = 6
	chunkSize = 1 << chunkBits
)

// calls is the table of this side's calls, and the gate that they go through: credit of the peer,
// room in the outbox.
type calls struct {
	dir      []atomic.Pointer[[chunkSize]slot] // immutable; the chunks come as they are needed
	slotBits int                               // of an id; immutable
	limit    int                               // Limits.MaxPending; immutable
	_        [cacheLine]byte                   // readers need what is above, callers write below

	pending atomic.Int32 // calls and tombs; written under mu
	tombs   atomic.Int32
	queued  atomic.Int32 // waiters; partner: roomMade
	due     atomic.Int64 // the earliest deadline; partner: expire
	missed  atomic.Int64 // bytes that found no room, for Hooks.Room; written under mu

	mu        sync.Mutex
	made      int     // slots that exist, guarded by mu
	freeHead  int32   // guarded by mu
	freeTail  int32   // guarded by mu
	peerCalls int     // the peer's credit in calls, guarded by mu
	bytes     int64   // what is left of it in bytes, guarded by mu
	most      int64   // that was ever left of it, guarded by mu
	waiters   waiters // guarded by mu
	err       error   // no new calls, guarded by mu
}

// waiter is a caller that waits at the gate.
type waiter struct {
	cost  int64
	call  bool
	slot  *slot
	err   error
	ready chan struct{}
	next  *waiter
}

type waiters struct {
	head, tail *waiter
}

func (k *calls) init(limit int) {
	k.limit = limit
	k.dir = make([]atomic.Pointer[[chunkSize]slot], (limit+chunkSize-1)/chunkSize)
	k.slotBits = max(chunkBits, bits.Len(uint(limit-1)))
	k.freeHead, k.freeTail = -1, -1
	k.due.Store(never)
}

// find returns the slot that id points to, which may be another call's by now, or nil.
func (k *calls) find(id uint32) *slot {
	i := id & (1<<k.slotBits - 1)
	if int(i>>chunkBits) >= len(k.dir) {
		return nil
	}
	chunk := k.dir[i>>chunkBits].Load()
	if chunk == nil {
		return nil
	}
	return &chunk[i&(chunkSize-1)]
}

// acquire takes a slot and pays for a call of cost bytes. ErrFull says that there is no credit, or
// no room, now.
func (k *calls) acquire(c *econn, cost int64) (*slot, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.openLocked(true, cost); err != nil {
		return nil, err
	}
	if k.waiters.head != nil || !k.roomLocked(c, cost, true) {
		k.missLocked(c, cost)
		return nil, ErrFull
	}
	k.bytes -= cost
	return k.takeLocked(), nil
}

// spend pays for a oneway of cost bytes.
func (k *calls) spend(c *econn, cost int64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.openLocked(false, cost); err != nil {
		return err
	}
	if k.waiters.head != nil || !k.roomLocked(c, cost, false) {
		k.missLocked(c, cost)
		return ErrFull
	}
	k.bytes -= cost
	return nil
}

func (k *calls) openLocked(call bool, cost int64) error {
	if k.err != nil && (call || k.err != ErrDraining) {
		return k.err
	}
	if cost > k.most {
		return &LimitError{What: "bytes with headers", Value: cost, Limit: k.most}
	}
	if n := int(k.pending.Load()); call && n >= k.limit {
		return &LimitError{What: "pending calls", Value: int64(n) + 1, Limit: int64(k.limit)}
	}
	return nil
}

func (k *calls) roomLocked(c *econn, cost int64, call bool) bool {
	return k.bytes >= cost && (!call || int(k.pending.Load()) < k.peerCalls) &&
		!c.out.full.Load()
}

// takeLocked takes a slot for a call.
func (k *calls) takeLocked() *slot {
	s := k.popLocked()
	k.rename(s)
	return s
}

// popLocked takes the slot that has been free for longest, or a new one.
func (k *calls) popLocked() *slot {
	var s *slot
	k.pending.Store(k.pending.Load() + 1)
	// A slot comes back first in, first out, and only when there are some to choose from, so that
	// ids repeat late.
	if k.freeHead >= 0 {
		s = k.find(uint32(k.freeHead))
		k.freeHead = s.free
		if k.freeHead < 0 {
			k.freeTail = -1
		}
	} else {
		s = k.makeLocked()
	}
	return s
}

// rename gives a free slot the id of its next call.
func (k *calls) rename(s *slot) {
	gen := s.id>>k.slotBits + 1
	if gen >= 1<<(32-k.slotBits) {
		gen = 1
	}
	s.id = gen<<k.slotBits | s.index
}

// open lets the reply of the call in s come in: its fields are set. The call ends at until, if that
// is not 0. On a connection that has died meanwhile it frees the slot and returns why.
//
// The loop is told of the deadline when the slot is open: in one that is not it leaves deadlines
// alone. The deadline is set before, since an open slot may soon be another call's.
func (k *calls) open(c *econn, s *slot, id uint32, until, cost int64) error {
	if until != 0 {
		s.deadline.Store(until)
	}
	if calls := s.callback != nil; calls != s.calls.Load() {
		s.calls.Store(calls)
	}
	s.state.Store(uint64(id)<<phaseBits | uint64(phaseWaiting))
	if c.dead() && s.move(id, phaseWaiting, phaseDone) {
		k.release(c, s, cost)
		return c.err()
	}
	if until != 0 {
		k.remind(c, until)
	}
	return nil
}

func (k *calls) makeLocked() *slot {
	i := k.made
	if i%chunkSize == 0 {
		chunk := new([chunkSize]slot)
		for j := range chunk {
			chunk[j].index = uint32(i + j)
			chunk[j].wakeup = make(chan struct{}, 1)
		}
		k.dir[i>>chunkBits].Store(chunk)
	}
	k.made++
	return k.find(uint32(i))
}

// release frees a slot whose call is over. The caller of the call has what it wanted of it.
func (k *calls) release(c *econn, s *slot, refund int64) {
	s.clear()
	k.mu.Lock()
	k.freeLocked(s)
	k.bytes += refund
	k.grantLocked(c)
	k.mu.Unlock()
	c.checkQuiet()
}

// clear forgets the call. Its phase stays what it was, done or tomb, which is as good as free.
func (s *slot) clear() {
	s.buf, s.reply, s.err, s.callback, s.parcel, s.code = nil, nil, nil, nil, nil, 0
	s.long = false
	if s.deadline.Load() != 0 {
		s.deadline.Store(0)
	}
}

func (k *calls) freeLocked(s *slot) {
	k.putLocked(s)
	k.pending.Store(k.pending.Load() - 1)
}

// putLocked makes a slot free, which goes on being counted.
func (k *calls) putLocked(s *slot) {
	s.free = -1
	if k.freeTail < 0 {
		k.freeHead = int32(s.index)
	} else {
		k.find(uint32(k.freeTail)).free = int32(s.index)
	}
	k.freeTail = int32(s.index)
}

// missLocked notes that somebody found no room for cost bytes, and may want to know of some.
func (k *calls) missLocked(c *econn, cost int64) {
	if c.set.Hooks.Room != nil {
		k.missed.Store(max(cost, 1))
	}
}

// foundLocked has Hooks.Room called when there is room for what found none.
func (k *calls) foundLocked(c *econn) {
	cost := k.missed.Load()
	if cost > 0 && k.waiters.head == nil && k.roomLocked(c, cost, true) {
		k.missed.Store(0)
		c.loop.post(c, errandRoom)
	}
}

// grantLocked lets waiters through, in their order, as long as there is room.
func (k *calls) grantLocked(c *econn) {
	for w := k.waiters.head; w != nil; w = k.waiters.head {
		err := k.openLocked(w.call, w.cost)
		if err == nil && !k.roomLocked(c, w.cost, w.call) {
			return
		}
		k.dequeueLocked(w)
		if w.err = err; err == nil {
			k.bytes -= w.cost
			if w.call {
				w.slot = k.takeLocked()
			}
		}
		close(w.ready)
	}
	if k.missed.Load() > 0 {
		k.foundLocked(c)
	}
}

func (k *calls) dequeueLocked(w *waiter) bool {
	var prev *waiter
	for x := k.waiters.head; x != nil; prev, x = x, x.next {
		if x != w {
			continue
		}
		if prev == nil {
			k.waiters.head = x.next
		} else {
			prev.next = x.next
		}
		if k.waiters.tail == x {
			k.waiters.tail = prev
		}
		k.queued.Add(-1)
		return true
	}
	return false
}

// wait queues at the gate until there is room for a call or a oneway of cost bytes, within ctx and
// the timeout.
func (k *calls) wait(ctx context.Context, c *econn, cost int64, call bool, timeout time.Duration,
) (*slot, error) {
	w := &waiter{cost: cost, call: call, ready: make(chan struct{})}
	k.mu.Lock()
	if k.waiters.tail == nil {
		k.waiters.head = w
	} else {
		k.waiters.tail.next = w
	}
	k.waiters.tail = w
	k.queued.Add(1)
	k.grantLocked(c)
	k.mu.Unlock()

	var over <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		over = t.C
	}
	var err error
	select {
	case <-w.ready:
		return w.slot, w.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-over:
		err = ErrDeadline
	}
	k.mu.Lock()
	queued := k.dequeueLocked(w)
	if queued {
		k.grantLocked(c)
	}
	k.mu.Unlock()
	if queued {
		return nil, err
	}
	<-w.ready // it was let through at the same moment
	return w.slot, w.err
}

// roomMade is called when the outbox has shrunk.
func (k *calls) roomMade(c *econn) {
	if k.queued.Load() > 0 || k.missed.Load() > 0 {
		k.mu.Lock()
		k.grantLocked(c)
		k.mu.Unlock()
	}
	c.checkQuiet()
}

// credit adds to what the peer accepts.
func (k *calls) credit(c *econn, n uint64) {
	k.mu.Lock()
	k.bytes += int64(min(n, 1<<50))
	k.grantLocked(c)
	k.mu.Unlock()
}

// shut lets no new calls through; those at the gate get err.
func (k *calls) shut(c *econn, err error) {
	k.mu.Lock()
	if k.err == nil || k.err == ErrDraining {
		k.err = err
	}
	k.grantLocked(c)
	k.mu.Unlock()
}

// remind notes a deadline, so that the loop looks at it in time.
func (k *calls) remind(c *econn, at int64) {
	for {
		d := k.due.Load()
		if at >= d {
			return
		}
		if k.due.CompareAndSwap(d, at) {
			c.loop.want(at)
			return
		}
	}
}

// each calls f for every slot that was ever used.
func (k *calls) each(f func(*slot)) {
	k.mu.Lock()
	made := k.made
	k.mu.Unlock()
	for i := range made {
		f(k.find(uint32(i)))
	}
}

// waiting is the number of calls that somebody waits for.
func (k *calls) waiting() int {
	return int(k.pending.Load() - k.tombs.Load())
}
