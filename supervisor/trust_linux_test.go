package supervisor

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Messages count only with the credentials of our user or of root, and files that come with them
// are closed.
func TestTrusted(t *testing.T) {
	us := uint32(os.Geteuid())
	of := func(uid uint32) []byte { return unix.UnixCredentials(&unix.Ucred{Pid: 1, Uid: uid}) }
	require.True(t, trusted(of(us)))
	require.True(t, trusted(of(0)))
	require.False(t, trusted(of(us+1)))
	require.False(t, trusted(of(us+65534)))
	require.False(t, trusted(nil), "no credentials")
	require.False(t, trusted([]byte{1, 2, 3}))

	var pipe [2]int
	require.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	require.True(t, trusted(append(unix.UnixRights(pipe[1]), of(us)...)))
	_, err := unix.Read(pipe[0], make([]byte, 1))
	require.NoError(t, err, "the other end is closed")
	require.NoError(t, unix.Close(pipe[0]))
}
