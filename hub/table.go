package hub

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// table says which peers a selector finds. Values of keys are interned: each is a term, which lists
// the entries that have it, peer by peer. So equal values are equal pointers, and a look-up walks
// the shortest list of those that its keys name, whatever else is published.
//
//	term (objectName, "cart")         term (appName, "shop")
//	   | groups                          | groups
//	   v                                 v
//	 peer 1: [e1]  peer 4: [e7]        peer 1: [e1 e2 e3]  peer 4: [e7 e8]
//
//	entry e1: its group under each key, and its place there; whom it leads to
//
// It has one writer and locks nothing: the lock of core guards it. What readers use without a lock
// is the snapshot of a route, which the table drops when an entry comes or goes that concerns it.
type table struct {
	terms     map[termKey]*term
	order     []*listed // the peers that are in the table, rising id
	lastID    uint64
	selectors int      // in all
	version   uint64   // of the events of watches
	roots     []*route // those without keys
	watches   []*watch // likewise

	// initial is the selector that every connection has from the moment of connecting. Its one key,
	// initialization, takes no part in matching, so that only a selector without keys finds it.
	initial *selector
}

// termKey is a value of a key, as Go compares it.
type termKey struct {
	key    uint8
	atom   uint8 // the kind of the atom
	number float64
	text   string
}

// term is an interned value of one key.
type term struct {
	key     termKey
	n       int      // entries
	groups  []*group // those of each peer; the one that came last is at the end
	of      map[*listed]*group
	routes  []*route // that have this term as their rarest
	watches []*watch // likewise
}

// group is the entries of one peer that have a term, in no order.
type group struct {
	term    *term
	peer    *listed
	at      int // in term.groups
	entries []*entry
}

// manyGroups is from how many on a term finds the group of a peer by a map.
const manyGroups = 8

// listed is what the table has of a peer.
type listed struct {
	peer    *peer
	id      uint64 // rises in the order of entering; not reused
	entries []*entry
}

// entry is one selector of a peer.
type entry struct {
	to     *target
	of     *listed
	at     int // in listed.entries
	groups [numKeys]*group
	places [numKeys]int32 // in the entries of the groups
	odd    uint8          // bit k: key k has a value that equals nothing
	size   int            // about the bytes that it takes
	raw    string         // the selector as it was published, or ""
}

// target is whom an entry leads to: a peer, and which of its objects.
type target struct {
	peer   *peer
	pub    uint64 // the peer's own number of what it has published; 0: the peer itself
	id     uint64 // of the candidate
	name   uint64 // for consistent hashing
	weight uint32
	load   balancer.Load
	leave  atomic.Pointer[leaving] // it takes no more calls, and somebody waits for the last one
}

func newTable() *table { return &table{terms: make(map[termKey]*term), initial: new(selector)} }

// connect enters p with the initial selector only.
func (t *table) connect(p *peer) { t.add(p, t.initial) }

// add appends s to the list of p. A peer without a list gets one, at the end of the table.
func (t *table) add(p *peer, s *selector) *entry { return t.enter(&p.self, p, s, "") }

// enter adds an entry of p that leads to to.
func (t *table) enter(to *target, p *peer, s *selector, raw string) *entry {
	l := p.listed
	if l == nil {
		t.lastID++
		l = &listed{peer: p, id: t.lastID}
		p.listed, p.self.id, p.self.peer = l, l.id, p
		t.order = append(t.order, l)
	}
	e := &entry{to: to, of: l, at: len(l.entries), raw: raw}
	if s != t.initial {
		e.size = s.size() + len(raw)
	}
	if to.id == 0 {
		to.id = l.id
	}
	l.entries = append(l.entries, e)
	for k := range s {
		a := &s[k]
		if a.free() {
			continue
		}
		if !a.comparable() {
			e.odd |= 1 << k
			continue
		}
		t.intern(uint8(k), a).add(e, k)
	}
	t.selectors++
	t.changed(e)
	return e
}

