package hubreg

import (
	"time"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/registry"
)

// places are the objects of one service. What an object is known by is who published it and what it
// says, as its numbers change when the hub does.
type places map[place]*seen

type place struct{ client, instance, info string }

// seen is an object that is there.
type seen struct {
	entry       registry.Entry
	client      string
	peer        uint64 // of the hub that it was first seen at
	publication uint64
	times       int       // that it is there: an update may say what was said before
	until       time.Time // when it goes, unless it is found again; zero: it is there
}

func of(p *hub.Provider) place {
	return place{p.Selector.ClientID, p.Selector.ObjectTag, string(p.Info)}
}

// add notes that an object is there.
func (s *places) add(p *hub.Provider) {
	e, ok := parse(p)
	if !ok {
		return
	}
	if *s == nil {
		*s = make(places)
	}
	known := (*s)[of(p)]
	if known == nil {
		known = &seen{entry: e, client: p.Selector.ClientID}
		(*s)[of(p)] = known
	}
	if !known.until.IsZero() {
		known.times, known.until = 0, time.Time{}
	}
	known.times++
	known.peer, known.publication = p.Peer, p.Publication
}

// drop notes that an object has gone; with a time, that it goes then.
func (s places) drop(p *hub.Provider, until time.Time) {
	known := s[of(p)]
	switch {
	case known == nil:
	case known.times > 1:
		known.times--
	case until.IsZero():
		delete(s, of(p))
	default:
		known.until = until
	}
}

// expire removes those whose time is over, and returns when that of the next one is; zero: none.
func (s places) expire(now time.Time) (next time.Time) {
	for p, known := range s {
		switch {
		case known.until.IsZero():
		case !now.Before(known.until):
			delete(s, p)
		case next.IsZero() || known.until.Before(next):
			next = known.until
		}
	}
	return next
}

// entries returns one entry for each instance.
func (s places) entries() map[string]registry.Entry {
	best := make(map[string]*seen, len(s))
	all := make(map[string]registry.Entry, len(s))
	for p, known := range s {
		if was := best[p.instance]; was == nil || known.before(was) {
			best[p.instance] = known
			all[p.instance] = known.entry
		}
	}
	return all
}

// before says whether s is shown rather than o, of the same instance: it was updated later, or
// belongs to who came first.
func (s *seen) before(o *seen) bool {
	if s.client == o.client {
		return s.publication > o.publication
	}
	return s.peer < o.peer
}
