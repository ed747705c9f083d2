package hub

import (
	"sync"
	"sync/atomic"
)

// flights are the calls of one of Pandora's peers that native providers have: when it goes away,
// they are told that nobody waits any more. Lock order: core.mu before flights.mu.
type flights struct {
	n atomic.Int32 // written under mu

	mu    sync.Mutex
	first *flight // guarded by mu
	over  bool    // the peer has gone; guarded by mu
}

// entered is the place of a flight among those of its peer. It is guarded by flights.mu.
type entered struct {
	prev, next *flight
	ticket     uint64 // of the use that is entered
}

// enter takes in the use of f that begins. It says false when the peer has gone.
func (l *flights) enter(f *flight) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.entered = entered{next: l.first, ticket: f.ticket}
	if l.first != nil {
		l.first.entered.prev = f
	}
	l.first = f
	l.n.Add(1)
	return !l.over
}

// leave takes f out.
func (l *flights) leave(f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &f.entered
	if e.prev != nil {
		e.prev.entered.next = e.next
	} else {
		l.first = e.next
	}
	if e.next != nil {
		e.next.entered.prev = e.prev
	}
	*e = entered{}
	l.n.Add(-1)
}

// shut adds to jobs that those are taken back which are under way.
func (l *flights) shut(jobs []job) []job {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for f := l.first; f != nil; f = f.entered.next {
		jobs = append(jobs, job{flight: f, ticket: f.entered.ticket})
	}
	return jobs
}
