package transport_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// refusedListen wants Listen to fail with an OpError, and returns its cause.
func refusedListen(t testing.TB, e engine, address string) error {
	t.Helper()
	l, err := transport.Listen(address, e.of(transport.Options{}))
	if err == nil {
		_ = l.Close(background)
	}
	var op *transport.OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, "listen", op.Op)
	require.Equal(t, address, op.Path)
	return op.Err
}

// R16: a path's socket is for its owner only.
func TestR16Mode(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		l := listen(t, e.of(transport.Options{}))
		st, err := os.Lstat(l.Address())
		require.NoError(t, err)
		require.Equal(t, fs.ModeSocket|0o600, st.Mode())
		entries, err := os.ReadDir(filepath.Dir(l.Address()))
		require.NoError(t, err)
		for _, f := range entries {
			require.True(t, strings.HasPrefix(f.Name(), "s"), "left over: %s", f.Name())
		}
		require.NoError(t, l.Close(patient(t)))
		require.NoFileExists(t, l.Address())
	})
}

// R16: the socket of a live server is never taken away, whoever made it.
func TestR16NeverUnlinksLive(t *testing.T) {
	eachPair(t, func(t *testing.T, first, second engine) {
		l := listen(t, first.of(handler(echo)))
		for range 3 {
			require.ErrorIs(t, refusedListen(t, second, l.Address()), transport.ErrInUse)
		}
		cli := dial(t, l.Address(), second.of(transport.Options{}))
		_, err := cli.Call(patient(t), nil, nil)
		require.NoError(t, err)

		stranger := filepath.Join(t.TempDir(), "n")
		n, err := net.Listen("unix", stranger)
		require.NoError(t, err)
		require.ErrorIs(t, refusedListen(t, second, stranger), transport.ErrInUse)
		require.FileExists(t, stranger)
		require.NoError(t, n.Close())
	})
}

// stale leaves a socket file behind on which nobody listens.
func stale(t testing.TB, path string) {
	t.Helper()
	n, err := net.Listen("unix", path)
	require.NoError(t, err)
	n.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, n.Close())
}

func TestR16ReplacesStale(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		path := filepath.Join(t.TempDir(), "s")
		stale(t, path)
		for i := range 4 { // also one that had a lock
			if i == 2 {
				stale(t, path)
			}
			o := handler(echo)
			o.Socket.Named = i >= 2
			l, err := transport.Listen(path, e.of(o))
			require.NoError(t, err)
			st, err := os.Lstat(path)
			require.NoError(t, err)
			require.Equal(t, fs.ModeSocket|0o600, st.Mode())
			cli := dial(t, path, e.of(transport.Options{}))
			_, err = cli.Call(patient(t), nil, nil)
			require.NoError(t, err)
			require.NoError(t, cli.Close(patient(t)))
			require.NoError(t, l.Close(patient(t)))
		}
	})
}

// A server killed with -9 leaves its file; the next one takes its place.
func TestR16KilledServer(t *testing.T) {
	eachIndex(t, func(t *testing.T, e engine, index int) {
		path := filepath.Join(t.TempDir(), "s")
		for range 3 {
			c := startChild(t, "serve", order{Engine: index, Address: path})
			require.Equal(t, "ready", c.line())
			require.ErrorIs(t, refusedListen(t, e, path), transport.ErrInUse)
			cli := dial(t, path, e.of(transport.Options{}))
			c.kill()
			receive(t, cli.Done(), "Done")
			require.ErrorIs(t, cli.Err(), transport.ErrConnLost)
			require.FileExists(t, path)
		}
		l, err := transport.Listen(path, e.of(transport.Options{}))
		require.NoError(t, err)
		require.NoError(t, l.Close(patient(t)))
	})
}

