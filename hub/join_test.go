package hub_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// served listens with h on a socket of its own.
func served(t *testing.T, h transport.HandlerFunc) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := transport.Listen(path, transport.Options{Handler: h})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close(soon(t)) })
	return path
}

// TestJoinInTime has the time end at each step of an attempt; the error says at which.
func TestJoinInTime(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		t.Run("hello", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			require.NoError(t, err)
			defer l.Close()
			ctx, cancel := context.WithCancel(t.Context())
			accepted := make(chan net.Conn, 1)
			go func() { // ends with the listener or the first byte of the hello
				defer cancel()
				conn, err := l.Accept()
				accepted <- conn
				if err == nil {
					_, _ = conn.Read(make([]byte, 1))
				}
			}()
			_, err = hub.Join(ctx, path, hub.JoinOptions{
				Redial: transport.RedialOptions{Options: o}})
			require.EqualError(t, err, "hub: join "+path+": no answer to the hello: "+
				context.Canceled.Error())
			require.ErrorIs(t, err, context.Canceled)
			require.NoError(t, (<-accepted).Close())
		})
		t.Run("online", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			held := make(chan transport.Held, 1)
			path := served(t, func(r *transport.Request) {
				held <- r.Hold(nil, 0)
				cancel()
			})
			var asked atomic.Bool
			o.Authorize = func(transport.Credentials) error { asked.Store(true); return nil }
			_, err := hub.Join(ctx, path, hub.JoinOptions{
				Redial: transport.RedialOptions{Options: o}})
			require.EqualError(t, err, "hub: join "+path+": no answer to pithos.online: "+
				context.Canceled.Error())
			_ = (<-held).Fail(wire.CodeCanceled, "") // to nobody
			require.True(t, asked.Load(), "the caller's own policy")
		})
	})
}

// TestJoinRefused names the socket also when it is the server that says no.
func TestJoinRefused(t *testing.T) {
	path := served(t, func(r *transport.Request) { _ = r.Fail(wire.CodeDenied, "not you") })
	_, err := hub.Join(soon(t), path, hub.JoinOptions{})
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "not you")
	var remote *hub.RemoteError
	require.True(t, errors.As(err, &remote), "%v", err)
	require.Equal(t, wire.CodeDenied, remote.Code)
}
