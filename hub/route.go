package hub

import (
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// maxRoutes bounds the selectors whose providers are kept found. Over it those go that no client
// has resolved: what is lost is whose turn it was.
const maxRoutes = 64 << 10

// route is a selector that was asked for, and whom it finds.
//
//	caller -> route -> snapshot -> picker -> target
//	             ^  one atomic load; nil: something that concerns it has changed, find again
type route struct {
	wanted   *selector
	key      string // selector.appendKey
	raw      string // the selector as JSON
	picker   balancer.Picker
	object   *object // what it asks for by name, for the statistics; nil: none
	snapshot atomic.Pointer[snapshot]
	term     *term        // that it is listed under; guarded by core.mu
	users    atomic.Int32 // clients that have resolved it
	calls    atomic.Uint64
}

// snapshot is whom a route finds. It is immutable.
type snapshot struct {
	targets []*target
	set     []balancer.Candidate
}

// changed drops the snapshots of the routes that e concerns.
func (t *table) changed(e *entry) {
	for _, r := range t.roots {
		r.snapshot.Store(nil)
	}
	for _, g := range e.groups {
		if g == nil {
			continue
		}
		for _, r := range g.term.routes {
			if r.snapshot.Load() != nil && r.concerns(e) {
				r.snapshot.Store(nil)
			}
		}
	}
}

// concerns says whether r may find e: by all its keys, but for the tag, without which it may stand
// in.
func (r *route) concerns(e *entry) bool {
	for k := range r.wanted {
		a := &r.wanted[k]
		if k == keyObjectTag || a.free() {
			continue
		}
		if g := e.groups[k]; g == nil || !g.term.is(a) {
			return false
		}
	}
	return true
}

func (m *term) is(a *atom) bool {
	return m.key.atom == uint8(a.kind) && m.key.number == a.number && m.key.text == string(a.text)
}

// rarity is the order in which the keys of a selector are likely to have many values.
var rarity = [...]uint8{keyObjectName, keyClientID, keyPID, keyProcessName, keyAppName, keyTag,
	keyObjectTag}

// watch lists r under one of its terms, so that it hears of changes.
func (t *table) watch(r *route) {
	for _, k := range rarity {
		if a := &r.wanted[k]; !a.free() && a.comparable() {
			r.term = t.intern(k, a)
			r.term.routes = append(r.term.routes, r)
			return
		}
	}
	t.roots = append(t.roots, r)
}

// unwatch undoes watch.
func (t *table) unwatch(r *route) {
	list := &t.roots
	if r.term != nil {
		list = &r.term.routes
	}
	for i, x := range *list {
		if x == r {
			last := len(*list) - 1
			(*list)[i] = (*list)[last]
			(*list)[last] = nil
			*list = (*list)[:last]
			break
		}
	}
	if r.term != nil {
		t.settle(r.term)
		r.term = nil
	}
}

// routeLocked returns the route of wanted, whose texts may be borrowed.
func (c *core) routeLocked(wanted *selector, t *turn) *route {
	start := len(t.scratch) // the texts of wanted may lie in scratch, so the key goes behind them
	t.scratch = wanted.appendKey(t.scratch)
	key := t.scratch[start:]
	if r := c.routes[string(key)]; r != nil {
		return r
	}
	if len(c.routes) >= maxRoutes {
		c.forgetLocked()
	}
	r := &route{wanted: wanted.clone(), key: string(key), picker: c.picker(),
		raw: string(wanted.appendJSON(nil))}
	if a := &wanted[keyObjectName]; a.kind == js.String {
		r.object = c.objectLocked(string(a.text))
	}
	c.routes[r.key] = r
	c.table.watch(r)
	return r
}

// forgetLocked drops the routes that no client has resolved.
func (c *core) forgetLocked() {
	for key, r := range c.routes {
		if r.users.Load() == 0 {
			delete(c.routes, key)
			c.table.unwatch(r)
		}
	}
}

// current is whom r finds now.
func (c *core) current(r *route) *snapshot {
	if s := r.snapshot.Load(); s != nil {
		return s
	}
	c.mu.Lock()
	defer c.unlock()
	return c.currentLocked(r)
}

func (c *core) currentLocked(r *route) *snapshot {
	if s := r.snapshot.Load(); s != nil {
		return s
	}
	c.table.find(r.wanted, &c.found)
	s := &snapshot{targets: append([]*target(nil), c.found.targets...),
		set: append([]balancer.Candidate(nil), c.found.set...)}
	c.found.reset()
	r.snapshot.Store(s)
	return s
}

// name is the name of the object that r asks for, or "".
func (r *route) name() string {
	if r == nil || r.object == nil {
		return ""
	}
	return r.object.name
}

// maxObjects bounds the names whose calls are counted. Over it those are forgotten that were asked
// for in vain, at most once in forgetPause, and calls of new names are not counted if that does not
// help.
const (
	maxObjects  = 64 << 10
	forgetPause = time.Minute
)

// objectLocked is the statistics of a name.
func (c *core) objectLocked(name string) *object {
	o := c.objects[name]
	if o != nil {
		return o
	}
	now := c.now()
	if len(c.objects) >= maxObjects && (c.forgot == 0 || now-c.forgot >= forgetPause) {
		c.forgot = now
		c.forgetObjectsLocked()
	}
	if len(c.objects) < maxObjects {
		o = &object{name: name}
		c.objects[name] = o
	}
	return o
}

// forgetObjectsLocked drops the names of which nothing was counted, but for those that a client
// has resolved.
func (c *core) forgetObjectsLocked() {
	c.forgetLocked()
	used := make(map[*object]bool)
	for _, r := range c.routes {
		used[r.object] = true
	}
	for name, o := range c.objects {
		if o.methods.Load() == nil && !used[o] {
			delete(c.objects, name)
		}
	}
}
