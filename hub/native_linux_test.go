package hub_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// echo answers with the payload, on the loop.
func echo(t testing.TB, c *hub.Client, name string) {
	t.Helper()
	_, err := c.Publish(soon(t), hub.Object{Name: name, OnLoop: true,
		Handler: transport.HandlerFunc(func(r *transport.Request) { _ = r.Reply(r.Body()) })})
	require.NoError(t, err)
}

// R33, by way of the hub: a call on a resolved route allocates nothing, in the caller, the hub and
// the provider together; all are in this process.
func TestAllocsNativeCall(t *testing.T) {
	if hub.RaceDetector {
		t.Skip("a build without the race detector is missing: sync.Pool allocates in this one")
	}
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	echo(t, b, "echo")
	route := a.Object("echo")
	body, buf := make([]byte, 64), make([]byte, 64)
	ended := make(chan error, 1)
	done := func(_ []byte, err error) { ended <- err }
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	for name, once := range map[string]func(){
		"call": func() {
			_, err := route.Call(context.Background(), "m", body, buf)
			must(err)
		},
		"with a timeout": func() {
			_, err := route.Do(context.Background(), hub.Message{Method: "m", Payload: body,
				Timeout: 20 * time.Second}, buf)
			must(err)
		},
		"callback": func() {
			must(route.Go(hub.Message{Method: "m", Payload: body}, buf, done))
			must(<-ended)
		},
		"oneway": func() {
			must(route.Send(context.Background(), hub.Message{Method: "m", Payload: body}))
			_, err := route.Call(context.Background(), "m", body, buf)
			must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2000 { // pools and buffers find their sizes
				once()
			}
			require.Zero(t, mallocs(1000, once), "allocations of a call")
		})
	}
}

// mallocs returns the allocations of one run of f, of all goroutines, averaged and rounded down.
// What the collector frees from the pools is allocated once more: a few in all are none in one.
func mallocs(runs int, f func()) uint64 {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.Mallocs - before.Mallocs) / uint64(runs)
}

// 100,000 single publishes through one connection while calls go on. In full it wants 2 s.
func TestManyPublishes(t *testing.T) {
	n := 5_000
	if long() {
		n = 100_000
	}
	_, path := start(t, hub.Options{})
	a, b, c := join(t, path, "a"), join(t, path, "b"), join(t, path, "c")
	echo(t, b, "echo")
	stop := make(chan struct{})
	var calls sync.WaitGroup
	made := 0
	calls.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, err := a.Object("echo").Call(context.Background(), "m", nil, nil)
			if err != nil {
				t.Error(err)
				return
			}
			made++
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	begin := time.Now()
	publishers := make(chan int, n)
	for i := range n {
		publishers <- i
	}
	close(publishers)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for i := range publishers {
				_, err := c.Publish(ctx, hub.Object{Name: fmt.Sprint("object-", i),
					Handler: transport.HandlerFunc(calculator)})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(begin)
	close(stop)
	calls.Wait()
	t.Logf("%d publishes in %v, %d calls meanwhile", n, took, made)
	require.Positive(t, made)
	if n == 100_000 {
		require.Less(t, took, 20*2*time.Second)
	}
	found, err := a.Lookup(ctx, object(fmt.Sprint("object-", n-1), ""))
	require.NoError(t, err)
	require.Len(t, found, 1)
}

// A storm of peers: all of them connect at once, publish, call each other, and leave.
func TestConnectStorm(t *testing.T) {
	n := 300
	if long() {
		n = 10_000
	}
	h := hub.New(hub.Options{})
	path := filepath.Join(t.TempDir(), "hub.sock")
	require.NoError(t, h.Listen(path))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	group, err := transport.NewGroup(1, 0)
	require.NoError(t, err)
	o := hub.JoinOptions{Workers: 1}
	o.Redial.Options.Group = group
	clients := make([]*hub.Client, n)
	begin := time.Now()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c, err := hub.Join(ctx, path, o)
			if err != nil {
				t.Error(err)
				return
			}
			clients[i] = c
			_, err = c.Publish(ctx, hub.Object{Name: fmt.Sprint("peer-", i), OnLoop: true,
				Handler: transport.HandlerFunc(func(r *transport.Request) { _ = r.Reply(nil) })})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	t.Logf("%d peers joined and published in %v", n, time.Since(begin))
	require.Equal(t, n, h.Stats().Peers)
	slowest := time.Duration(0)
	for i := range n {
		begin := time.Now()
		_, err := clients[i].Object(fmt.Sprint("peer-", (i+1)%n)).Call(ctx, "m", nil, nil)
		require.NoError(t, err)
		slowest = max(slowest, time.Since(begin))
	}
	t.Logf("slowest first call %v", slowest)
	for _, c := range clients {
		all.Go(func() {
			if err := c.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	eventually(t, func() bool { return h.Stats().Peers == 0 }, "all have left")
	require.Zero(t, h.Stats().Selectors)
	require.NoError(t, h.Close(ctx))
	require.NoError(t, group.Close())
}
