package transport_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// R16: the folder for sockets that nobody named is made for this user alone.
func TestR16SocketPath(t *testing.T) {
	run, tmp := t.TempDir(), t.TempDir()
	mine := filepath.Join(tmp, fmt.Sprintf("pithos-%d", os.Geteuid()))
	for name, c := range map[string]struct{ run, want string }{
		"runtime directory": {run, filepath.Join(run, "pithos")},
		"none":              {"", mine},
		"relative":          {"run/user", mine},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", c.run)
			t.Setenv("TMPDIR", tmp)
			for range 2 { // made, then found
				path, err := transport.SocketPath("hub")
				require.NoError(t, err)
				require.Equal(t, filepath.Join(c.want, "hub.sock"), path)
				st, err := os.Lstat(c.want)
				require.NoError(t, err)
				require.Equal(t, fs.ModeDir|0o700, st.Mode())
			}
			l, err := transport.Listen(filepath.Join(c.want, "hub.sock"), transport.Options{})
			require.NoError(t, err)
			require.NoError(t, l.Close(background))
		})
	}
}

// R16: a folder into which others could put a socket is refused.
func TestR16FolderOfOthers(t *testing.T) {
	for name, prepare := range map[string]func(dir string) error{
		"open to others":  func(dir string) error { return os.Mkdir(dir, 0o755) },
		"open to a group": func(dir string) error { return os.Mkdir(dir, 0o710) },
		"a file":          func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"a link": func(dir string) error {
			if err := os.Mkdir(dir+"-real", 0o700); err != nil {
				return err
			}
			return os.Symlink(dir+"-real", dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run := t.TempDir()
			t.Setenv("XDG_RUNTIME_DIR", run)
			require.NoError(t, prepare(filepath.Join(run, "pithos")))
			_, err := transport.SocketPath("hub")
			require.ErrorIs(t, err, fs.ErrPermission)
			var op *transport.OpError
			require.ErrorAs(t, err, &op)
		})
	}
	t.Run("no runtime directory", func(t *testing.T) {
		t.Setenv("XDG_RUNTIME_DIR", filepath.Join(t.TempDir(), "none"))
		_, err := transport.SocketPath("hub")
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestSocketPathNames(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for _, name := range []string{"", ".", "..", ".hidden", "a/b", "/a", "a\x00"} {
		_, err := transport.SocketPath(name)
		require.ErrorIs(t, err, fs.ErrInvalid, "%q", name)
	}
}