func TestListenRefuses(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
		require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
		for name, c := range map[string]struct {
			address string
			text    string
		}{
			"empty":         {"", ""},
			"folder":        {filepath.Join(dir, "folder"), "not a socket"},
			"file":          {file, "not a socket"},
			"root":          {"/", ""},
			"no folder":     {filepath.Join(dir, "none", "s"), "no such file"},
			"below a file":  {filepath.Join(file, "s"), "not a directory"},
			"long name":     {filepath.Join(dir, strings.Repeat("n", 300)), ""},
			"no policy":     {"@pithos-test", "Authorize"},
			"no permission": {"/proc/self/s", ""},
		} {
			t.Run(name, func(t *testing.T) {
				err := refusedListen(t, e, c.address)
				require.ErrorContains(t, err, c.text)
			})
		}
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "precious", string(b))
	})
}

// Of many that want the same path at once, one has it.
func TestListenRace(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for range 10 {
			path := filepath.Join(t.TempDir(), "s")
			stale(t, path)
			var wg sync.WaitGroup
			var won atomic.Int32
			listeners := make(chan *transport.Listener, 8)
			for range 8 {
				wg.Go(func() {
					l, err := transport.Listen(path, e.of(handler(echo)))
					if err == nil {
						won.Add(1)
						listeners <- l
					}
				})
			}
			wg.Wait()
			require.EqualValues(t, 1, won.Load())
			cli := dial(t, path, e.of(transport.Options{}))
			_, err := cli.Call(patient(t), nil, nil)
			require.NoError(t, err)
			require.NoError(t, (<-listeners).Close(patient(t)))
		}
	})
}

// A listener removes its own file only.
func TestListenLeavesStrangersFile(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		path := filepath.Join(t.TempDir(), "s")
		l, err := transport.Listen(path, e.of(transport.Options{}))
		require.NoError(t, err)
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.WriteFile(path, []byte("another's"), 0o600))
		require.NoError(t, l.Close(patient(t)))
		require.FileExists(t, path)
	})
}

func TestLongPaths(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		dir := filepath.Join(t.TempDir(), strings.Repeat("d", 200), strings.Repeat("e", 200))
		require.NoError(t, os.MkdirAll(dir, 0o700))
		path := filepath.Join(dir, "s")
		l, err := transport.Listen(path, server.of(handler(echo)))
		require.NoError(t, err)
		cli := dial(t, path, client.of(transport.Options{}))
		_, err = cli.Call(patient(t), nil, nil)
		require.NoError(t, err)
		require.NoError(t, cli.Close(patient(t)))
		require.NoError(t, l.Close(patient(t)))
		require.NoFileExists(t, path)
	})
}

// A policy that refuses lets nobody in, on either side.
func TestR17Policies(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		no := func(transport.Credentials) error { return transport.ErrDenied }
		l := listen(t, server.of(transport.Options{Authorize: no}))
		_, err := transport.Dial(patient(t), l.Address(), client.of(transport.Options{}))
		var op *transport.OpError
		require.ErrorAs(t, err, &op)
		require.EqualValues(t, 1, l.Stats().Refused)
		require.Zero(t, l.Stats().Accepted)

		l = listen(t, server.of(transport.Options{}))
		_, err = transport.Dial(patient(t), l.Address(),
			client.of(transport.Options{Authorize: no}))
		require.ErrorIs(t, err, transport.ErrDenied)
		require.ErrorAs(t, err, &op)
	})
}

func TestSameUser(t *testing.T) {
	me := uint32(os.Geteuid())
	for name, c := range map[string]struct {
		peer transport.Credentials
		ok   bool
	}{
		"me":       {transport.Credentials{Known: true, UID: me}, true},
		"root":     {transport.Credentials{Known: true}, true},
		"another":  {transport.Credentials{Known: true, UID: me + 1}, false},
		"overflow": {transport.Credentials{Known: true, UID: 65534}, me == 65534},
		"unknown":  {transport.Credentials{}, true},
	} {
		err := transport.SameUser(c.peer)
		if c.ok {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, transport.ErrDenied, name)
		}
	}
}
