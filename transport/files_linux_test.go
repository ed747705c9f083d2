package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// note returns a file with a text in it, as a File to send.
func note(t testing.TB, text string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("note", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "note")
	t.Cleanup(func() { f.Close() })
	_, err = f.WriteString(text)
	require.NoError(t, err)
	return f
}

// reads replies with the texts of the files that came along, and closes them.
func reads(r *transport.Request) {
	var texts []byte
	for _, f := range r.Files() {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 1000))
		if err != nil {
			b = []byte(err.Error())
		}
		flags, _ := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		texts = fmt.Appendf(texts, "%s (close-on-exec %d) ", b, flags)
		f.Close()
	}
	_ = r.Reply(fmt.Append(texts, len(r.Body())))
}

// withFiles lets descriptors travel.
func withFiles(o transport.Options) transport.Options {
	o.Limits.MaxFiles = 4
	return o
}

func TestFiles(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		pool := newPool(t, 2, 100)
		var mux transport.Mux
		mux.HandleFunc("loop", reads)
		mux.Handle("pool", pool.Handler(transport.HandlerFunc(reads)))
		mux.HandleFunc("detach", func(r *transport.Request) {
			d := r.Detach()
			go reads(d)
		})
		l := listen(t, server.of(withFiles(transport.Options{Handler: &mux})))
		cli := dial(t, l.Address(), client.of(withFiles(transport.Options{})))
		var wg sync.WaitGroup
		for i, method := range []string{"loop", "pool", "detach"} {
			for j, size := range []int{0, 100, 100 << 10, 1 << 20} {
				wg.Go(func() {
					a, b := fmt.Sprint("a", i, j), fmt.Sprint("b", i, j)
					m := transport.Message{Method: method, Body: make([]byte, size),
						Files: []transport.File{note(t, a), note(t, b)}}
					for range 10 {
						got, err := cli.Do(patient(t), m, nil)
						want := fmt.Sprintf("%s (close-on-exec 1) %s (close-on-exec 1) %d", a, b,
							size)
						if err != nil || string(got) != want {
							t.Errorf("%s, %d bytes: %q, %v; want %q", method, size, got, err, want)
							return
						}
						bare := transport.Message{Method: method}
						if _, err := cli.Do(patient(t), bare, nil); err != nil {
							t.Errorf("a call without files between: %v", err)
						}
					}
				})
			}
		}
		wg.Wait()
	})
}

func TestFilesBothWays(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		o := withFiles(handler(reads))
		l := listen(t, server.of(o))
		cli := dial(t, l.Address(), client.of(o))
		for _, c := range []*transport.Conn{cli, l.Conns()[0]} {
			got, err := c.Do(patient(t), transport.Message{Body: []byte("12345"),
				Files: []transport.File{note(t, "hi")}}, nil)
			require.NoError(t, err)
			require.Equal(t, "hi (close-on-exec 1) 5", string(got))
		}
	})
}

func TestFilesRefused(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		for name, c := range map[string]struct{ server, client transport.Options }{
			"neither asked": {}, "server did not ask": {client: withFiles(transport.Options{})},
			"client did not ask": {server: withFiles(transport.Options{})},
		} {
			l := listen(t, server.of(c.server))
			cli := dial(t, l.Address(), client.of(c.client))
			m := transport.Message{Files: []transport.File{note(t, "x")}}
			_, err := cli.Do(patient(t), m, nil)
			require.ErrorIs(t, err, transport.ErrNoFiles, name)
			require.ErrorIs(t, cli.Post(patient(t), m), transport.ErrNoFiles, name)
			require.ErrorIs(t, cli.Go(m, nil, func([]byte, error) {}), transport.ErrNoFiles, name)
			require.NoError(t, cli.Ping(patient(t)), name)
		}
		o := withFiles(handler(reads))
		cli := dial(t, listen(t, server.of(o)).Address(), client.of(o))
		files := make([]transport.File, 5)
		for i := range files {
			files[i] = note(t, "x")
		}
		_, err := cli.Do(patient(t), transport.Message{Files: files}, nil)
		requireLimit(t, err)
		gone := note(t, "x")
		require.NoError(t, gone.Close())
		_, err = cli.Do(patient(t), transport.Message{Files: []transport.File{gone}}, nil)
		require.Error(t, err, "a closed file")
		_, err = cli.Do(patient(t), transport.Message{Files: files[:4]}, nil)
		require.NoError(t, err)
		require.Zero(t, cli.Stats().Pending)
	})
}

