package transport_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

func TestListenNet(t *testing.T) {
	transporttest.CheckLeaks(t)
	path := filepath.Join(t.TempDir(), "http.sock")
	l, err := transport.ListenNet(path)
	require.NoError(t, err)
	require.Equal(t, path, l.Addr().String())
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket|0o600, st.Mode())
	_, err = transport.ListenNet(path)
	require.ErrorIs(t, err, transport.ErrInUse)

	c, err := transport.DialNet(t.Context(), path)
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())

	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	_, err = os.Lstat(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)

	_, err = transport.ListenNet(filepath.Join(path, "no", "folder"))
	require.Error(t, err)
	_, err = transport.DialNet(t.Context(), path)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
