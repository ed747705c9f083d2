package hub

import (
	"sync/atomic"

	"github.com/pithos-ipc/pithos/transport"
)

// member is what the hub has of a peer that speaks the native protocol and has come online.
type member struct {
	conn     *transport.Conn   // immutable
	location string            // as JSON; immutable
	routes   []handle          // that it has resolved, by index; loop of conn only
	free     []uint32          // of routes; loop of conn only
	pubs     map[uint64]*entry // what it has published, by its own numbers; guarded by core.mu
	watches  map[uint64]*watch // guarded by core.mu
	backlog  backlog
}

// handle is a place of member.routes. A client names it by number and generation, so that one that
// was released and used again is told apart.
type handle struct {
	route *route // nil: free
	gen   uint32
}

// resolve gives r a handle.
func (m *member) resolve(r *route) uint64 {
	var i uint32
	if n := len(m.free); n > 0 {
		i = m.free[n-1]
		m.free = m.free[:n-1]
	} else {
		i = uint32(len(m.routes))
		m.routes = append(m.routes, handle{})
	}
	h := &m.routes[i]
	h.route = r
	h.gen++
	r.users.Add(1)
	return nameOf(i, h.gen)
}

// nameOf is how a client names the place i in its generation gen, from 1 on. Small ones have small
// numbers, which take fewer bytes.
//
//	bits  63     46 45     14 13      0
//	      i >> 14   gen - 1   i          all of it plus 1
func nameOf(i, gen uint32) uint64 {
	return uint64(i>>14)<<46 | uint64(gen-1)<<14 | uint64(i)&(1<<14-1) + 1
}

// placeOf undoes nameOf.
func placeOf(number uint64) (i, gen uint32) {
	n := number - 1
	return uint32(n>>46<<14 | n&(1<<14-1)), uint32(n>>14) + 1
}

// find returns the route of a handle, or nil when it is stale.
func (m *member) find(number uint64) *route {
	i, gen := placeOf(number)
	if number == 0 || int(i) >= len(m.routes) || m.routes[i].gen != gen {
		return nil
	}
	return m.routes[i].route
}

// release frees a handle.
func (m *member) release(number uint64) {
	if r := m.find(number); r != nil {
		r.users.Add(-1)
		i, _ := placeOf(number)
		m.routes[i].route = nil
		m.free = append(m.free, i)
	}
}

// releaseAll is release for all, at the end of the connection.
func (m *member) releaseAll() {
	for i := range m.routes {
		if r := m.routes[i].route; r != nil {
			r.users.Add(-1)
		}
	}
	m.routes, m.free = nil, nil
}

// leaving waits until the last call inside of some targets has its reply.
type leaving struct {
	left atomic.Int32 // targets that have calls inside, and one for who counts them
	held transport.Held
}

// done is called for each target that has no calls left.
func (l *leaving) done() {
	if l.left.Add(-1) == 0 {
		_ = l.held.Reply(nil)
	}
}

// ended takes one call off t, and tells who waits for the last.
func (t *target) ended() {
	if l := t.leave.Load(); l != nil && t.load.Pending() == 0 && t.leave.CompareAndSwap(l, nil) {
		l.done()
	}
}

// quit has l hear when the calls inside of t have ended.
func (t *target) quit(l *leaving) {
	l.left.Add(1)
	t.leave.Store(l)
	t.ended()
}