// comparable says that the atom can equal another one.
func (a *atom) comparable() bool { return a.kind != js.Object }

func (a *atom) term(key uint8) termKey {
	return termKey{key: key, atom: uint8(a.kind), number: a.number, text: string(a.text)}
}

// find returns the term of a, or nil.
func (t *table) term(key uint8, a *atom) *term {
	return t.terms[termKey{key: key, atom: uint8(a.kind), number: a.number, text: string(a.text)}]
}

// intern returns the term of a, which it makes if it is new.
func (t *table) intern(key uint8, a *atom) *term {
	m := t.term(key, a)
	if m == nil {
		m = &term{key: a.term(key)}
		t.terms[m.key] = m
	}
	return m
}

// settle forgets m when nothing needs it.
func (t *table) settle(m *term) {
	if m.n == 0 && len(m.routes)+len(m.watches) == 0 {
		delete(t.terms, m.key)
	}
}

// add enters e, whose key k is m.
func (m *term) add(e *entry, k int) {
	g := m.group(e.of)
	if g == nil {
		g = &group{term: m, peer: e.of, at: len(m.groups)}
		m.groups = append(m.groups, g)
		switch {
		case m.of != nil:
			m.of[e.of] = g
		case len(m.groups) > manyGroups:
			m.of = make(map[*listed]*group, 2*manyGroups)
			for _, g := range m.groups {
				m.of[g.peer] = g
			}
		}
	}
	e.groups[k], e.places[k] = g, int32(len(g.entries))
	g.entries = append(g.entries, e)
	m.n++
}

func (m *term) group(l *listed) *group {
	if m.of != nil {
		return m.of[l]
	}
	for _, g := range m.groups {
		if g.peer == l {
			return g
		}
	}
	return nil
}

// leave takes e out of its group under key k.
func (t *table) leave(e *entry, k int) {
	g := e.groups[k]
	last := len(g.entries) - 1
	moved := g.entries[last]
	g.entries[e.places[k]], moved.places[k] = moved, e.places[k]
	g.entries[last] = nil
	g.entries = g.entries[:last]
	m := g.term
	m.n--
	if last == 0 {
		end := len(m.groups) - 1
		m.groups[g.at], m.groups[end].at = m.groups[end], g.at
		m.groups[end] = nil
		m.groups = m.groups[:end]
		delete(m.of, g.peer)
	}
	t.settle(m)
}

// take removes e; a peer without a rest leaves the table.
func (t *table) take(e *entry) {
	t.changed(e)
	for k, g := range e.groups {
		if g != nil {
			t.leave(e, k)
		}
	}
	l := e.of
	last := len(l.entries) - 1
	l.entries[e.at], l.entries[last].at = l.entries[last], e.at
	l.entries[last] = nil
	l.entries = l.entries[:last]
	t.selectors--
	if last == 0 {
		t.unlist(l)
	}
}

func (t *table) unlist(l *listed) {
	l.peer.listed = nil
	i, _ := t.place(l.id)
	t.order = slices.Delete(t.order, i, i+1)
}

// place is where the peer listed under id is in t.order, or would be.
func (t *table) place(id uint64) (int, bool) {
	return slices.BinarySearchFunc(t.order, id, func(l *listed, id uint64) int {
		return cmp.Compare(l.id, id)
	})
}

// has says whether p is in the table.
func (t *table) has(p *peer) bool { return p.listed != nil }

// drop removes everything that wanted matches from the list of p, which is in the table; without a
// rest p leaves the table. The result is the size of what was removed.
func (t *table) drop(p *peer, wanted *selector, tell func(*entry)) (size int) {
	var q query
	if !q.resolve(t, wanted) {
		return 0
	}
	among := p.listed.entries
	for _, m := range q.terms {
		if m == nil {
			continue
		}
		g := m.group(p.listed)
		if g == nil {
			return 0
		}
		if len(g.entries) < len(among) {
			among = g.entries
		}
	}
	for i := len(among) - 1; i >= 0; i-- { // who goes is replaced by the last, which was looked at
		if e := among[i]; q.matches(e) {
			size += e.size
			among = among[:i]
			tell(e)
			t.take(e)
		}
	}
	return size
}

