package fuzz_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// patience is how long anything may take before it counts as a hang. Long bodies through small
// buffers take seconds on a busy machine under the race detector.
const patience = 30 * time.Second

// engine is one of the two that drive connections.
type engine struct {
	name    string
	options func(transport.Options) transport.Options
}

func engines() []engine {
	return []engine{
		{"default", func(o transport.Options) transport.Options { return o }},
		{"socket", func(o transport.Options) transport.Options {
			o.Socket.Lane = transport.LaneOff
			return o
		}},
		{"portable", transport.Options.Portable},
	}
}

// requireSame wants every engine to have come to the same as the portable one.
func requireSame[T any](t testing.TB, got []T) {
	t.Helper()
	for i, e := range engines() {
		require.Equal(t, got[len(got)-1], got[i], "portable engine, %s engine", e.name)
	}
}

// eventually waits until cond holds. What does not come about in time is a hang: the stacks show
// where.
func eventually(t testing.TB, cond func() bool, what string, args ...any) {
	t.Helper()
	end := time.Now().Add(patience)
	for pause := 10 * time.Microsecond; !cond(); pause = min(2*pause, 5*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after %s\n%s", fmt.Sprintf(what, args...), patience, stacks())
		}
		time.Sleep(pause)
	}
}

// show puts off what f looks at until it is printed.
type show[T any] func() T

func (f show[T]) String() string { return fmt.Sprintf("%+v", f()) }

// await waits for ch to be closed.
func await(t testing.TB, ch <-chan struct{}, what string, args ...any) {
	t.Helper()
	select {
	case <-ch:
		return
	default:
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-ch:
	case <-late.C:
		t.Fatalf("%s: not after %s\n%s", fmt.Sprintf(what, args...), patience, stacks())
	}
}

func stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}

// census is what must be the same before and after.
type census struct {
	goroutines int
	fds        int
}

func takeCensus(t testing.TB) census {
	t.Helper()
	c := census{goroutines: runtime.NumGoroutine(), fds: -1}
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		c.fds = len(list)
	}
	return c
}

// requireNoLeak waits until there are no more goroutines and descriptors than before.
func requireNoLeak(t testing.TB, before census) {
	t.Helper()
	var now census
	eventually(t, func() bool {
		now = takeCensus(t)
		return now.goroutines <= before.goroutines && now.fds <= before.fds
	}, "back to %+v", before)
}

func TestMain(m *testing.M) { transporttest.VerifyNoLeaks(m) }

// TestSeeds wants every target to have a corpus in the tree.
func TestSeeds(t *testing.T) {
	for _, target := range []string{"FuzzConn", "FuzzEngines", "FuzzServer", "FuzzClient"} {
		seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		require.NoError(t, err)
		require.NotEmpty(t, seeds, target)
	}
}
