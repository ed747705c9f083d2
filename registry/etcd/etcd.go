// Package etcd keeps the names of package registry in etcd, for services on many machines.
//
// # Keys
//
// An entry is one key under the prefix of the registry, which is DefaultPrefix unless Options say
// otherwise, and belongs to the lease of the registry that announced it:
//
//	key     /pithos/services/<service>/<instance>
//	value   {"address":"http://10.0.0.7:4001","metadata":{"zone":"b"}}
//
// Names have no slash, so that keys split in one way. Keys that do not split, and values that are
// no such JSON or have no address, are skipped and logged once. Anybody may read and write them
// with other tools; `etcdctl get --prefix /pithos/services` shows all there is.
//
// # The lease
//
// A registry has one lease, and one goroutine, the keeper, that does everything with it:
//
//	          grant                 put keys, each by a transaction
//	no lease --------> lease ------------------------------------> kept
//	    ^                |  ^                                       |  every third of the TTL:
//	    |   lease is     |  |    a key is gone, or another's        |  renew, then ask whether
//	    +----------------+  +---------------------------------------+  each key is still ours
//	      not found
//
// The client's own KeepAlive ends without a word when it has lost its lease, and some changes of
// leader close its channel (etcd 15922); then nobody registers again. The keeper asks for each
// renewal by itself and hears the answer. Whatever it does that fails it tries again, after a
// growing pause of up to a third of the TTL: an outage of any length costs only the time until the
// next attempt. Each round also finds a key that somebody deleted, or that a restored backup does
// not have. An entry that etcd refuses holds up no other: it is logged once, and tried again in
// each round; an Announce of one that it will never take fails at once. A put whose answer was lost
// may be done later: so the removal of such a key is repeated for some rounds.
//
// An instance that another holds is not taken from him. If he has taken it while this registry was
// out of reach, that is logged, and the keeper tries until the instance is free.
//
// # Watches
//
// A watch reads all keys of a service, then follows the changes behind that revision. When it is
// cut off, is told that the revision was compacted, or has heard nothing for three TTLs, it reads
// all of them again; the last is for a cluster that was set up anew, whose revisions are lower, so
// that a client would wait for ever.
//
// The package does not run etcd, does not create users or certificates, and does not cache: a
// Lookup asks a majority of the cluster.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/pithos-ipc/pithos/registry"
)

const (
	// DefaultPrefix is what keys begin with.
	DefaultPrefix = "/pithos/services"
	// DefaultTTL is how long an entry stays whose owner was killed.
	DefaultTTL = 10 * time.Second
	// MinTTL is the shortest lease that etcd grants with its usual settings.
	MinTTL = 2 * time.Second
	// MaxTTL is the longest lease that Options take. etcd would take years.
	MaxTTL = 24 * time.Hour
	// DefaultTimeout is how long a call waits for etcd where its context has no deadline.
	DefaultTimeout = 5 * time.Second
)

// Options are where etcd is and how to use it. Only Endpoints are needed.
type Options struct {
	// Endpoints are the members of the cluster, as host:port, or as URLs with http or https.
	Endpoints []string
	// Prefix of all keys; it begins with a slash and does not end with one. "": DefaultPrefix.
	Prefix string
	// TTL of the lease, in whole seconds from MinTTL to MaxTTL. 0: DefaultTTL.
	TTL time.Duration
	// TLS of the connections; nil: none.
	TLS *tls.Config
	// Username and Password, where etcd wants them.
	Username, Password string
	// Patient makes Announce return without an error when etcd is out of reach, or refuses. The
	// entry is added once it is back, or takes it; until then the log says so. Otherwise Announce
	// waits within its context, and fails at once when etcd refuses the entry.
	Patient bool
	// Logger gets what happens to the lease and the entries; nil: slog's default.
	Logger *slog.Logger
}

// Registry is a registry.Registry in etcd.
type Registry struct {
	options Options
	log     *slog.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // the keeper and the watches
	wake    chan struct{}  // to the keeper: something is to be done

	connecting chan struct{}    // a token: held while the client is made
	client     *clientv3.Client // nil until it is made; guarded by mu

	mu      sync.Mutex
	entries map[string]*registration // by key; guarded by mu
	closed  bool                     // guarded by mu
	skipped map[string]bool          // bad keys that the log has; guarded by mu
	trouble error                    // why the keeper's last round failed; guarded by mu

	lease lease // keeper only
	away  bool  // the log says that etcd is out of reach; keeper only
}

