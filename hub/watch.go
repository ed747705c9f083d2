package hub

import (
	"fmt"
	"strconv"

	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// The events that a watch tells of.
const (
	eventUp   = "up"
	eventDown = "down"
)

// watch tells a native peer of what comes and goes that its selector matches.
type watch struct {
	peer   *peer
	number uint64 // the peer's own
	wanted *selector
	term   *term // that it is listed under, or nil
	at     int   // in the list
	lost   bool  // an event found no room: its connection ends
}

// watch begins a watch, and lists what is there now. Events follow the reply.
func (c *core) watch(p *peer, t *turn, body []byte) ([]byte, error) {
	n, err := number(body, "watch")
	if err != nil {
		return nil, err
	}
	if err := t.parseSelector(js.Field(body, "selector")); err != nil {
		return nil, fmt.Errorf("selector: %w", err)
	}
	c.mu.Lock()
	defer c.unlock()
	if p.member.watches[n] != nil {
		return nil, fmt.Errorf("watch %d is there already", n)
	}
	if k := len(p.member.watches); k >= c.limits.MaxWatches {
		return nil, &commandError{wire.CodeOverloaded,
			fmt.Sprintf("watches of one peer: %d, limit %d", k+1, c.limits.MaxWatches)}
	}
	w := &watch{peer: p, number: n, wanted: t.wanted.clone()}
	if p.member.watches == nil {
		p.member.watches = make(map[uint64]*watch)
	}
	p.member.watches[n] = w
	c.table.follow(w)
	list := c.appendProvidersLocked(nil, w.wanted)
	return appendNumber(append(list[:len(list)-1], ','), `"version":`, c.table.version), nil
}

func (c *core) unwatch(p *peer, n uint64) {
	c.mu.Lock()
	defer c.unlock()
	if w := p.member.watches[n]; w != nil {
		delete(p.member.watches, n)
		c.table.unfollow(w)
	}
}

// follow lists w under the rarest of its keys.
func (t *table) follow(w *watch) {
	list := &t.watches
	for _, k := range rarity {
		if a := &w.wanted[k]; !a.free() {
			w.term = t.intern(k, a)
			list = &w.term.watches
			break
		}
	}
	w.at = len(*list)
	*list = append(*list, w)
}

func (t *table) unfollow(w *watch) {
	list := &t.watches
	if w.term != nil {
		list = &w.term.watches
	}
	last := len(*list) - 1
	(*list)[w.at], (*list)[last].at = (*list)[last], w.at
	(*list)[last] = nil
	*list = (*list)[:last]
	if w.term != nil {
		t.settle(w.term)
	}
}

// tellLocked tells everybody whose watch matches e. Events go through the backlogs, so that they
// keep their order, and are sent when the lock is free again. A watcher whose backlog is full is
// cut off, as it would know less than it believes. A hub that is closing tells nobody: those whose
// connections it ends have not gone, and will be at the next hub.
func (c *core) tellLocked(e *entry, event string) {
	c.table.version++
	if e.raw == "" || c.closed {
		return
	}
	tell := func(list []*watch) {
		for _, w := range list {
			if !w.lost && w.matches(e) {
				c.tell(w, e, event)
			}
		}
	}
	tell(c.table.watches)
	for _, g := range e.groups {
		if g != nil {
			tell(g.term.watches)
		}
	}
}

// matches says whether w's selector matches e as a whole.
func (w *watch) matches(e *entry) bool {
	for k := range w.wanted {
		a := &w.wanted[k]
		if a.free() {
			continue
		}
		if g := e.groups[k]; g == nil || !g.term.is(a) {
			return false
		}
	}
	return true
}

func (c *core) tell(w *watch, e *entry, event string) {
	b := strconv.AppendUint([]byte(`{"watch":`), w.number, 10)
	b = strconv.AppendUint(append(b, `,"version":`...), c.table.version, 10)
	b = append(append(append(b, `,"event":"`...), event...), `","provider":`...)
	b = append(e.appendProvider(b), '}')
	m := transport.Message{Method: methodEvent, Body: b}
	if w.peer.member.backlog.tell(c, &w.peer.self, m) {
		c.told = append(c.told, w.peer)
		return
	}
	w.lost = true
	c.deaf = append(c.deaf, w.peer)
}
