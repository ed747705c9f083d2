package transport_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/transport"
)

// someoneElse is a uid that is not this process's, and overflow the one for those without a number.
const (
	someoneElse = 54321
	overflow    = 65534
)

// as makes a child run under another uid. The test binary lies in a folder that only its owner may
// enter, so it is reached through the running process.
func (c *child) as(uid uint32) *child {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			c.t.Fatal("only root can become someone else, and CI=true wants it")
		}
		c.t.Skip("only root can become someone else")
	}
	c.cmd.Path = "/proc/self/exe"
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return c
}

// abstract is an address that no other test has.
func abstract(t testing.TB) string { return fmt.Sprintf("@pithos-%d-%s", os.Getpid(), t.Name()) }

// R17: a peer of another uid is refused by default, wherever the socket is.
func TestR17AnotherUser(t *testing.T) {
	eachIndex(t, func(t *testing.T, e engine, index int) {
		open := filepath.Join(t.TempDir(), "s")
		for name, address := range map[string]string{"abstract": abstract(t), "open path": open} {
			t.Run(name, func(t *testing.T) {
				l, err := transport.Listen(address, e.of(transport.Options{
					Handler: transport.HandlerFunc(echo), Authorize: transport.SameUser}))
				require.NoError(t, err)
				defer func() { require.NoError(t, l.Close(patient(t))) }()
				if address == open {
					require.NoError(t, os.Chmod(open, 0o666))
					dir := filepath.Dir(open)
					for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
						require.NoError(t, os.Chmod(dir, 0o755))
					}
				}
				dials := order{Engine: index, Address: address}
				got := newChild(t, "dials", dials).as(someoneElse).start().wait()
				require.Contains(t, got, "transport: dial "+address)
				require.EqualValues(t, 1, l.Stats().Refused)
				require.Equal(t, "hi\n", startChild(t, "dials", dials).wait())
			})
		}
	})
}

// R16: with the permissions as they are made, another user does not even get as far as that.
func TestR16AnotherUser(t *testing.T) {
	eachIndex(t, func(t *testing.T, e engine, index int) {
		l := listen(t, e.of(transport.Options{}))
		o := order{Engine: index, Address: l.Address()}
		for _, role := range []string{"dials", "listens"} {
			got := newChild(t, role, o).as(someoneElse).start().wait()
			require.Contains(t, got, "permission denied")
		}
		require.Zero(t, l.Stats().Refused)
	})
}

// A socket that is named can be found by its path; what lives there is not taken away.
func TestR16NamedSocket(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for name, shown := range map[string]bool{"s": true, strings.Repeat("s", 90): false} {
			path := filepath.Join(t.TempDir(), name)
			o := e.of(transport.Options{Socket: transport.SocketOptions{Named: true}})
			l, err := transport.Listen(path, o)
			require.NoError(t, err)
			all, err := os.ReadFile("/proc/net/unix")
			require.NoError(t, err)
			require.Equal(t, shown, strings.Contains(string(all), " "+path+"\n"))
			_, err = transport.Listen(path, o)
			require.ErrorIs(t, err, transport.ErrInUse)
			cli := dial(t, path, e.of(transport.Options{}))
			require.NoError(t, cli.Ping(patient(t)))
			require.NoError(t, cli.Close(patient(t)))
			require.NoError(t, l.Close(patient(t)))
			require.NoFileExists(t, path)
		}
	})
}

// The overflow uid stands for many, and so equals nobody.
func TestR17OverflowUser(t *testing.T) {
	got := newChild(t, "overflow", order{}).as(overflow).start().wait()
	require.Contains(t, got, transport.ErrDenied.Error())
	require.Empty(t, newChild(t, "overflow", order{}).as(someoneElse).start().wait())
}

// R17: handlers are shown who calls.
func TestR17Credentials(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		me := transport.Credentials{Known: true, UID: uint32(os.Geteuid()),
			GID: uint32(os.Getegid()), PID: int32(os.Getpid())}
		asked := make(chan transport.Credentials, 2)
		judge := func(c transport.Credentials) error { asked <- c; return nil }
		l, err := transport.Listen(abstract(t), server.of(transport.Options{Authorize: judge,
			Handler: transport.HandlerFunc(func(r *transport.Request) {
				_ = r.Reply(fmt.Append(nil, r.Peer()))
			})}))
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close(patient(t))) }()
		cli := dial(t, l.Address(), client.of(transport.Options{Authorize: judge}))
		got, err := cli.Call(patient(t), nil, nil)
		require.NoError(t, err)
		require.Equal(t, me.String(), string(got))
		require.Equal(t, me, cli.Peer())
		require.Equal(t, me, receive(t, asked, "the policy of one side"))
		require.Equal(t, me, receive(t, asked, "the policy of the other side"))
	})
}

