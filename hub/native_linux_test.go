//go:build linux && !portable

package hub_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

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
				Timeout: patience}, buf)
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

// A storm of peers, in processes of their own: all of them connect at once, publish, call each
// other, and leave. In full there are 10,000.
func TestConnectStorm(t *testing.T) {
	n, children := 400, 2
	if long() {
		n, children = 10_000, 4
	}
	h, path := start(t, hub.Options{})
	_, small := start(t, hub.Options{})
	quiet, a := join(t, small, "quiet"), join(t, path, "a") // both have shared memory
	echo(t, quiet, "echo")
	echo(t, a, "echo")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	each := n / children
	storm := make([]*stormer, children)
	begin := time.Now()
	for i := range storm {
		storm[i] = newStormer(t, fmt.Sprintf("%s %d %d %d", path, i*each, each, n))
	}
	for _, s := range storm {
		s.says(t, "joined")
	}
	t.Logf("%d peers joined and published in %v", n, time.Since(begin))
	require.Equal(t, n+1, h.Stats().Peers)
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d bytes of heap for each peer", int(after.HeapAlloc-before.HeapAlloc)/n)
	for _, s := range storm {
		s.told(t)
		s.says(t, "called")
	}
	many, few := typical(t, a, quiet)
	t.Logf("a call takes %v beside %d peers, and %v beside none", many, n, few)
	require.Less(t, many, 20*2*few)
	for _, s := range storm {
		s.told(t)
	}
	for _, s := range storm {
		s.says(t, "left")
	}
	eventually(t, func() bool { return h.Stats().Peers == 1 }, "all have left")
	require.Equal(t, 3, h.Stats().Selectors, "the connection, its location, its object")
}

// typical are the median times of a call to "echo" by each of two, in turns, so that both have the
// same to do with whatever else the machine does.
func typical(t *testing.T, one, other *hub.Client) (time.Duration, time.Duration) {
	const n = 500
	var took [2][]time.Duration
	for range n {
		for i, c := range []*hub.Client{one, other} {
			begin := time.Now()
			_, err := c.Object("echo").Call(context.Background(), "m", nil, nil)
			require.NoError(t, err)
			took[i] = append(took[i], time.Since(begin))
		}
	}
	slices.Sort(took[0])
	slices.Sort(took[1])
	return took[0][n/2], took[1][n/2]
}

// stormer is a process with many peers.
type stormer struct {
	in  io.Writer
	out *bufio.Scanner
}

func newStormer(t testing.TB, args string) *stormer {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), stormAt+"="+args)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	require.NoError(t, err)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	return &stormer{in, bufio.NewScanner(out)}
}

func (s *stormer) says(t testing.TB, want string) {
	t.Helper()
	require.True(t, s.out.Scan(), "the process has ended")
	require.Equal(t, want, s.out.Text())
}

func (s *stormer) told(t testing.TB) {
	_, err := s.in.Write([]byte{'\n'})
	require.NoError(t, err)
}
