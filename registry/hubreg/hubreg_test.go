package hubreg_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/hubreg"
	"github.com/pithos-ipc/pithos/registry/registrytest"
	"github.com/pithos-ipc/pithos/transport"
)

// patience bounds what takes no time, on a machine that does much else.
const patience = time.Minute

func TestMain(m *testing.M) { registrytest.Main(m, open) }

// member is a registry with a client of its own.
type member struct {
	*hubreg.Registry
	client *hub.Client
}

func open(address string) (registrytest.Closer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := hub.Join(ctx, address, hub.JoinOptions{})
	if err != nil {
		return nil, err
	}
	return &member{hubreg.New(c), c}, nil
}

func (m *member) Close(ctx context.Context) error {
	return errors.Join(m.Registry.Close(ctx), m.client.Close(ctx))
}

// hubs runs a hub until the end of the test, and another one in its place when asked.
type hubs struct {
	t    testing.TB
	path string
	hub  *hub.Hub
}

func newHubs(t testing.TB) *hubs {
	h := &hubs{t: t, path: filepath.Join(t.TempDir(), "hub.sock")}
	h.start()
	t.Cleanup(h.stop)
	return h
}

func (h *hubs) start() {
	h.hub = hub.New(hub.Options{})
	require.NoError(h.t, h.hub.Listen(h.path))
}

func (h *hubs) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = h.hub.Close(ctx) // what it has dropped is not what is tested
}

func TestRegistry(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.World {
		h := newHubs(t)
		return registrytest.World{
			Address: h.path,
			Open:    open,
			Lease:   time.Second, // there is none: the kernel tells
			Restart: func() { h.stop(); h.start() },
		}
	})
}

func opened(t testing.TB, h *hubs) registrytest.Closer {
	t.Helper()
	r, err := open(h.path)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, r.Close(ctx))
	})
	return r
}

// TestRestartIsNotSeen restarts the hub under a watch: who is there is never missing, and who did
// not come back goes after Grace.
func TestRestartIsNotSeen(t *testing.T) {
	h := newHubs(t)
	watcher, provider := opened(t, h), opened(t, h)
	g, err := provider.Announce(t.Context(), registry.Entry{Service: "cart", Address: "x"})
	require.NoError(t, err)
	killed := registrytest.Spawn(t, h.path, registry.Entry{Service: "cart", Address: "y"})
	states, err := watcher.Watch(t.Context(), "cart")
	require.NoError(t, err)
	for entries := range states {
		if len(entries) == 2 {
			break
		}
	}
	h.stop()
	killed.Kill()
	begin := time.Now()
	h.start()
	for entries := range states {
		if len(entries) == 1 {
			require.Equal(t, g.Entry(), entries[0])
			break
		}
		require.Len(t, entries, 2)
	}
	require.GreaterOrEqual(t, time.Since(begin), hubreg.Grace)
}

// TestTwoAtOnce has two announce the same instance again and again: one of them succeeds.
func TestTwoAtOnce(t *testing.T) {
	h := newHubs(t)
	a, b := opened(t, h), opened(t, h)
	e := registry.Entry{Service: "cart", Instance: "i", Address: "x"}
	for range 100 {
		wins := 0
		results := make(chan registry.Registration, 2)
		for _, r := range []registrytest.Closer{a, b} {
			go func() {
				g, err := r.Announce(t.Context(), e)
				if err != nil {
					if !errors.Is(err, registry.ErrTaken) {
						t.Error(err)
					}
					g = nil
				}
				results <- g
			}()
		}
		one, two := <-results, <-results
		for _, g := range []registry.Registration{one, two} {
			if g != nil {
				wins++
				require.NoError(t, g.Withdraw(t.Context()))
			}
		}
		require.Equal(t, 1, wins)
	}
}

// TestNoHub asks while the hub is gone.
func TestNoHub(t *testing.T) {
	h := newHubs(t)
	r := opened(t, h)
	h.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := r.Announce(ctx, registry.Entry{Service: "cart", Address: "x"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = r.Lookup(ctx, "cart")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	h.start()
	entries, err := r.Lookup(t.Context(), "cart")
	require.NoError(t, err)
	require.Empty(t, entries)
}

// TestOthersObjects has somebody publish under the registry's names what is no entry.
func TestOthersObjects(t *testing.T) {
	h := newHubs(t)
	r := opened(t, h).(*member)
	for _, o := range []hub.Object{
		{Name: "registry/cart"}, {Name: "registry/cart", Tag: "a"},
		{Name: "registry/cart", Tag: "b", Info: []byte(`{"address":""}`)},
		{Name: "registry/cart", Tag: "c", Info: []byte(`7`)},
		{Name: "registry/cart", Tag: "/", Info: []byte(`{"address":"x"}`)},
	} {
		o.Handler = transport.HandlerFunc(func(r *transport.Request) { _ = r.Reply(nil) })
		_, err := r.client.Publish(t.Context(), o)
		require.NoError(t, err)
	}
	g, err := r.Announce(t.Context(), registry.Entry{Service: "cart", Address: "x"})
	require.NoError(t, err)
	entries, err := r.Lookup(t.Context(), "cart")
	require.NoError(t, err)
	require.Equal(t, []registry.Entry{g.Entry()}, entries)
}
