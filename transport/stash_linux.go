//go:build linux && !portable

package transport

// stash is what the loop keeps of the table while it handles a batch: slots of calls whose callback
// has come, and some credit, so that callbacks which call again need no lock. At the end of the
// batch everything goes back.
type stash struct {
	slots []*slot // the last one is taken first, as it is still in the cache; loop only
	bytes int64   // loop only
}

// stashMax is how many slots, and stashBytes how much credit, a stash takes at most.
const (
	stashMax   = 512
	stashBytes = 64 << 10
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

// take returns a slot out of the stash and pays for a call of cost bytes, or nil.
func (t *stash) take(k *calls, cost int64) *slot {
	last := len(t.slots) - 1
	if last < 0 {
		return nil
	}
	if t.bytes < cost {
		k.mu.Lock()
		if n := min(k.bytes, stashBytes); k.waiters.head == nil && k.err == nil && n > 0 {
			k.bytes -= n
			t.bytes += n
		}
		k.mu.Unlock()
		if t.bytes < cost {
			return nil
		}
	}
	t.bytes -= cost
	s := t.slots[last]
	t.slots = t.slots[:last]
	k.rename(s)
	return s
}

// giveBack returns everything to the table.
func (t *stash) giveBack(c *econn) {
	if len(t.slots) == 0 && t.bytes == 0 {
		return
	}
	k := &c.calls
	k.mu.Lock()
	for _, s := range t.slots {
		k.freeLocked(s)
	}
	k.bytes += t.bytes
	k.grantLocked(c)
	k.mu.Unlock()
	t.slots, t.bytes = t.slots[:0], 0
	c.checkQuiet()
}
