// Package hubreg keeps the names of package registry in the hub, for the processes of one machine.
// It needs no server besides, and no lease that has to be renewed.
//
// # Entries
//
// An entry is an object that is published at the hub and answers no calls:
//
//	name   registry/<service>
//	tag    <instance>
//	info   {"address":"http://127.0.0.1:4001","metadata":{"zone":"b"}}
//
// It lives as long as the connection of the client that published it: the kernel tells the hub at
// once when a process was killed. `pithos ls objects` shows entries like other objects.
//
// # When the hub is gone
//
// Watches keep what they knew last, and Announce and Lookup wait within their contexts. The client
// joins the hub again when it is back, and publishes again; watches do so as well, and may be
// quicker than those they watch. So what a watch does not find again right after it has rejoined
// stays for Grace. A Lookup has no such memory.
//
// # Two of one name
//
// Announce asks the hub whether the instance is there, publishes, and asks again. Who sees another
// then has not been the first, or both do it at the same time: then the one whose peer number is
// higher takes his back. If two come to be nevertheless (each had announced it at a hub of its
// own), the one with the lower number is shown.
//
// The package does not check that who announces is who he says, and does not cross machines.
package hubreg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/internal/feed"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

const (
	// Grace is how long a watch shows those that it does not find after it has rejoined the hub.
	Grace = 3 * time.Second
	// Timeout is how long a call waits for the hub where its context has no deadline.
	Timeout = 5 * time.Second

	prefix = "registry/" // of the names of objects
)

// Registry is a registry.Registry at a hub.
type Registry struct {
	client  *hub.Client
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // watches, and announcements that were given up

	mu      sync.Mutex
	entries map[*registration]bool // guarded by mu
	closed  bool                   // guarded by mu
}

var _ registry.Registry = (*Registry)(nil)

// New returns a registry at the hub that c is joined to. c stays the caller's, and has to stay open
// until the registry is closed.
func New(c *hub.Client) *Registry {
	r := &Registry{client: c, entries: make(map[*registration]bool)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close withdraws every entry, ends every watch, and waits for what runs.
func (r *Registry) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	left := make([]*registration, 0, len(r.entries))
	for g := range r.entries {
		left = append(left, g)
	}
	r.mu.Unlock()
	r.cancel()
	var errs []error
	for _, g := range left {
		errs = append(errs, g.withdraw(ctx))
	}
	r.running.Wait()
	return errors.Join(errs...)
}

// info is what an object says beyond its name and tag.
type info struct {
	Address  string            `json:"address"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// object returns what is published for an entry.
func object(e registry.Entry) (hub.Object, error) {
	text, err := json.Marshal(info{e.Address, e.Metadata})
	if err != nil {
		return hub.Object{}, err
	}
	return hub.Object{Name: prefix + e.Service, Tag: e.Instance, Info: text, OnLoop: true,
		Handler: transport.HandlerFunc(refuse)}, nil
}

// refuse answers who calls an entry.
func refuse(r *transport.Request) {
	_ = r.Fail(wire.CodeNoMethod, "an entry of the registry has no methods")
}

// parse returns the entry that an object is. Others may publish what is none.
func parse(p *hub.Provider) (registry.Entry, bool) {
	var i info
	if json.Unmarshal(p.Info, &i) != nil {
		return registry.Entry{}, false
	}
	e := registry.Entry{Service: p.Selector.ObjectName[len(prefix):],
		Instance: p.Selector.ObjectTag, Address: i.Address, Metadata: i.Metadata}
	return e, e.Instance != "" && e.Check() == nil
}

// selector finds the entries of a service, or one of them.
func selector(service, instance string) hub.Selector {
	return hub.Selector{ObjectName: prefix + service, ObjectTag: instance}
}

// Lookup is registry.Registry's. While there is no hub it waits for one, until ctx ends.
func (r *Registry) Lookup(ctx context.Context, service string) ([]registry.Entry, error) {
	if err := registry.CheckName("service", service); err != nil {
		return nil, err
	}
	if r.ctx.Err() != nil {
		return nil, registry.ErrClosed
	}
	ctx, cancel := within(ctx)
	defer cancel()
	found, err := r.client.Lookup(ctx, selector(service, ""))
	if err != nil {
		return nil, fmt.Errorf("hubreg: look up %s: %w", service, err)
	}
	var all places
	for i := range found {
		all.add(&found[i])
	}
	return feed.Sorted(all.entries()), nil
}

// within gives ctx a deadline if it has none.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, Timeout)
}
