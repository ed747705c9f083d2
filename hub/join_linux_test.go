package hub_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/hub"
)

// TestJoinAFullSocket joins where somebody listens who takes no more connections.
func TestJoinAFullSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	socket := func() int {
		fd, err := unix.Socket(unix.AF_UNIX,
			unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	address := &unix.SockaddrUnix{Name: path}
	listener := socket()
	require.NoError(t, unix.Bind(listener, address))
	require.NoError(t, unix.Listen(listener, 0))
	for unix.Connect(socket(), address) != unix.EAGAIN {
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := hub.Join(ctx, path, hub.JoinOptions{})
	require.EqualError(t, err, "hub: join "+path+": no connection was accepted: "+
		context.DeadlineExceeded.Error())
}
