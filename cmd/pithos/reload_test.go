package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/daemon"
	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
	"github.com/pithos-ipc/pithos/service"
)

// beService makes the test binary be a process whose service is published at the hub.
const beService = "PITHOS_TEST_BE_SERVICE"

// clerk is the service; its methods say which process answers.
type clerk struct{}

func (clerk) Start(context.Context) error { return nil }
func (clerk) Stop(context.Context) error  { return nil }

// Echo returns n and the pid.
func (clerk) Echo(n int) [2]int { return [2]int{n, os.Getpid()} }

// Work does the same after a while.
func (c clerk) Work(ctx context.Context, n int) ([2]int, error) {
	select {
	case <-time.After(20 * time.Millisecond):
		return c.Echo(n), nil
	case <-ctx.Done():
		return [2]int{}, ctx.Err()
	}
}

func serveClerk() {
	service.Main(service.Definition{Name: "clerk",
		New:    func(*service.Env) (service.Service, error) { return clerk{}, nil },
		Object: func(s service.Service) any { return s },
	})
}

// clerks writes a process file of three of them, starts it in the background and joins its hub.
func clerks(t *testing.T) *hub.Client {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := background(t, fmt.Sprintf(`
name: shop
env: {%s: "1"}
processes:
  clerk: {command: [%q], scale: 3, ready: notify, restart: {delay: 10ms}, stop: {window: 30s}}
services:
  clerk: {process: clerk}
`, beService, self))
	succeeds(t, "start", dir)
	path := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "pithos", "hub.sock")
	c, err := hub.Join(t.Context(), path, hub.JoinOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	return c
}

// customers call clerks at a rate, whether those keep up or not. Each hundredth call takes a while,
// so that there are always some under way.
type customers struct {
	route   *hub.Route
	due     chan struct{}
	calls   atomic.Int64
	failed  atomic.Int64
	callers sync.WaitGroup

	mu    sync.Mutex
	errs  []error     // the first ones; guarded by mu
	pids  map[int]int // answers by process; guarded by mu
	begin time.Time
}

const callers = 128

// serveCustomers calls until stop is called: rate times a second, or as often as it can if it is 0.
func serveCustomers(c *hub.Client, rate float64) (s *customers, stop func() (perSecond float64)) {
	s = &customers{route: c.Object("clerk"), due: make(chan struct{}, callers),
		pids: make(map[int]int), begin: time.Now()}
	over := make(chan struct{})
	for range callers {
		s.callers.Go(func() {
			for range s.due {
				s.call(int(s.calls.Add(1)))
			}
		})
	}
	s.callers.Go(func() {
		defer close(s.due)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for sent := 0.0; ; {
			for rate == 0 || sent < rate*time.Since(s.begin).Seconds() {
				select {
				case s.due <- struct{}{}:
					sent++
				case <-over:
					return
				}
			}
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	})
	return s, func() float64 {
		took := time.Since(s.begin)
		close(over)
		s.callers.Wait()
		return float64(s.calls.Load()) / took.Seconds()
	}
}

func (s *customers) call(n int) {
	method := "echo"
	if n%100 == 0 {
		method = "work"
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := object.Call[[2]int](ctx, s.route, method, n)
	if err == nil && got[0] != n {
		err = fmt.Errorf("%s %d is answered by %v", method, n, got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.pids[got[1]]++
		return
	}
	s.failed.Add(1)
	if len(s.errs) < 10 {
		s.errs = append(s.errs, err)
	}
}

// answered waits until each of these has answered.
func (s *customers) answered(t *testing.T, pids []int) {
	t.Helper()
	await(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !slices.ContainsFunc(pids, func(pid int) bool { return s.pids[pid] == 0 })
	})
}

// instances are those of a process of shop.
func instances(t *testing.T, process string) (found []daemon.Instance) {
	t.Helper()
	for _, p := range status(t)[0].Processes {
		if p.Name == process {
			found = p.Instances
		}
	}
	require.NotEmpty(t, found)
	return found
}

// numbers are the pids of instances that are ready.
func numbers(t *testing.T, all []daemon.Instance) (pids []int) {
	t.Helper()
	for _, i := range all {
		require.Equal(t, "ready", i.State)
		pids = append(pids, i.PID)
	}
	return pids
}

// R27: the processes behind an object are replaced under 10,000 calls a second, or half of what the
// machine carries. Not one call fails, and all of the new ones serve.
func TestR27ReloadUnderLoad(t *testing.T) {
	c := clerks(t)
	warm, most := serveCustomers(c, 0)
	time.Sleep(500 * time.Millisecond)
	rate := min(10_000, most()/2)
	require.Empty(t, warm.errs)

	s, stop := serveCustomers(c, rate)
	reloads := 2
	if os.Getenv("PITHOS_LONG") != "" {
		reloads = 50
	}
	for range reloads {
		before := numbers(t, instances(t, "clerk"))
		s.answered(t, before)
		require.Contains(t, succeeds(t, "reload", "shop/clerk"), "replaced clerk\n")
		after := numbers(t, instances(t, "clerk"))
		require.Len(t, after, len(before))
		for _, pid := range after {
			require.NotContains(t, before, pid)
		}
		s.answered(t, after)
	}
	took := time.Since(s.begin)
	perSecond := stop()
	t.Logf("%d calls, %.0f a second of %.0f wanted, %d reloads of 3 in %v", s.calls.Load(),
		perSecond, rate, reloads, took.Round(time.Millisecond))
	require.Empty(t, s.errs, "%d calls failed", s.failed.Load())
}

// TestDaemonWithoutProgram has the daemon's program removed, as "go run" does when "start" is over,
// and installers do. When its hub is killed it starts again all the same.
func TestDaemonWithoutProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // a program that is gone cannot be started there
	}
	dir := background(t, "name: shop\nprocesses: {x: {command: sleep 1000}}")
	start := process(t, "start", dir)
	program, err := os.ReadFile(start.Path)
	require.NoError(t, err)
	start.Path = filepath.Join(t.TempDir(), "pithos")
	require.NoError(t, os.WriteFile(start.Path, program, 0o700))
	out, err := start.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Remove(start.Path))
	require.NoError(t, syscallKill(instances(t, "hub")[0].PID))
	await(t, func() bool {
		hub := instances(t, "hub")[0]
		require.NotEqual(t, "failed", hub.State, hub.Reason)
		return hub.State == "ready" && hub.Restarts == 1
	})
}
