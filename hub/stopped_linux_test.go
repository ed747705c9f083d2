package hub_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/internal/paired"
	"github.com/pithos-ipc/pithos/transport"
)

// newChild runs a provider in a process of its own, which is killed at the end.
func newChild(t testing.TB, address string) *exec.Cmd {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), providerAt+"="+address)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	said := make([]byte, len("<nil>\n"))
	_, err = io.ReadFull(out, said)
	require.NoError(t, err)
	require.Equal(t, "<nil>\n", string(said))
	return child
}

// stopped says whether all of a process has stopped, which is some time after the signal.
func stopped(t testing.TB, pid int) bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	require.NoError(t, err)
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(b), ") T ") {
			return false
		}
	}
	return len(tasks) > 0
}

// A provider that is killed with -9 fails its calls at once, and is forgotten.
func TestKilledProvider(t *testing.T) {
	h, path := start(t, hub.Options{})
	a, child := join(t, path, "a"), newChild(t, path)
	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
	eventually(t, func() bool { return stopped(t, child.Process.Pid) }, "the child stops")
	ended := make(chan error, 10)
	for range 10 {
		require.NoError(t, a.Object("stopped").Go(hub.Message{}, nil,
			func(_ []byte, err error) { ended <- err }))
	}
	eventually(t, func() bool { return peerNamed(t, h, "child").Inside == 10 }, "all are inside")
	require.NoError(t, child.Process.Kill())
	for range 10 {
		require.ErrorContains(t, <-ended, "target disconnected")
	}
	eventually(t, func() bool { // the calls may end a moment before the hub forgets it
		_, err := a.Object("stopped").Call(soon(t), "m", nil, nil)
		require.Error(t, err)
		return strings.Contains(err.Error(), "Cannot found any clients")
	}, "it is forgotten")
}

// R3, by way of the hub: while a body of 16 MiB is under way to a provider that is stopped, other
// calls of the same caller go on.
func TestR3LongBodyHoldsUpNoOther(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b, child := join(t, path, "a"), join(t, path, "b"), newChild(t, path)
	echo(t, b, "echo")
	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
	eventually(t, func() bool { return stopped(t, child.Process.Pid) }, "the child stops")
	long, ended := make([]byte, 16<<20-1000), make(chan error, 1)
	require.NoError(t, a.Object("stopped").Go(hub.Message{Method: "m", Payload: long}, nil,
		func(_ []byte, err error) { ended <- err }))
	for range 200 {
		got, err := a.Object("echo").Call(soon(t), "m", []byte("1"), nil)
		require.NoError(t, err)
		require.Equal(t, "1", string(got))
	}
	require.Empty(t, ended)
	require.NoError(t, child.Process.Signal(syscall.SIGCONT))
	require.NoError(t, <-ended)
}

// BenchmarkR14 is a flow of calls, 8 under way, while 10,000 oneways a second go to a consumer
// that is stopped with SIGSTOP, in slices of 20 ms with them and without. Without them is one of
// three things, and cost-% is what R14 wants to be at most 5:
//
//   - another hub: they go to a stopped consumer at another hub, as R14 has it. Nobody polls: a
//     second hub that does wants a processor for itself, and where there are two only, the flow
//     stops polling for want of one, which costs it most of its calls.
//   - a reader: they go to one who takes them, at the same hub, with the polling of the product. It
//     is the flow's own provider, so that no further process wakes up for them.
//   - nobody: they are not sent, so that sending and dropping them is in the cost, too.
//
// Run it with -benchtime 300x.
func BenchmarkR14(b *testing.B) {
	never, usual := time.Duration(0), transport.DefaultBusyPoll
	b.Run("another hub", func(b *testing.B) {
		o, path := startAt(b, never)
		_, other := startAt(b, never)
		beside(b, path, o, stoppedAt(b, path, o), stoppedAt(b, other, o))
	})
	b.Run("a reader", func(b *testing.B) {
		o, path := startAt(b, usual)
		beside(b, path, o, stoppedAt(b, path, o), joinWith(b, path, o).Object("sink"))
	})
	b.Run("nobody", func(b *testing.B) {
		o, path := startAt(b, usual)
		beside(b, path, o, stoppedAt(b, path, o), nil)
	})
}

// startAt starts a hub that polls for so long, and returns the options of clients that do so, too.
func startAt(b *testing.B, poll time.Duration) (o hub.JoinOptions, path string) {
	ho := hub.Options{Policy: hub.DropNewest}
	ho.Transport.BusyPoll = &poll
	o.Redial.Options.BusyPoll = &poll
	_, path = start(b, ho)
	return o, path
}

// stoppedAt is the way to a consumer at the hub of that path which is stopped.
func stoppedAt(b *testing.B, path string, o hub.JoinOptions) *hub.Route {
	require.NoError(b, newChild(b, path).Process.Signal(syscall.SIGSTOP))
	return joinWith(b, path, o).Object("stopped")
}

// beside measures what oneways by on cost a flow at the hub of that path, against those by off, or
// against none.
func beside(b *testing.B, path string, o hub.JoinOptions, on, off *hub.Route) {
	caller, provider := joinWith(b, path, o), joinWith(b, path, o)
	echo(b, provider, "echo")
	_, err := provider.Publish(soon(b), hub.Object{Name: "sink", OnLoop: true,
		Handler: transport.HandlerFunc(func(*hub.Request) {})})
	require.NoError(b, err)
	var beside atomic.Int32
	ctx, cancel := context.WithCancel(context.Background())
	var flows sync.WaitGroup
	flows.Go(func() {
		for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
			route := off
			if beside.Load() == 1 {
				route = on
			}
			for i := 0; i < 10 && route != nil; i++ {
				_ = route.Send(ctx, hub.Message{Payload: []byte("x")})
			}
		}
	})
	defer flows.Wait()
	defer cancel()
	var calls atomic.Int64
	for range 8 {
		flows.Go(func() {
			route, body, buf := caller.Object("echo"), make([]byte, 64), make([]byte, 64)
			for ; ctx.Err() == nil; calls.Add(1) {
				if _, err := route.Call(ctx, "m", body, buf); err != nil && ctx.Err() == nil {
					b.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(time.Second) // until what the consumers do not take is dropped
	var costs paired.Costs
	var rates [2][]float64
	for b.Loop() {
		costs.Quartet(func(on bool) float64 {
			which := 0
			if on {
				which = 1
			}
			beside.Store(int32(which))
			begun, before := time.Now(), calls.Load()
			time.Sleep(20 * time.Millisecond)
			rate := float64(calls.Load()-before) / time.Since(begun).Seconds()
			rates[which] = append(rates[which], rate)
			return rate
		})
	}
	costs.Report(b)
	for i, name := range []string{"control-calls/s", "beside-calls/s"} {
		slices.Sort(rates[i])
		b.ReportMetric(rates[i][len(rates[i])/2], name)
	}
}

// BenchmarkCall is a call of 64 bytes by way of a hub in this process.
func BenchmarkCall(b *testing.B) {
	h := hub.New(hub.Options{})
	path := filepath.Join(b.TempDir(), "hub.sock")
	require.NoError(b, h.Listen(path))
	b.Cleanup(func() { h.Close(soon(b)) })
	caller, provider := join(b, path, "a"), join(b, path, "b")
	echo(b, provider, "echo")
	route, body, buf := caller.Object("echo"), make([]byte, 64), make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := route.Call(context.Background(), "m", body, buf); err != nil {
			b.Fatal(err)
		}
	}
}
