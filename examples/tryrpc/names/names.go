// Package names is the registry's client as a service: it opens the registry that the process file
// names, and closes it at the end.
package names

import (
	"context"
	"fmt"
	"strings"

	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/etcd"
	"github.com/pithos-ipc/pithos/registry/hubreg"
	"github.com/pithos-ipc/pithos/service"
)

// Name is what the service is called.
const Name = "registry"

// Names is the registry.
type Names struct {
	registry.Registry

	env   *service.Env
	close func(ctx context.Context) error
}

// Definition is what a process lists among its services.
func Definition() service.Definition {
	return service.Definition{Name: Name, New: func(e *service.Env) (service.Service, error) {
		return &Names{env: e}, nil
	}}
}

// Start opens the registry.
func (n *Names) Start(ctx context.Context) error {
	switch scheme, _, _ := strings.Cut(n.env.Assignment.Registry, ":"); scheme {
	case "hub":
		return n.openHub(ctx)
	case "etcd", "etcds":
		return n.openEtcd()
	default:
		return fmt.Errorf("registry %q, want hub: or etcd://host:port", n.env.Assignment.Registry)
	}
}

// openHub uses the hub that all processes of the application share.
func (n *Names) openHub(ctx context.Context) error {
	c, err := n.env.Hub(ctx)
	if err != nil {
		return err
	}
	r := hubreg.New(c)
	n.Registry, n.close = r, r.Close
	return nil
}

func (n *Names) openEtcd() error {
	o, err := etcd.ParseURL(n.env.Assignment.Registry)
	if err != nil {
		return err
	}
	o.Logger = n.env.Log
	r, err := etcd.Open(o)
	if err != nil {
		return err
	}
	n.Registry, n.close = r, r.Close
	return nil
}

// Stop withdraws what is left and closes the registry.
func (n *Names) Stop(ctx context.Context) error { return n.close(ctx) }
