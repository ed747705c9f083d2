// Package registrytest is the test suite that every registry.Registry passes, and whoever writes
// another one may use.
//
//	func TestMain(m *testing.M) { registrytest.Main(m, open) }
//
//	func TestRegistry(t *testing.T) {
//		registrytest.Run(t, func(t *testing.T) registrytest.World { ... })
//	}
//
// The suite opens several registries in one process, and runs the test binary again for processes
// of their own, which it kills.
package registrytest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// Closer is a registry that is closed.
type Closer interface {
	registry.Registry
	Close(ctx context.Context) error
}

// World is a store of names that several processes share. The suite makes one for each of its
// tests.
type World struct {
	// Address is where the store is, in the words of Open. Child processes get it, too.
	Address string
	// Open returns one more registry in this world.
	Open func(address string) (Closer, error)
	// Lease is how long the entries of a process that was killed stay at most.
	Lease time.Duration
	// Restart ends the server of the store without a word and starts it again. nil: it has none.
	Restart func()
}

// child is the environment variable that makes a child of the test binary, with its order.
const child = "PITHOS_REGISTRYTEST_CHILD"

// order is what a child does.
type order struct {
	Address string
	Entry   registry.Entry
}

// Main runs the tests of m, and checks that they leave nothing behind; in a child process it
// announces what the suite asks for. open is that of World.
func Main(m *testing.M, open func(address string) (Closer, error)) {
	text := os.Getenv(child)
	if text == "" {
		transporttest.VerifyNoLeaks(m)
		return
	}
	if err := serve(text, open); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve announces an entry, says so on standard output, and withdraws it on SIGTERM.
func serve(text string, open func(address string) (Closer, error)) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	r, err := open(o.Address)
	if err != nil {
		return err
	}
	announcing, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := r.Announce(announcing, o.Entry); err != nil {
		return err
	}
	fmt.Println(announced)
	<-ctx.Done()
	return r.Close(context.Background())
}

const announced = "announced"

// Process is a child of the test binary that has announced an entry.
type Process struct {
	t   testing.TB
	cmd *exec.Cmd
}

// Spawn starts a child that announces e at address, and waits until it has. At the end of the test
// it is killed.
func Spawn(t testing.TB, address string, e registry.Entry) *Process {
	t.Helper()
	text, err := json.Marshal(order{address, e})
	require.NoError(t, err)
	p := &Process{t, exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), child+"="+string(text))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(p.Kill)
	line := bufio.NewScanner(out)
	require.True(t, line.Scan(), "the child ended: %v", line.Err())
	require.Equal(t, announced, line.Text())
	return p
}

// Kill ends the child as kill -9 does.
func (p *Process) Kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// Terminate ends the child by SIGTERM, and wants it to end well.
func (p *Process) Terminate() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(p.t, p.cmd.Wait())
}
