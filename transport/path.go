package transport

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// SocketPath returns where the socket of that name belongs when nobody says otherwise:
// $XDG_RUNTIME_DIR/pithos/<name>.sock, or, without that variable, pithos-<uid>/<name>.sock in the
// temporary directory. The folder is made with mode 0700 where it is missing. One that is there has
// to be a folder of this process's effective uid that nobody else may enter: anything else is an
// error that wraps fs.ErrPermission, because somebody else could put a socket there. (Who owns it
// is checked on Linux only.)
func SocketPath(name string) (string, error) {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("transport: socket name %q: %w", name, fs.ErrInvalid)
	}
	dir := filepath.Join(os.TempDir(), "pithos-"+strconv.Itoa(os.Geteuid()))
	if run := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(run) {
		dir = filepath.Join(run, "pithos")
	}
	if err := ownDir(dir); err != nil {
		return "", &OpError{"check", dir, err}
	}
	return filepath.Join(dir, name+".sock"), nil
}

// ownDir makes dir, or checks that it is as if it had.
func ownDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err != nil && !os.IsExist(err) {
		return err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("not a folder but %v: %w", st.Mode().Type(), fs.ErrPermission)
	}
	if uid, known := ownerOf(st); known && uid != uint32(os.Geteuid()) {
		return fmt.Errorf("owned by uid %d, want %d: %w", uid, os.Geteuid(), fs.ErrPermission)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("mode %04o, want 0700: %w", st.Mode().Perm(), fs.ErrPermission)
	}
	return nil
}
