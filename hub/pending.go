package hub

import "time"

// call is a message that a provider has to answer: one for an invoke, one for each provider of a
// batch. It is in three places, from the moment that the provider's connection is to get it until
// somebody settles it: the provider's waiting, the caller's list and the clock.
type call struct {
	caller   *peer
	ask      asker // who gets the reply
	provider *peer
	id       uint32 // of the message on its way down
	timeout  timeout
	ticket   uint64  // of a native caller, in core.askers; 0: none
	flight   *flight // that it was before, when it waited for a native provider; nil: none
	method   *method // nil: not counted
	start    time.Duration

	due        time.Duration // since the hub's start
	turn       uint64        // rises from call to call; of those due together, the first goes first
	place      int           // in the clock
	prev, next *call         // in the caller's list; next also in the list of free ones
}

// pending is the calls that are under way. It locks nothing.
type pending struct {
	clock clock
	free  *call
	count int
	turn  uint64
}

// open enters a call of caller's message callerID for provider.
func (s *pending) open(caller *peer, callerID uint32, provider *peer, t timeout,
	now time.Duration) *call {
	c := s.free
	if c == nil {
		c = new(call)
	} else {
		s.free = c.next
	}
	s.turn++
	*c = call{turn: s.turn, caller: caller, ask: asker{peer: caller, id: callerID}, start: now,
		provider: provider, timeout: t, due: now + t.duration() + callerFirst,
		id: provider.unusedID()}
	if provider.waiting == nil {
		provider.waiting = make(map[uint32]*call)
	}
	provider.waiting[c.id] = c
	if c.next = caller.asked; c.next != nil {
		c.next.prev = c
	}
	caller.asked = c
	caller.asking++
	s.clock.push(c)
	s.count++
	return c
}

// settle takes c out of everything. What c says may be used until the next open.
func (s *pending) settle(c *call) {
	delete(c.provider.waiting, c.id)
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		c.caller.asked = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.caller.asking--
	s.clock.remove(c)
	s.count--
}

// recycle gives c back after settle.
func (s *pending) recycle(c *call) {
	*c = call{next: s.free}
	s.free = c
}

// clock is a heap of calls, the one that is due first in front. (Knuth, The Art of Computer
// Programming 3, 5.2.3, with four children to a node: fewer levels, and children side by side.)
type clock []*call

// before says whether c is due before o.
func (c *call) before(o *call) bool {
	return c.due < o.due || c.due == o.due && c.turn < o.turn
}

func (k *clock) push(c *call) {
	*k = append(*k, c)
	k.up(len(*k)-1, c)
}

func (k *clock) remove(c *call) {
	h := *k
	n := len(h) - 1
	last := h[n]
	h[n] = nil
	*k = h[:n]
	if last == c {
		return
	}
	if i := c.place; i > 0 && last.before(h[(i-1)/4]) {
		k.up(i, last)
	} else {
		k.down(i, last)
	}
}

// up puts c at i or above.
func (k *clock) up(i int, c *call) {
	h := *k
	for i > 0 {
		parent := (i - 1) / 4
		if h[parent].before(c) {
			break
		}
		h[i] = h[parent]
		h[i].place = i
		i = parent
	}
	h[i] = c
	c.place = i
}

// down puts c at i or below.
func (k *clock) down(i int, c *call) {
	h := *k
	for {
		first := 4*i + 1
		if first >= len(h) {
			break
		}
		least := first
		for n := first + 1; n < min(first+4, len(h)); n++ {
			if h[n].before(h[least]) {
				least = n
			}
		}
		if c.before(h[least]) {
			break
		}
		h[i] = h[least]
		h[i].place = i
		i = least
	}
	h[i] = c
	c.place = i
}

// first is the call that is due first, or nil.
func (k clock) first() *call {
	if len(k) == 0 {
		return nil
	}
	return k[0]
}