// R16: a server with a full backlog is alive (EAGAIN), and Dial waits for it.
func TestR16FullBacklog(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		path := filepath.Join(t.TempDir(), "s")
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
		require.NoError(t, unix.Listen(fd, 0))
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		require.ErrorIs(t, refusedListen(t, e, path), transport.ErrInUse)
		ctx, cancel := newTimeout(30 * time.Millisecond)
		defer cancel()
		inTime(t, 30*time.Millisecond+slack, "Dial", func() {
			_, err = transport.Dial(ctx, path, e.of(transport.Options{}))
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// socketpair returns two connected sockets.
func socketpair(t testing.TB, kind int) [2]*os.File {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	pair := [2]*os.File{os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")}
	t.Cleanup(func() { pair[0].Close(); pair[1].Close() })
	return pair
}

func TestReadyMadeSockets(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		f := socketpair(t, unix.SOCK_STREAM)
		srv, err := transport.ServeFile(f[0], server.of(handler(echo)))
		require.NoError(t, err)
		cli, err := transport.ConnFile(patient(t), f[1], client.of(transport.Options{}))
		require.NoError(t, err)
		got, err := cli.Call(patient(t), []byte("hi"), nil)
		require.NoError(t, err)
		require.Equal(t, "hi", string(got))
		require.True(t, srv.Peer().Known)
		require.NoError(t, cli.Close(patient(t)))
		receive(t, srv.Done(), "Done")
		_, err = f[0].Stat()
		require.NoError(t, err, "the files stay the caller's")

		n, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "n")})
		require.NoError(t, err)
		file, err := n.File()
		require.NoError(t, err)
		l, err := transport.ListenFile(file, server.of(handler(echo)))
		require.NoError(t, err)
		cli = dial(t, n.Addr().String(), client.of(transport.Options{}))
		_, err = cli.Call(patient(t), nil, nil)
		require.NoError(t, err)
		require.NoError(t, cli.Close(patient(t)))
		require.NoError(t, l.Close(patient(t)))
		require.NoError(t, file.Close())
		require.NoError(t, n.Close())
	})
}

func TestWrongKindsOfFiles(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		regular, err := os.Create(filepath.Join(t.TempDir(), "f"))
		require.NoError(t, err)
		defer regular.Close()
		gone := socketpair(t, unix.SOCK_STREAM)[0]
		require.NoError(t, gone.Close())
		for name, f := range map[string]*os.File{
			"regular":   regular,
			"datagrams": socketpair(t, unix.SOCK_DGRAM)[0],
			"closed":    gone,
		} {
			var op *transport.OpError
			_, err := transport.ConnFile(patient(t), f, e.of(transport.Options{}))
			require.ErrorAs(t, err, &op, name)
			_, err = transport.ServeFile(f, e.of(transport.Options{}))
			require.ErrorAs(t, err, &op, name)
			_, err = transport.ListenFile(f, e.of(transport.Options{}))
			require.ErrorAs(t, err, &op, name)
		}
		_, err = transport.ListenFile(socketpair(t, unix.SOCK_STREAM)[0], e.of(transport.Options{}))
		require.Error(t, err, "connected, not listening")
	})
}

// A write to a connection that is gone is an error, and never the end of the program.
func TestSIGPIPENeverKills(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f := socketpair(t, unix.SOCK_STREAM)
		srv, err := transport.ServeFile(f[0], e.of(transport.Options{}))
		require.NoError(t, err)
		require.NoError(t, f[0].Close())
		h := anyHello()
		_, err = f[1].Write(h.AppendTo(nil))
		require.NoError(t, err)
		eventually(t, srv.Native, "hello")
		require.NoError(t, f[1].Close())
		for range 100 {
			if err = srv.Send(background, make([]byte, 1000)); err != nil {
				break
			}
		}
		receive(t, srv.Done(), "Done")
		require.ErrorIs(t, srv.Send(background, nil), transport.ErrConnLost)
	})
}
