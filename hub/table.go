package hub

import (
	"cmp"
	"slices"

	"github.com/pithos-ipc/pithos/balancer"
)

// route is the entry of a peer in the table.
type route struct {
	peer      *peer
	id        uint64 // rises in the order of entering; not reused
	selectors []*selector
}

// table says which peers a selector finds. It is a list that is looked through from end to end:
// right for the few peers of one machine, and the measure for what comes after. It locks nothing.
//
//	routes, in order of entering
//	+-----------------+    +-----------------+
//	| peer 1, id 1    |    | peer 3, id 7    |   a peer that went offline and came back
//	| {} {shop, web}  |    | {shop, job}     |   stands at the end
//	+-----------------+    +-----------------+
type table struct {
	routes    []*route // rising id
	byPeer    map[*peer]*route
	lastID    uint64
	selectors int // in all

	// initial is the selector that every connection has from the moment of connecting. Its one key,
	// initialization, takes no part in matching, so that only a selector without keys finds it.
	initial *selector
}

func newTable() *table {
	return &table{byPeer: make(map[*peer]*route), initial: new(selector)}
}

// connect enters p with the initial selector only.
func (t *table) connect(p *peer) { t.add(p, t.initial) }

// add appends s, which is the table's from now on, to the list of p. A peer without a list gets
// one, at the end of the table.
func (t *table) add(p *peer, s *selector) {
	r := t.byPeer[p]
	if r == nil {
		t.lastID++
		r = &route{peer: p, id: t.lastID}
		t.byPeer[p] = r
		t.routes = append(t.routes, r)
	}
	r.selectors = append(r.selectors, s)
	t.selectors++
}

// has says whether p is in the table.
func (t *table) has(p *peer) bool { return t.byPeer[p] != nil }

// drop removes everything that wanted matches from the list of p, which is in the table; without a
// rest p leaves the table. The result is the size of what was removed.
func (t *table) drop(p *peer, wanted *selector) (size int) {
	r := t.byPeer[p]
	t.selectors -= len(r.selectors)
	r.selectors = slices.DeleteFunc(r.selectors, func(s *selector) bool {
		if !wanted.matches(s) {
			return false
		}
		if s != t.initial {
			size += s.size()
		}
		return true
	})
	t.selectors += len(r.selectors)
	if len(r.selectors) == 0 {
		t.remove(p)
	}
	return size
}

// remove takes p and all its selectors out of the table, if they are there.
func (t *table) remove(p *peer) {
	r := t.byPeer[p]
	if r == nil {
		return
	}
	delete(t.byPeer, p)
	t.selectors -= len(r.selectors)
	i, _ := slices.BinarySearchFunc(t.routes, r.id, func(r *route, id uint64) int {
		return cmp.Compare(r.id, id)
	})
	t.routes = slices.Delete(t.routes, i, i+1)
}

// selection is who a selector has found: each peer once, in the table's order. It is reused.
type selection struct {
	peers []*peer
	set   []balancer.Candidate // one for each peer
}

func (s *selection) reset() {
	clear(s.peers) // so that a selection that waits for its next use keeps nobody alive
	s.peers, s.set = s.peers[:0], s.set[:0]
}

func (s *selection) add(r *route) {
	s.peers = append(s.peers, r.peer)
	s.set = append(s.set, balancer.Candidate{ID: r.id})
}

// keep leaves only the one at i.
func (s *selection) keep(i int) {
	s.peers[0], s.set[0] = s.peers[i], s.set[i]
	clear(s.peers[1:])
	s.peers, s.set = s.peers[:1], s.set[:1]
}

// find puts into found whom wanted selects: every peer that has a selector which matches as a
// whole. If the tag of an object that is asked for is nowhere, those that publish the object
// without a tag are found.
func (t *table) find(wanted *selector, found *selection) {
	t.scan(wanted.matches, found)
	if len(found.peers) == 0 && wanted.fallsBack() {
		t.scan(wanted.matchesUntagged, found)
	}
}

func (t *table) scan(match func(*selector) bool, found *selection) {
	found.reset()
	for _, r := range t.routes {
		if slices.ContainsFunc(r.selectors, match) {
			found.add(r)
		}
	}
}