var _ registry.Registry = (*Registry)(nil)

// Open returns a registry with these options. It does not wait for etcd: whether it can be reached
// shows at the first call.
func Open(o Options) (*Registry, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	switch {
	case len(o.Endpoints) == 0:
		return nil, errors.New("etcd: no endpoints")
	case !strings.HasPrefix(o.Prefix, "/") || strings.HasSuffix(o.Prefix, "/"):
		return nil, fmt.Errorf("etcd: prefix %q, want one like %q", o.Prefix, DefaultPrefix)
	case o.TTL < MinTTL || o.TTL > MaxTTL || o.TTL%time.Second != 0:
		return nil, fmt.Errorf("etcd: TTL %v, want whole seconds from %v to %v", o.TTL, MinTTL,
			MaxTTL)
	case (o.Username == "") != (o.Password == ""):
		return nil, errors.New("etcd: a user name and a password go together, one is empty")
	}
	r := &Registry{
		options:    o,
		log:        o.Logger,
		wake:       make(chan struct{}, 1),
		connecting: make(chan struct{}, 1),
		entries:    make(map[string]*registration),
		skipped:    make(map[string]bool),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.running.Go(r.keep)
	return r, nil
}

// Close withdraws every entry, ends every watch, and waits for what runs. If etcd cannot be reached
// within ctx the error says so; the entries end with the lease then.
func (r *Registry) Close(ctx context.Context) error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	r.cancel()
	r.running.Wait()
	r.mu.Lock()
	client := r.client
	r.client = nil
	for _, g := range r.entries {
		g.answerLocked(registry.ErrClosed)
	}
	r.mu.Unlock()
	if client == nil {
		return nil
	}
	var err error
	if r.lease.id != clientv3.NoLease {
		ctx, cancel := r.within(ctx)
		defer cancel()
		if _, err = client.Revoke(ctx, r.lease.id); err != nil {
			err = fmt.Errorf("etcd: revoke lease %x, which ends within %v: %w", r.lease.id,
				r.lease.ttl, err)
		}
	}
	if cerr := client.Close(); cerr != nil && !errors.Is(cerr, context.Canceled) && err == nil {
		err = fmt.Errorf("etcd: close: %w", cerr)
	}
	return err
}

// connect returns the client, which it makes if there is none: with a password that takes an etcd
// that answers.
func (r *Registry) connect(ctx context.Context) (*clientv3.Client, error) {
	select {
	case r.connecting <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-r.connecting }()
	r.mu.Lock()
	client, closed := r.client, r.closed
	r.mu.Unlock()
	switch {
	case closed:
		return nil, registry.ErrClosed
	case client != nil:
		return client, nil
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            r.options.Endpoints,
		TLS:                  r.options.TLS,
		Username:             r.options.Username,
		Password:             r.options.Password,
		DialTimeout:          r.patience(),
		DialKeepAliveTime:    10 * time.Second, // etcd takes no less than 5 s
		DialKeepAliveTimeout: 3 * time.Second,
		MaxUnaryRetries:      2, // we try again ourselves, and want to know why
		DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(atOnce),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: backoff.Config{BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2,
					MaxDelay: r.patience()}, // gRPC's own is two minutes
				MinConnectTimeout: DefaultTimeout,
			}),
		},
		Logger: zap.NewNop(), // what fails is returned, and logged by who called
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		client.Close()
		return nil, registry.ErrClosed
	}
	r.client = client
	return client, nil
}

// atOnce lets a request fail while no server can be reached, and say why. The client would have it
// wait until its context ends, which says nothing.
func atOnce(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn,
	next grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return next(ctx, method, request, reply, conn, append(options, grpc.WaitForReady(false))...)
}

// patience is how long one request to etcd may take. An election takes a second or two.
func (r *Registry) patience() time.Duration {
	return min(max(r.options.TTL/3, time.Second), DefaultTimeout)
}

// within gives ctx a deadline if it has none, and ends it with the registry.
func (r *Registry) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}

// why adds to an error what the keeper has met, which says more than that time is over.
func (r *Registry) why(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble != nil && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w (etcd at %s: %w)", err, strings.Join(r.options.Endpoints, ", "),
			r.trouble)
	}
	return err
}

// seconds is the TTL as etcd takes it.
func (r *Registry) seconds() int64 { return int64(math.Round(r.options.TTL.Seconds())) }
