//go:build linux && !portable

package transport

// stash is what the loop keeps of the table while it handles a batch, so that calls which are made
// on the loop need no lock each: slots of calls whose callback has come, others that are free, and
// some credit. At the end of the batch everything goes back.
type stash struct {
	slots []*slot // the last one is taken first, as it is still in the cache; loop only
	bytes int64   // loop only
	taken int     // slots, since the last batch; loop only
	ahead int     // how many the last batch took; loop only
}

// stashMax is how many slots, and stashBytes how much credit, a stash takes at most; stashAhead how
// many slots that are free at a time.
const (
	stashMax   = 512
	stashBytes = 64 << 10
	stashAhead = 64
)

// keep puts a free slot into the stash; false says that it is full.
func (t *stash) keep(s *slot) bool {
	if len(t.slots) >= stashMax {
		return false
	}
	s.clear()
	t.slots = append(t.slots, s)
	return true
}

// take returns a slot out of the stash and pays for a call of cost bytes, or nil. It fetches as
// many slots as the last batch needed.
func (t *stash) take(c *econn, cost int64) *slot {
	if len(t.slots) == 0 || t.bytes < cost {
		t.fetch(c, cost)
	}
	last := len(t.slots) - 1
	if last < 0 || t.bytes < cost {
		return nil
	}
	t.bytes -= cost
	s := t.slots[last]
	t.slots = t.slots[:last]
	t.taken++
	c.calls.rename(s)
	return s
}

// fetch takes slots and credit out of the table, if nobody waits for any.
func (t *stash) fetch(c *econn, cost int64) {
	k := &c.calls
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waiters.head != nil || k.err != nil || c.out.full.Load() {
		return
	}
	if t.bytes < cost {
		n := min(k.bytes, max(stashBytes, cost))
		k.bytes -= n
		t.bytes += n
	}
	if len(t.slots) > 0 {
		return
	}
	n := min(max(t.ahead, t.taken, 1), stashAhead)
	room := min(k.peerCalls, k.limit) - int(k.pending.Load())
	if room < 4*stashAhead { // others are not to be refused for what is only kept
		n = min(room, 1)
	}
	for range n {
		t.slots = append(t.slots, k.popLocked())
	}
	if n > 0 {
		c.dirtyNow() // its end gives back what is left
	}
}

// giveBack returns everything to the table.
func (t *stash) giveBack(c *econn) {
	t.ahead, t.taken = t.taken, 0
	if len(t.slots) == 0 && t.bytes == 0 {
		return
	}
	k := &c.calls
	k.mu.Lock()
	for _, s := range t.slots {
		k.putLocked(s)
	}
	k.pending.Add(-int32(len(t.slots)))
	k.bytes += t.bytes
	k.grantLocked(c)
	k.mu.Unlock()
	t.slots, t.bytes = t.slots[:0], 0
	c.checkQuiet()
}
