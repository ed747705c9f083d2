package hubreg

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/internal/feed"
)

const retryPause = 100 * time.Millisecond

// watcher follows one service. The client's loop tells it what comes and goes, a goroutine of its
// own sends states.
type watcher struct {
	r     *Registry
	feed  *feed.Feed
	dirty chan struct{} // there is something new

	mu   sync.Mutex
	here places // guarded by mu
}

// Watch is registry.Registry's.
func (r *Registry) Watch(ctx context.Context, service string) (<-chan []registry.Entry, error) {
	if err := registry.CheckName("service", service); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, registry.ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.ctx, cancel)
	w := &watcher{r: r, feed: feed.New(), dirty: make(chan struct{}, 1), here: make(places)}
	r.running.Go(func() {
		defer close(w.feed.C)
		defer cancel()
		defer stop()
		w.run(ctx, service)
	})
	return w.feed.C, nil
}

// run watches until ctx ends, or the client has left the hub.
func (w *watcher) run(ctx context.Context, service string) {
	watch, err := w.r.client.Watch(ctx, selector(service, ""), w.event)
	for err != nil {
		if ctx.Err() != nil || errors.Is(err, hub.ErrLeft) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryPause):
		}
		watch, err = w.r.client.Watch(ctx, selector(service, ""), w.event)
	}
	w.send(ctx)
	stop, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	_ = watch.Stop(stop) // a hub that does not answer tells nothing either
}

// send sends states until ctx ends.
func (w *watcher) send(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		w.mu.Lock()
		next := w.here.expire(time.Now())
		entries := w.here.entries()
		w.mu.Unlock()
		w.feed.Send(entries)
		var expired <-chan time.Time
		if !next.IsZero() {
			timer.Reset(time.Until(next))
			expired = timer.C
		}
		select {
		case <-ctx.Done():
		case <-w.dirty:
		case <-expired:
		}
	}
}

// event is called on the client's loop.
func (w *watcher) event(e hub.Event) {
	w.mu.Lock()
	switch {
	case e.Up:
		w.here.add(&e.Provider)
	case w.r.client.Peer() == 0: // about to join again: the others may still be on their way
		w.here.drop(&e.Provider, time.Now().Add(Grace))
	default:
		w.here.drop(&e.Provider, time.Time{})
	}
	w.mu.Unlock()
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}
