// Package feed is what the implementations of a registry share: the entries of one service as a
// channel on which the last state is never missed.
package feed

import (
	"crypto/rand"
	"maps"
	"slices"

	"github.com/pithos-ipc/pithos/registry"
)

// Feed sends the entries of one service. It belongs to one goroutine, but for the channel.
type Feed struct {
	// C has room for one state; one that nobody has taken is replaced by the next.
	C chan []registry.Entry

	sent  bool
	known map[string]registry.Entry // by instance, as they were sent last
}

// New returns a feed that has sent nothing yet.
func New() *Feed { return &Feed{C: make(chan []registry.Entry, 1)} }

// Send sends entries, by instance, unless they are what was sent last. It keeps the map.
func (f *Feed) Send(entries map[string]registry.Entry) {
	if f.sent && maps.EqualFunc(f.known, entries, registry.Entry.Equal) {
		return
	}
	f.sent, f.known = true, entries
	select {
	case <-f.C:
	default:
	}
	f.C <- Sorted(entries) // only this goroutine sends, so there is room
}

// Sorted returns entries in the order of their instances.
func Sorted(entries map[string]registry.Entry) []registry.Entry {
	list := make([]registry.Entry, 0, len(entries))
	for _, instance := range slices.Sorted(maps.Keys(entries)) {
		list = append(list, entries[instance])
	}
	return list
}

// Instance returns a name for an instance that nobody else has.
func Instance() string { return rand.Text() }
