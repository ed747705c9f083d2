// Package registry is how services find each other by name: one announces where it is, others look
// it up or watch who comes and goes.
//
//	provider                      registry                        consumer
//	   | Announce {tryrpc, a7, :4001} |                               |
//	   | ---------------------------> |       Watch tryrpc            |
//	   |                              | <---------------------------- |
//	   |   kept alive                 | --- [a7 :4001] -------------> |
//	   | ---------------------------> |                               |
//	   X  killed                      |   the lease ends              |
//	                                  | --- [] ---------------------> |
//
// An entry is under a lease: whoever announced it keeps it alive, and when he is gone without a
// word it vanishes, at the latest when the lease ends. What disturbs a registry in the meantime (a
// server that restarts, a connection that breaks, a lease that got lost) is not the business of
// those who use it: entries are announced again, and watches go on.
//
// Registry is the interface, and registrytest the test suite of what implements it: registry/hubreg
// keeps entries in the hub of one machine and needs no server; registry/etcd keeps them in etcd,
// for many machines.
//
// The package does not check that who is announced answers, does not choose among entries (see
// package balancer), and is no store for configuration.
package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of an Entry, in bytes. They are the same for every registry, and small: an entry is where
// to ask, not what there is to know.
const (
	MaxName     = 200  // of Service and of Instance
	MaxAddress  = 512  // of Address
	MaxMetadata = 2048 // of all keys and values together
)

var (
	// ErrTaken is what Announce returns when the instance of the service is somebody else's.
	ErrTaken = errors.New("registry: instance is announced by another")
	// ErrWithdrawn is what a Registration returns that was withdrawn.
	ErrWithdrawn = errors.New("registry: registration is withdrawn")
	// ErrClosed is what a registry returns that was closed.
	ErrClosed = fmt.Errorf("registry: %w", net.ErrClosed)
)

// Entry is one instance of a service, and where it is.
type Entry struct {
	// Service is the name that it is looked up by. Not empty, at most MaxName bytes of UTF-8,
	// without "/", spaces and control characters.
	Service string `json:"service"`
	// Instance tells the instances of a service apart, by the same rules. In an entry to announce
	// it may be empty: then one is chosen by chance.
	Instance string `json:"instance"`
	// Address is where it is reached, in whatever form those agree upon who use it; a URL, mostly.
	// Not empty, at most MaxAddress bytes.
	Address string `json:"address"`
	// Metadata is what else there is to know: a version, a weight, a zone.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Registry knows who is there. All methods may be used by any number of goroutines. A registry is
// closed by the Close of its type, which withdraws what it announced.
type Registry interface {
	// Announce adds an entry and keeps it alive until it is withdrawn. When it returns without an
	// error the entry is there for everybody; after an error nothing is left of it. ctx is for the
	// announcement, not for the life of the entry.
	Announce(ctx context.Context, e Entry) (Registration, error)
	// Lookup returns all entries of a service, in the order of their instances; none is no error.
	Lookup(ctx context.Context, service string) ([]Entry, error)
	// Watch sends all entries of a service, in the order of their instances, once it knows them and
	// again after each change. Who reads slowly misses states in between, never the last one. While
	// the registry cannot be reached the last known entries hold. The channel is closed when ctx
	// ends or the registry is closed. The entries are shared: they must not be changed.
	Watch(ctx context.Context, service string) (<-chan []Entry, error)
}

// Registration is an entry that was announced.
type Registration interface {
	// Entry returns the entry as it was announced or updated last, with its instance.
	Entry() Entry
	// Update replaces address and metadata; service and instance of e are ignored. When it returns
	// without an error everybody can see the new ones. If it fails, the next attempt to keep the
	// entry alive carries them.
	Update(ctx context.Context, e Entry) error
	// Withdraw removes the entry. When it returns without an error nobody finds it any more; if it
	// fails, the lease still ends it. A second Withdraw does nothing.
	Withdraw(ctx context.Context) error
}

// Check says what is wrong with an entry that somebody wants to announce, with its place, value and
// limit.
func (e Entry) Check() error {
	if err := CheckName("service", e.Service); err != nil {
		return err
	}
	if e.Instance != "" {
		if err := CheckName("instance", e.Instance); err != nil {
			return err
		}
	}
	return e.CheckPlace()
}

// CheckPlace is Check without the names.
func (e Entry) CheckPlace() error {
	switch {
	case e.Address == "":
		return errors.New("registry: address is empty")
	case len(e.Address) > MaxAddress:
		return fmt.Errorf("registry: address of %d bytes, limit %d", len(e.Address), MaxAddress)
	case !utf8.ValidString(e.Address):
		return fmt.Errorf("registry: address %q is not UTF-8", e.Address)
	}
	size := 0
	for key, value := range e.Metadata {
		size += len(key) + len(value)
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return fmt.Errorf("registry: metadata %q: %q is not UTF-8", key, value)
		}
	}
	if size > MaxMetadata {
		return fmt.Errorf("registry: metadata of %d bytes, limit %d", size, MaxMetadata)
	}
	return nil
}

// CheckName says what is wrong with a name; what is "service" or "instance".
func CheckName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("registry: %s is empty", what)
	case len(name) > MaxName:
		return fmt.Errorf("registry: %s of %d bytes, limit %d", what, len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("registry: %s %q is not UTF-8", what, name)
	}
	bad := func(r rune) bool { return r == '/' || unicode.IsSpace(r) || unicode.IsControl(r) }
	if i := strings.IndexFunc(name, bad); i >= 0 {
		return fmt.Errorf("registry: %s %q has a slash, a space or a control character at byte %d",
			what, name, i)
	}
	return nil
}

// Clone returns an entry that shares nothing with e.
func (e Entry) Clone() Entry {
	e.Metadata = maps.Clone(e.Metadata)
	return e
}

// Equal says whether both are the same entry with the same address and metadata.
func (e Entry) Equal(o Entry) bool {
	return e.Service == o.Service && e.Instance == o.Instance && e.Address == o.Address &&
		maps.Equal(e.Metadata, o.Metadata)
}
