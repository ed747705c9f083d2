package hub_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
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

// A provider that is killed with -9 fails its calls at once, and is forgotten.
func TestKilledProvider(t *testing.T) {
	h, path := start(t, hub.Options{})
	a, child := join(t, path, "a"), newChild(t, path)
	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
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
	_, err := a.Object("stopped").Call(soon(t), "m", nil, nil)
	require.ErrorContains(t, err, "Cannot found any clients")
}

// BenchmarkR14 is a flow of calls beside one to a consumer that is stopped with SIGSTOP: "beside"
// at the same hub, "control" with the stopped one at a hub of its own. R14 wants at least 0.95 of
// the control's calls.
func BenchmarkR14(b *testing.B) {
	for _, name := range []string{"control", "beside"} {
		b.Run(name, func(b *testing.B) {
			_, path := start(b, hub.Options{Policy: hub.DropNewest})
			other := path
			if name == "control" {
				_, other = start(b, hub.Options{Policy: hub.DropNewest})
			}
			caller, provider, flooder := join(b, path, "a"), join(b, path, "b"),
				join(b, other, "flooder")
			echo(b, provider, "echo")
			child := newChild(b, other)
			require.NoError(b, child.Process.Signal(syscall.SIGSTOP))
			ctx, cancel := context.WithCancel(context.Background())
			flooded := make(chan struct{})
			go func() {
				defer close(flooded)
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for ctx.Err() == nil {
					for range 10 { // 10,000 a second
						_ = flooder.Object("stopped").Send(ctx, hub.Message{Payload: []byte("x")})
					}
					<-tick.C
				}
			}()
			route, body, buf := caller.Object("echo"), make([]byte, 64), make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := route.Call(context.Background(), "m", body, buf); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			cancel()
			<-flooded
		})
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
