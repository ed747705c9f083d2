package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/internal/feed"
)

// Lookup is registry.Registry's. While etcd is out of reach it tries until ctx ends.
func (r *Registry) Lookup(ctx context.Context, service string) ([]registry.Entry, error) {
	if err := registry.CheckName("service", service); err != nil {
		return nil, err
	}
	ctx, cancel := r.within(ctx)
	defer cancel()
	var why error // the last one that is more than an end of time
	for pause := firstPause; ; pause *= 2 {
		entries, _, err := r.list(ctx, service)
		if err == nil {
			return feed.Sorted(entries), nil
		}
		if why == nil || !errors.Is(err, context.DeadlineExceeded) {
			why = err
		}
		if !passing(err) {
			return nil, fmt.Errorf("etcd: look up %s: %w", service, err)
		}
		if !sleep(ctx, pause) {
			return nil, fmt.Errorf("etcd: look up %s: %w (etcd at %s: %w)", service, ctx.Err(),
				strings.Join(r.options.Endpoints, ", "), why)
		}
	}
}

// passing says whether an error may be over soon: a server that cannot be reached, or is busy with
// an election.
func passing(err error) bool {
	code := status.Code(err)
	if said, ok := errors.AsType[rpctypes.EtcdError](err); ok { // by etcd, not by gRPC
		code = said.Code()
	}
	return code == codes.Unavailable || errors.Is(err, context.DeadlineExceeded)
}

// sleep waits, and says whether ctx let it.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// list returns the entries of a service and the revision that they are of.
func (r *Registry) list(ctx context.Context, service string) (map[string]registry.Entry, int64,
	error) {
	ctx, cancel := context.WithTimeout(ctx, r.patience())
	defer cancel()
	client, err := r.connect(ctx)
	if err != nil {
		return nil, 0, err
	}
	reply, err := client.Get(ctx, r.folder(service), clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	entries := make(map[string]registry.Entry, len(reply.Kvs))
	r.collect(entries, service, reply.Kvs...)
	return entries, reply.Header.Revision, nil
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
	f := feed.New()
	r.running.Go(func() {
		defer close(f.C)
		defer cancel()
		defer stop()
		r.watch(ctx, service, f)
	})
	return f.C, nil
}

// watch keeps f up to date until ctx ends.
func (r *Registry) watch(ctx context.Context, service string, f *feed.Feed) {
	for pause := firstPause; ctx.Err() == nil; {
		entries, revision, err := r.list(ctx, service)
		if err == nil {
			pause = firstPause
			f.Send(entries)
			err = r.follow(ctx, service, revision, entries, f)
		}
		if err != nil && ctx.Err() == nil {
			r.log.Debug("watch is interrupted", "service", service, "error", err)
			sleep(ctx, pause)
			pause = min(2*pause, r.options.TTL/3)
		}
	}
}

// follow sends the changes behind a revision, until it is time to read all of them again, which is
// no error.
func (r *Registry) follow(ctx context.Context, service string, revision int64,
	entries map[string]registry.Entry, f *feed.Feed) error {
	client, err := r.connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*r.options.TTL)
	defer cancel()
	// a member without a leader knows no changes, and ends the watch
	changes := client.Watch(clientv3.WithRequireLeader(ctx), r.folder(service),
		clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	for reply := range changes {
		if err := reply.Err(); err != nil {
			return err
		}
		next := make(map[string]registry.Entry, len(entries)+len(reply.Events))
		for instance, e := range entries {
			next[instance] = e
		}
		for _, event := range reply.Events {
			if event.Type == clientv3.EventTypeDelete {
				delete(next, strings.TrimPrefix(string(event.Kv.Key), r.folder(service)))
				continue
			}
			r.collect(next, service, event.Kv)
		}
		entries = next
		f.Send(entries)
	}
	if ctx.Err() == nil {
		return errors.New("watch ended")
	}
	return nil
}