// remove takes p and all its selectors out of the table, if they are there.
func (t *table) remove(p *peer) {
	for l := p.listed; l != nil && len(l.entries) > 0; {
		t.take(l.entries[len(l.entries)-1])
	}
}

// query is a selector that is asked for, in terms.
type query struct {
	terms [numKeys]*term
	bare  bool // the object tag has to be absent
}

// resolve looks the terms of wanted up; false says that nobody can match.
func (q *query) resolve(t *table, wanted *selector) bool {
	*q = query{}
	for k := range wanted {
		a := &wanted[k]
		if a.free() {
			continue
		}
		if q.terms[k] = t.term(uint8(k), a); q.terms[k] == nil || !a.comparable() {
			return false
		}
	}
	return true
}

func (q *query) matches(e *entry) bool {
	for k, m := range q.terms {
		if m != nil && (e.groups[k] == nil || e.groups[k].term != m) {
			return false
		}
	}
	return !q.bare || e.groups[keyObjectTag] == nil && e.odd>>keyObjectTag&1 == 0
}

// rarest is the term of the query with the fewest entries, or nil when it has none.
func (q *query) rarest() (rarest *term) {
	for _, m := range q.terms {
		if m != nil && (rarest == nil || m.n < rarest.n) {
			rarest = m
		}
	}
	return rarest
}

// selection is who a selector has found: each peer once, in the table's order. It is reused.
type selection struct {
	peers   []*peer
	targets []*target
	set     []balancer.Candidate // one for each target
}

func (s *selection) reset() {
	clear(s.peers) // so that a selection that waits for its next use keeps nobody alive
	clear(s.targets)
	clear(s.set)
	s.peers, s.targets, s.set = s.peers[:0], s.targets[:0], s.set[:0]
}

// find puts into found whom wanted selects: every peer that has a selector which matches as a
// whole. If the tag of an object that is asked for is nowhere, those that publish the object
// without a tag are found.
func (t *table) find(wanted *selector, found *selection) {
	found.reset()
	var q query
	if q.resolve(t, wanted) {
		t.collect(&q, found)
	}
	if len(found.targets) > 0 || !wanted.fallsBack() {
		return
	}
	bare := *wanted
	bare[keyObjectTag] = atom{}
	if q.resolve(t, &bare) {
		q.bare = true
		t.collect(&q, found)
	}
}

func (t *table) collect(q *query, found *selection) {
	rarest := q.rarest()
	if rarest == nil {
		for _, l := range t.order {
			found.targets = append(found.targets, l.entries[0].to)
		}
	} else {
		for _, g := range rarest.groups {
			for _, e := range g.entries {
				if q.matches(e) {
					found.targets = append(found.targets, e.to)
					break
				}
			}
		}
		slices.SortFunc(found.targets, func(a, b *target) int {
			return cmp.Compare(a.peer.listed.id, b.peer.listed.id)
		})
	}
	for _, to := range found.targets {
		found.peers = append(found.peers, to.peer)
		found.set = append(found.set, balancer.Candidate{ID: to.peer.listed.id, Name: to.name,
			Load: &to.load, Weight: to.weight})
	}
}

// each calls f for every entry that wanted matches as a whole, the initial ones but.
func (t *table) each(wanted *selector, f func(*entry)) {
	var q query
	if !q.resolve(t, wanted) {
		return
	}
	rarest := q.rarest()
	if rarest == nil {
		for _, l := range t.order {
			for _, e := range l.entries {
				f(e)
			}
		}
		return
	}
	for _, g := range rarest.groups {
		for _, e := range g.entries {
			if q.matches(e) {
				f(e)
			}
		}
	}
}
