package fuzz_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// harbour makes connected sockets.
type harbour struct {
	l    *net.UnixListener
	dial string // where clients connect
}

// address is where the harbour listens.
func (h *harbour) address() string { return h.l.Addr().String() }

// through is h with clients that connect to a proxy.
func (h *harbour) through(proxy string) *harbour { return &harbour{h.l, proxy} }

func newHarbour(t testing.TB) *harbour {
	t.Helper()
	dir, err := os.MkdirTemp("", "fuzz") // shorter than TempDir: the path has to fit
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return &harbour{l, l.Addr().String()}
}

// sockets returns the two ends of a connection.
func (h *harbour) sockets(t testing.TB) (client, server *net.UnixConn) {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: h.dial, Net: "unix"})
	require.NoError(t, err)
	s, err := h.l.AcceptUnix()
	require.NoError(t, err)
	return c, s
}

// end is one end of a connection under test.
type end struct {
	conn *transport.Conn
	sock *net.UnixConn // the same socket, for faults
}

// connect makes a connection of two ends that have said hello.
func (h *harbour) connect(t testing.TB, client, server transport.Options) (a, b end) {
	t.Helper()
	a.sock, b.sock = h.sockets(t)
	b.conn = serve(t, b.sock, server)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f, err := a.sock.File()
	require.NoError(t, err)
	defer f.Close()
	a.conn, err = transport.ConnFile(ctx, f, client)
	require.NoError(t, err)
	return a, b
}

// serve makes the side of a connection that waits for the hello.
func serve(t testing.TB, sock *net.UnixConn, o transport.Options) *transport.Conn {
	t.Helper()
	f, err := sock.File()
	require.NoError(t, err)
	defer f.Close()
	c, err := transport.ServeFile(f, o)
	require.NoError(t, err)
	return c
}
