package supervisor

import (
	"sync"
	"sync/atomic"
)

// A Filter says what a Subscription gets.
type Filter struct {
	Events    bool
	Lines     bool
	Processes []string // only of these; of all if there are none
	Buffer    int      // how many messages may wait for the reader: by default 1024
}

// A Message is one Event, or one Line.
type Message struct {
	Event *Event
	Line  *Line
	// Missed is how many messages came before this one that found the buffer full, and are lost.
	Missed uint64
}

// A Subscription delivers messages in the order in which they happened. It never holds up the
// supervisor: what finds its buffer full is lost, and counted.
type Subscription struct {
	filter Filter
	names  map[string]bool // immutable
	hub    *subscriptions
	c      chan Message

	mu     sync.Mutex
	missed uint64 // guarded by mu
	closed bool   // guarded by mu
}

// C is where the messages come. It is closed by Close, and when Run ends.
func (s *Subscription) C() <-chan Message { return s.c }

// Close ends it. Messages that wait can still be read.
func (s *Subscription) Close() { s.hub.remove(s) }

func (s *Subscription) send(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	m.Missed = s.missed
	select {
	case s.c <- m:
		s.missed = 0
	default:
		s.missed++
	}
}

// room says whether a message would find room now; if not it counts as lost.
func (s *Subscription) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.c) == cap(s.c) {
		s.missed++
		return false
	}
	return true
}

func (s *Subscription) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.c)
	}
}

func (s *Subscription) wants(process string) bool {
	return len(s.names) == 0 || s.names[process]
}

// subscriptions are all there are. The lists are replaced, never changed: who sends takes no lock
// but that of each subscription.
type subscriptions struct {
	mu     sync.Mutex
	all    []*Subscription // guarded by mu
	ended  bool            // guarded by mu
	events atomic.Pointer[[]*Subscription]
	lines  atomic.Pointer[[]*Subscription]
}

func (h *subscriptions) add(f Filter) *Subscription {
	orElse(&f.Buffer, 1024)
	s := &Subscription{filter: f, hub: h, c: make(chan Message, max(f.Buffer, 1))}
	s.names = make(map[string]bool, len(f.Processes))
	for _, n := range f.Processes {
		s.names[n] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		s.end()
		return s
	}
	h.all = append(h.all, s)
	h.publish()
	return s
}

func (h *subscriptions) remove(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := make([]*Subscription, 0, len(h.all))
	for _, other := range h.all {
		if other != s {
			kept = append(kept, other)
		}
	}
	h.all = kept
	h.publish()
	s.end()
}

// end closes all, and those that are added later.
func (h *subscriptions) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for _, s := range h.all {
		s.end()
	}
	h.all = nil
	h.publish()
}

// publish makes the lists that are sent to. mu must be held.
func (h *subscriptions) publish() {
	var events, lines []*Subscription
	for _, s := range h.all {
		if s.filter.Events {
			events = append(events, s)
		}
		if s.filter.Lines {
			lines = append(lines, s)
		}
	}
	h.events.Store(&events)
	h.lines.Store(&lines)
}

func (h *subscriptions) event(e Event) {
	for _, s := range list(&h.events) {
		if s.wants(e.Process) {
			s.send(Message{Event: &e})
		}
	}
}

// line sends l, whose text is borrowed, to those who want it.
func (h *subscriptions) line(l Line, text []byte) {
	for _, s := range list(&h.lines) {
		if s.wants(l.Process) && s.room() {
			l.Text = string(text)
			s.send(Message{Line: &l})
		}
	}
}

func list(p *atomic.Pointer[[]*Subscription]) []*Subscription {
	if l := p.Load(); l != nil {
		return *l
	}
	return nil
}
