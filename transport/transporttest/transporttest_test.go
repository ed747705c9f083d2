package transporttest_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

func TestMain(m *testing.M) { transporttest.VerifyNoLeaks(m) }

func echo(r *transport.Request) { _ = r.Reply(r.Body()) }

func TestPairCallsBothWays(t *testing.T) {
	transporttest.CheckLeaks(t)
	o := transport.Options{Handler: transport.HandlerFunc(echo)}
	srv, cli := transporttest.Pair(t, o, o)
	for _, c := range []*transport.Conn{srv, cli} {
		got, err := c.Call(context.Background(), []byte("hello"), nil)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
	}
}

func TestProxyLeavesTheStreamExact(t *testing.T) {
	for name, f := range map[string]transporttest.Faults{
		"as it comes": {},
		"split":       {Split: 7},
		"merge":       {Merge: 8192},
		"delay":       {Delay: 100 * time.Microsecond, Split: 5000},
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.CheckLeaks(t)
			l := transporttest.Listen(t, transport.Options{Handler: transport.HandlerFunc(echo)})
			p := transporttest.NewProxy(t, l.Address(), f)
			c := transporttest.Dial(t, p.Address(), transport.Options{})
			body := bytes.Repeat([]byte("pithos"), 5000)
			got, err := c.Call(context.Background(), body, nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got), p)
		})
	}
}

// throughProxy sends bytes through a proxy and returns what arrived until the end.
func throughProxy(t *testing.T, f transporttest.Faults, sent []byte) []byte {
	path := filepath.Join(t.TempDir(), "raw")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	p := transporttest.NewProxy(t, path, f)
	var got bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = got.ReadFrom(c)
	})
	c, err := net.Dial("unix", p.Address())
	require.NoError(t, err)
	defer c.Close()
	_, _ = c.Write(sent)
	if f.Truncate == 0 && f.Reset == 0 {
		require.NoError(t, c.(*net.UnixConn).CloseWrite())
	} else {
		_, _ = c.Read(make([]byte, 1)) // until the proxy ends it
	}
	wg.Wait()
	return got.Bytes()
}

func TestProxyEndsAConnection(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for name, f := range map[string]transporttest.Faults{
		"reset":    {Reset: 1000, Seed: 1},
		"truncate": {Truncate: 1000, Seed: 3},
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.CheckLeaks(t)
			got := throughProxy(t, f, sent)
			require.Less(t, len(got), 1000)
			require.True(t, bytes.HasPrefix(sent, got))
			require.Equal(t, got, throughProxy(t, f, sent), "the same seed, the same end")
		})
	}
}

func TestProxyCut(t *testing.T) {
	transporttest.CheckLeaks(t)
	l := transporttest.Listen(t, transport.Options{})
	p := transporttest.NewProxy(t, l.Address(), transporttest.Faults{})
	c := transporttest.Dial(t, p.Address(), transport.Options{})
	p.Cut()
	<-c.Done()
	require.ErrorIs(t, c.Err(), transport.ErrConnLost)
	transporttest.Dial(t, p.Address(), transport.Options{})
}

// reporter is a testing.TB that keeps what it is told.
type reporter struct {
	testing.TB
	cleanups []func()
	failed   bool
}

func (r *reporter) Helper()               { /* nothing to mark */ }
func (r *reporter) Cleanup(f func())      { r.cleanups = append(r.cleanups, f) }
func (r *reporter) Error(...any)          { r.failed = true }
func (r *reporter) Errorf(string, ...any) { r.failed = true }
func (r *reporter) finish() (failed bool) {
	for _, f := range r.cleanups {
		f()
	}
	return r.failed
}

func TestCheckLeaksSees(t *testing.T) {
	const wait = time.Second // what has leaked does not go away
	t.Run("goroutine", func(t *testing.T) {
		r := &reporter{TB: t}
		transporttest.CheckLeaksWithin(r, wait)
		stop := make(chan struct{})
		go func() { <-stop }()
		require.True(t, r.finish())
		close(stop)
	})
	t.Run("descriptor", func(t *testing.T) {
		r := &reporter{TB: t}
		transporttest.CheckLeaksWithin(r, wait)
		f, err := os.Open(t.TempDir())
		require.NoError(t, err)
		_, statErr := os.Stat("/proc/self/fd")
		require.Equal(t, statErr == nil, r.finish())
		require.NoError(t, f.Close())
	})
	t.Run("nothing", func(t *testing.T) {
		r := &reporter{TB: t}
		transporttest.CheckLeaks(r)
		require.False(t, r.finish())
	})
}