// Descriptors of calls and oneways that are refused, dropped, forgotten or cut off are closed, on
// both sides. (eachPair checks.)
func TestFilesAreClosed(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		pool := newPool(t, 1, 1)
		g := newGate(t)
		var mux transport.Mux
		mux.HandleFunc("forget", echo)
		mux.HandleFunc("panic", func(*transport.Request) { panic("oh") })
		mux.HandleFunc("hold", g.hold)
		wait := transport.HandlerFunc(func(*transport.Request) { <-g.ch })
		mux.Handle("full", pool.Handler(wait))
		o := withFiles(transport.Options{Handler: &mux, Limits: transport.Limits{MaxCalls: 8}})
		l := listen(t, server.of(o))
		cli := dial(t, l.Address(), client.of(withFiles(transport.Options{})))
		m := transport.Message{Files: []transport.File{note(t, "x"), note(t, "y")}}
		ended := make(chan error, 100)
		done := func(_ []byte, err error) { ended <- err }
		for _, method := range []string{"forget", "panic", "nobody", "forget"} {
			m.Method = method
			for range 20 {
				_, _ = cli.Do(patient(t), m, nil)
				require.NoError(t, cli.Post(patient(t), m))
			}
		}
		m.Method = "full"
		for range 5 {
			require.NoError(t, cli.Post(patient(t), m))
		}
		m.Method, m.Timeout = "hold", 2*time.Millisecond
		// Inside, then waiting for credit; one whose time is over before it is sent takes none.
		for n := 0; n < 20 || cli.Stats().CreditCalls > 0; n++ {
			_, err := cli.Do(background, m, nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.ErrorIs(t, cli.Go(m, nil, done), transport.ErrFull)
		g.open()
		require.NoError(t, cli.Ping(patient(t)))
	})
}

func TestFilesOfAStuckConnection(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		address, accepted := rawServer(t)
		go func() {
			h := anyHello()
			h.Capabilities = wire.CapFiles
			accepted().greet(h) // and reads nothing
		}()
		cli := dial(t, address, e.of(withFiles(transport.Options{})))
		m := transport.Message{Body: make([]byte, 8<<10), Files: []transport.File{note(t, "x")}}
		var err error
		for err == nil {
			err = cli.TryPost(m)
		}
		require.ErrorIs(t, err, transport.ErrFull)
		ctx, cancel := newTimeout(10 * time.Millisecond)
		defer cancel()
		for range 5 {
			_, err := cli.Do(ctx, m, nil)
			require.Error(t, err)
		}
		cli.Abort(nil)
		receive(t, cli.Done(), "Done")
	})
}

// sendFiles writes b with descriptors.
func (r *raw) sendFiles(b []byte, files ...*os.File) {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	_, _, err := r.conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return // the connection has ended already, as it should
	}
	require.NoError(r.t, err)
}

func TestHostileFiles(t *testing.T) {
	one := wire.Meta{Files: 1}
	eachEngine(t, func(t *testing.T, e engine) {
		for name, f := range map[string]func(r *raw, x *os.File){
			"not announced": func(r *raw, x *os.File) {
				r.sendFiles(native(wire.FlagsCall, 1, wire.Meta{}, "a"), x)
				r.send(native(wire.FlagsCall, 2, wire.Meta{}, "b"))
			},
			"announced, none there": func(r *raw, x *os.File) {
				r.send(native(wire.FlagsCall, 1, one, "a"))
			},
			"fewer than announced": func(r *raw, x *os.File) {
				r.sendFiles(native(wire.FlagsCall, 1, wire.Meta{Files: 2}, "a"), x)
			},
			"more than announced": func(r *raw, x *os.File) {
				r.sendFiles(native(wire.FlagsCall, 1, one, "a"), x, x)
			},
			"more than the limit": func(r *raw, x *os.File) {
				many := make([]*os.File, 40)
				for i := range many {
					many[i] = x
				}
				r.sendFiles(native(wire.FlagsCall, 1, wire.Meta{Files: 40}, "a"), many...)
			},
			"with the tail of a frame": func(r *raw, x *os.File) {
				b := native(wire.FlagsCall, 1, one, make([]byte, 1000))
				r.send(b[:500])
				eventually(t, r.taken, "the first piece is read apart from the second")
				r.sendFiles(b[500:], x)
			},
			"flood": func(r *raw, x *os.File) {
				r.send(header(wire.FlagsCall, 1, 10<<20))
				for range 200 {
					r.sendFiles([]byte("x"), x, x, x, x)
					if r.gone() {
						return
					}
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				o, ended := closed(withFiles(handler(reads)))
				l := listen(t, e.of(o))
				h := anyHello()
				h.Capabilities = wire.CapFiles
				r, answer := rawClient(t, l.Address(), h)
				require.NotZero(t, answer.Capabilities&wire.CapFiles)
				f(r, note(t, "x"))
				r.end()
				requireViolation(t, receive(t, ended, "the hook"))
			})
		}
	})
}

// taken says whether the other side has read everything.
func (r *raw) taken() bool {
	left := 0
	raw, err := r.conn.SyscallConn()
	require.NoError(r.t, err)
	_ = raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) })
	require.NoError(r.t, err)
	return left == 0
}

// gone says whether the other side has hung up.
func (r *raw) gone() bool {
	fds := []unix.PollFd{{Events: unix.POLLOUT}}
	raw, err := r.conn.SyscallConn()
	require.NoError(r.t, err)
	_ = raw.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		_, _ = unix.Poll(fds, 0)
	})
	return fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// Who did not ask for descriptors is not given any, whatever the peer sends.
func TestUninvitedFiles(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		l := listen(t, e.of(handler(reads)))
		r, _ := rawClient(t, l.Address(), anyHello())
		x := note(t, "x")
		for id := range uint32(100) {
			r.sendFiles(native(wire.FlagsCall, id+1, wire.Meta{}, "a"), x)
			require.Equal(t, "\x001", string(r.reply(id+1).Body))
		}
	})
}
