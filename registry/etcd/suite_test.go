package etcd_test

import (
	"log/slog"
	"testing"

	"github.com/pithos-ipc/pithos/registry/etcd"
	"github.com/pithos-ipc/pithos/registry/etcd/etcdtest"
	"github.com/pithos-ipc/pithos/registry/registrytest"
)

func TestMain(m *testing.M) { registrytest.Main(m, open) }

func open(address string) (registrytest.Closer, error) {
	o, err := etcd.ParseURL(address)
	if err != nil {
		return nil, err
	}
	o.Logger = slog.New(slog.DiscardHandler)
	return etcd.Open(o)
}

// TestRegistry plays the suite against one server, in a folder of keys of its own for each test.
func TestRegistry(t *testing.T) {
	s := etcdtest.Start(t)
	registrytest.Run(t, func(t *testing.T) registrytest.World {
		return registrytest.World{
			Address: "etcd://" + s.Endpoint() + "/" + t.Name() + "?ttl=2s",
			Open:    open,
			Lease:   etcd.MinTTL,
			Restart: func() { s.Kill(); s.Restart() },
		}
	})
}
