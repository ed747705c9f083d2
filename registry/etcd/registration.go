package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/internal/feed"
)

// registration is one entry. Who uses it changes what it has to be and wakes the keeper, which
// alone talks to etcd:
//
//	announced                      stored != version     the keeper has to put it
//	stored == version              kept
//	leaving                        the keeper has to delete it
type registration struct {
	r   *Registry
	key string // immutable

	// guarded by r.mu
	entry   registry.Entry
	version int          // of entry, from 1
	stored  int          // the version in etcd; 0: none
	known   bool         // Announce has returned it
	leaving bool         // it is withdrawn
	foreign bool         // another holds the key, and the log says so
	refused bool         // etcd does not take it, and the log says so
	waiting []chan error // who waits for the keeper

	// keeper only
	leases []clientv3.LeaseID // under which it was put, the latest last
	unsure time.Time          // when a put failed last
	failed time.Time          // when the last attempt was made, if that failed
}

var _ registry.Registration = (*registration)(nil)

// Announce is registry.Registry's. What it announces is withdrawn again if ctx ends first, or if
// etcd does not take it: it is too large, or not allowed.
func (r *Registry) Announce(ctx context.Context, e registry.Entry) (registry.Registration, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	if e = e.Clone(); e.Instance == "" {
		e.Instance = feed.Instance()
	}
	g := &registration{r: r, key: r.key(e), entry: e, version: 1}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, registry.ErrClosed
	}
	if r.entries[g.key] != nil { // perhaps not yet removed
		r.mu.Unlock()
		return nil, fmt.Errorf("etcd: %s/%s: %w", e.Service, e.Instance, registry.ErrTaken)
	}
	r.entries[g.key] = g
	answer := g.waitLocked()
	r.mu.Unlock()
	err := r.await(ctx, answer)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		g.known = true
		return g, nil
	}
	if r.entries[g.key] == g {
		g.leaving = true
		r.poke()
	}
	return nil, fmt.Errorf("etcd: announce %s/%s: %w", e.Service, e.Instance, err)
}

// Entry is registry.Registration's.
func (g *registration) Entry() registry.Entry {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	return g.entry.Clone()
}

// Update is registry.Registration's.
func (g *registration) Update(ctx context.Context, e registry.Entry) error {
	if err := e.CheckPlace(); err != nil {
		return err
	}
	e = e.Clone()
	g.r.mu.Lock()
	if err := g.goneLocked(); err != nil {
		g.r.mu.Unlock()
		return err
	}
	g.entry.Address, g.entry.Metadata = e.Address, e.Metadata
	g.version++
	answer := g.waitLocked()
	g.r.mu.Unlock()
	if err := g.r.await(ctx, answer); err != nil {
		return fmt.Errorf("etcd: update %s: %w", g.key, err)
	}
	return nil
}

// Withdraw is registry.Registration's.
func (g *registration) Withdraw(ctx context.Context) error {
	g.r.mu.Lock()
	if g.goneLocked() != nil {
		g.r.mu.Unlock()
		return nil
	}
	g.leaving = true
	g.answerLocked(registry.ErrWithdrawn) // an Update that waits
	answer := g.waitLocked()
	g.r.mu.Unlock()
	if err := g.r.await(ctx, answer); err != nil && !errors.Is(err, registry.ErrClosed) {
		return fmt.Errorf("etcd: withdraw %s: %w", g.key, err)
	}
	return nil
}

func (g *registration) goneLocked() error {
	switch {
	case g.r.closed:
		return registry.ErrClosed
	case g.leaving:
		return registry.ErrWithdrawn
	}
	return nil
}

// waitLocked wakes the keeper and returns where its answer comes.
func (g *registration) waitLocked() <-chan error {
	answer := make(chan error, 1)
	g.waiting = append(g.waiting, answer)
	g.r.poke()
	return answer
}

func (g *registration) answerLocked(err error) {
	for _, answer := range g.waiting {
		answer <- err // it has room for the one
	}
	g.waiting = nil
}

// poke wakes the keeper.
func (r *Registry) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Registry) await(ctx context.Context, answer <-chan error) error {
	ctx, cancel := r.within(ctx)
	defer cancel()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return r.why(ctx.Err())
	}
}

// stored notes that etcd has a version of g.
func (r *Registry) stored(g *registration, version int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := g.stored == 0
	g.stored, g.foreign = version, false
	if g.version != version || g.leaving {
		r.poke()
		return
	}
	g.answerLocked(nil)
	if first {
		r.log.Info("announced", "key", g.key, "address", g.entry.Address,
			"lease", fmt.Sprintf("%x", r.lease.id))
	}
}

// taken notes that another holds the key of g. Who is about to announce it hears of that; later
// only the log does, and the keeper tries again in the next round.
func (r *Registry) taken(g *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !g.known && len(g.waiting) > 0 {
		delete(r.entries, g.key)
		g.answerLocked(registry.ErrTaken)
		return
	}
	g.stored = 0
	g.answerLocked(registry.ErrTaken)
	if !g.foreign {
		g.foreign = true
		r.log.Warn("another has announced this instance, waiting until it is free", "key", g.key)
	}
}

// neverPut says that no put of g was carried out, nor can be still. It is the keeper's, with r.mu.
func (g *registration) neverPut() bool { return g.stored == 0 && g.unsure.IsZero() }

// refused notes that etcd has answered with an error. Who waits hears of one that will be the same
// next time.
func (r *Registry) refused(g *registration, err error) {
	r.mu.Lock()
	before := g.refused
	g.refused = true
	if final(err) && (g.leaving || !r.options.Patient) {
		if !g.known && len(g.waiting) > 0 && g.neverPut() {
			delete(r.entries, g.key)
		}
		g.answerLocked(err)
	}
	r.mu.Unlock()
	if !before {
		r.log.Warn("etcd refuses an entry, trying on", "key", g.key, "error", err)
	}
}

// accepted notes that etcd refuses g no longer.
func (r *Registry) accepted(g *registration) {
	r.mu.Lock()
	before := g.refused && !g.leaving
	g.refused = false
	r.mu.Unlock()
	if before {
		r.log.Info("etcd refuses the entry no longer", "key", g.key)
	}
}
