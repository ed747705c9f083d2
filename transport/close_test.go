package transport_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// R34: Close finishes what is inside, writes what is queued, and then ends.
func TestR34CloseFlushes(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		const n = 2000
		var got, answered atomic.Int32
		g := newGate(t)
		var mux transport.Mux
		mux.HandleFunc("event", func(r *transport.Request) {
			if intact(r.Body()) {
				got.Add(1)
			}
		})
		mux.HandleFunc("held", g.hold)
		o, ended := closed(transport.Options{Handler: &mux})
		l := listen(t, server.of(o))
		cli := dial(t, l.Address(), client.of(transport.Options{}))
		for range 10 {
			require.NoError(t, cli.Go(transport.Message{Method: "held"}, nil,
				func(_ []byte, err error) {
					if err == nil {
						answered.Add(1)
					}
				}))
		}
		for i := range n {
			require.NoError(t, cli.Post(patient(t), transport.Message{Method: "event",
				Body: body(uint64(i), 100+i)}))
		}
		closing := make(chan error, 1)
		go func() { closing <- cli.Close(patient(t)) }()
		eventually(t, func() bool {
			return errors.Is(cli.TryPost(transport.Message{}), transport.ErrClosed)
		}, "nothing new is taken")
		_, err := cli.Call(patient(t), nil, nil)
		require.ErrorIs(t, err, transport.ErrClosed)
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, cli.Go(transport.Message{}, nil, func([]byte, error) {}),
			transport.ErrClosed)
		require.Empty(t, closing, "calls are inside")
		g.open()
		require.NoError(t, receive(t, closing, "Close", now(cli.Stats), now(l.Stats)))
		receive(t, cli.Done(), "Done")
		require.EqualValues(t, 10, answered.Load(), "calls inside are finished")
		require.ErrorIs(t, receive(t, ended, "the other end"), transport.ErrConnLost)
		require.EqualValues(t, n, got.Load(), "everything written arrives")
		require.ErrorIs(t, cli.Err(), transport.ErrClosed)
	})
}

// R34: what its context leaves no time for is counted.
func TestR34CloseSaysWhatWasDropped(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g := newGate(t)
		address, accepted := rawServer(t)
		conns := make(chan *raw, 1)
		go func() {
			r := accepted()
			r.greet(anyHello())
			conns <- r
		}()
		cli := dial(t, address, e.of(handler(g.hold)))
		r := receive(t, conns, "the greeting")
		r.send(native(wire.FlagsCall, 1, wire.Meta{}, "held"),
			native(wire.FlagsCall, 2, wire.Meta{}, "held"))
		eventually(t, func() bool { return cli.Stats().Serving == 2 }, "%v", now(cli.Stats))
		failed := make(chan error, 3)
		for range 3 {
			require.NoError(t, cli.Go(transport.Message{}, nil,
				func(_ []byte, err error) { failed <- err }))
		}
		fill(t, cli)
		ctx, cancel := newTimeout(50 * time.Millisecond)
		defer cancel()
		var err error
		inTime(t, 50*time.Millisecond+slack, "Close", func() { err = cli.Close(ctx) })
		var dropped *transport.DroppedError
		require.ErrorAs(t, err, &dropped)
		require.Equal(t, 3, dropped.Calls, "%v", err)
		require.Equal(t, 2, dropped.Served, "%v", err)
		require.Greater(t, dropped.Frames, 100, "%v", err)
		require.Greater(t, dropped.Bytes, 1<<20, "%v", err)
		for range 3 {
			require.ErrorIs(t, receive(t, failed, "a callback"), transport.ErrClosed)
		}
		require.NoError(t, cli.Close(background), "closing again")
		receive(t, cli.Done(), "Done")
	})
}

func TestCloseFromMany(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		l := listen(t, server.of(handler(echo)))
		cli := dial(t, l.Address(), client.of(handler(echo)))
		srv := l.Conns()[0]
		var wg sync.WaitGroup
		for range 4 {
			for _, c := range []*transport.Conn{srv, cli} {
				wg.Go(func() {
					for {
						if _, err := c.Call(background, body(1, 100), nil); err != nil {
							if !errors.Is(err, transport.ErrClosed) &&
								!errors.Is(err, transport.ErrConnLost) &&
								!errors.Is(err, transport.ErrDraining) {
								t.Errorf("%v", err)
							}
							return
						}
					}
				})
				wg.Go(func() {
					time.Sleep(2 * time.Millisecond)
					if err := c.Close(patient(t)); err != nil {
						// both ends at once may leave calls that crossed, but no replies
						var dropped *transport.DroppedError
						if !errors.As(err, &dropped) || dropped.Frames > dropped.Calls {
							t.Errorf("%v", err)
						}
					}
				})
			}
		}
		wg.Wait()
		receive(t, srv.Done(), "Done of the server's end")
		receive(t, cli.Done(), "Done of the client's end")
	})
}

func TestDrain(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		g := newGate(t)
		l := listen(t, server.of(handler(g.hold)))
		cli := dial(t, l.Address(), client.of(handler(echo)))
		srv := l.Conns()[0]
		inside := make(chan error, 1)
		require.NoError(t, cli.Go(transport.Message{}, nil,
			func(_ []byte, err error) { inside <- err }))
		eventually(t, func() bool { return srv.Stats().Serving == 1 }, "%v", now(srv.Stats))
		srv.Drain()
		srv.Drain()
		nothing := func([]byte, error) {}
		eventually(t, func() bool {
			return errors.Is(cli.Go(transport.Message{}, nil, nothing), transport.ErrDraining)
		}, "the peer heard it")
		_, err := cli.Call(patient(t), nil, nil)
		require.ErrorIs(t, err, transport.ErrDraining)
		_, err = srv.Call(patient(t), nil, nil)
		require.NoError(t, err, "the other way goes on")
		require.NoError(t, cli.Ping(patient(t)))
		require.Empty(t, inside)
		g.open()
		require.NoError(t, receive(t, inside, "the call that was inside"))
		require.NoError(t, srv.Err())
	})
}

// A call that crosses with a Close is answered, with CodeDraining.
func TestCallWhileClosing(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g := newGate(t)
		l := listen(t, e.of(handler(g.hold)))
		r, _ := rawClient(t, l.Address(), anyHello())
		r.send(native(wire.FlagsCall, 1, wire.Meta{}, "inside"))
		eventually(t, func() bool { return l.Stats().Serving == 1 }, "%v", now(l.Stats))
		closing := make(chan error, 1)
		go func() { closing <- l.Close(patient(t)) }()
		_, _ = r.until("drain", func(f wire.Frame) bool { return control(f, wire.KindDrain) })
		r.send(native(wire.FlagsCall, 2, wire.Meta{}, "late"))
		f := r.reply(2)
		m, _, err := wire.ParseBody(f.Body)
		require.NoError(t, err)
		require.Equal(t, wire.CodeDraining, m.Code)
		require.ErrorIs(t, &transport.RemoteError{Code: m.Code}, transport.ErrDraining)
		require.Empty(t, closing)
		g.open()
		require.Equal(t, "\x00inside", string(r.reply(1).Body))
		r.end()
		require.NoError(t, receive(t, closing, "Close"))
	})
}

func TestAbort(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		mine := errors.New("mine")
		for _, reason := range []error{nil, mine} {
			g := newGate(t)
			canceled, replied := make(chan error, 2), make(chan error, 2)
			l := listen(t, server.of(handler(func(r *transport.Request) {
				d := r.Detach()
				go func() {
					<-d.Context().Done()
					canceled <- d.Context().Err()
					<-g.ch
					replied <- d.Reply(nil)
				}()
			})))
			o, ended := closed(transport.Options{})
			cli := dial(t, l.Address(), client.of(o))
			results := make(chan error, 2)
			go func() { _, err := cli.Call(background, nil, nil); results <- err }()
			eventually(t, func() bool { return l.Stats().Serving == 1 }, "%v", now(l.Stats))
			require.NoError(t, cli.Go(transport.Message{}, nil,
				func(_ []byte, err error) { results <- err }))
			cli.Abort(reason)
			want := reason
			if reason == nil {
				want = transport.ErrClosed
			}
			for range 2 {
				require.ErrorIs(t, receive(t, results, "a call"), want)
			}
			require.ErrorIs(t, receive(t, ended, "the hook"), want)
			receive(t, cli.Done(), "Done")
			require.ErrorIs(t, cli.Err(), want)
			require.ErrorIs(t, context.Cause(cli.Context()), want)
			require.ErrorIs(t, receive(t, canceled, "the handler's context"), context.Canceled)
			eventually(t, func() bool { return l.Stats().Conns == 0 }, "%v", now(l.Stats))
			g.open()
			require.Error(t, receive(t, replied, "a reply to nobody"))
			_ = cli.Close(background)
		}
	})
}

// A peer that reads no more ends the connection, and that has one reason, whoever finds out first:
// the one who writes, or the loop.
func TestPeerThatReadsNoMore(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g, err := transport.NewGroup(1, 0)
		require.NoError(t, err)
		defer g.Close()
		spin := 50 * time.Millisecond
		for range times(300, 5000) {
			address, accepted := rawServer(t)
			var r *raw
			var wg sync.WaitGroup
			wg.Go(func() {
				r = accepted()
				r.greet(anyHello())
			})
			cli := dial(t, address, e.of(transport.Options{Group: g, BusyPoll: &spin}))
			wg.Wait()
			require.NoError(t, r.conn.CloseRead())
			for cli.TryPost(transport.Message{}) == nil {
				runtime.Gosched()
			}
			r.conn.Close()
			receive(t, cli.Done(), "the end")
			require.ErrorIs(t, cli.Err(), transport.ErrConnLost)
		}
	})
}

// After the end everything says so, at once.
func TestClosedConnection(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		srv, cli := e.pair(t, transport.Options{}, transport.Options{})
		require.NoError(t, cli.Close(patient(t)))
		receive(t, srv.Done(), "Done")
		for want, c := range map[error]*transport.Conn{
			transport.ErrClosed: cli, transport.ErrConnLost: srv} {
			_, err := c.Call(background, nil, nil)
			require.ErrorIs(t, err, want)
			require.ErrorIs(t, c.Send(background, nil), want)
			require.ErrorIs(t, c.TryPost(transport.Message{}), want)
			require.ErrorIs(t, c.Ping(background), want)
			require.ErrorIs(t, c.Go(transport.Message{}, nil, func([]byte, error) {
				t.Error("called, though Go gave an error")
			}), want)
			require.NoError(t, c.Close(background))
			c.Drain()
			c.Abort(nil)
			require.ErrorIs(t, c.Err(), want)
			s := c.Stats()
			require.Zero(t, s.Pending+s.Serving+s.OutboxFrames+int(s.HeldBytes), "%+v", s)
		}
		// It may have been about to answer the hello, or have rung a bell that nobody heard.
		require.Regexp(t, "EOF|broken pipe|connection reset", srv.Err().Error())
	})
}

func TestListenerClose(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		l := listen(t, server.of(handler(echo)))
		var conns []*transport.Conn
		for range 20 {
			c := dial(t, l.Address(), client.of(transport.Options{}))
			_, err := c.Call(patient(t), nil, nil)
			require.NoError(t, err)
			conns = append(conns, c)
		}
		raw := rawDial(t, l.Address()) // has not said hello
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := l.Close(patient(t)); err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		raw.end()
		for _, c := range conns {
			receive(t, c.Done(), "Done")
			require.ErrorIs(t, c.Err(), transport.ErrConnLost)
		}
		s := l.Stats()
		require.Zero(t, s.Conns)
		require.GreaterOrEqual(t, s.FramesIn, uint64(40), "counters stay: %+v", s)
		_, err := transport.Dial(patient(t), l.Address(), client.of(transport.Options{}))
		require.Error(t, err)
	})
}

// Connections that share a Group do not end with each other, and leave nothing in it; its end is
// theirs.
func TestSharedGroup(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g, err := transport.NewGroup(2, 0)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		o := handler(echo)
		o.Group = g
		srv, cli := e.pair(t, o, o)
		_, other := e.pair(t, o, o)
		_, err = cli.Call(patient(t), make([]byte, 1<<20), nil)
		require.NoError(t, err)
		require.NoError(t, cli.Close(patient(t)))
		receive(t, srv.Done(), "Done")
		_, err = other.Call(patient(t), nil, nil)
		require.NoError(t, err)
		eventually(t, func() bool { return g.Held() == 0 }, "%v bytes held", now(g.Held))
	})
}

func TestGroupClosedFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g, err := transport.NewGroup(1, 0)
		require.NoError(t, err)
		o := handler(echo)
		o.Group = g
		l := listen(t, e.of(o))
		cli := dial(t, l.Address(), e.of(transport.Options{}))
		srv := l.Conns()[0]
		ended := make(chan error, 1)
		go func() { ended <- g.Close() }()
		require.NoError(t, receive(t, ended, "Close of the group"))
		receive(t, srv.Done(), "Done of the server's end")
		receive(t, cli.Done(), "Done of the client's end")
		go func() { ended <- l.Close(background) }()
		require.NoError(t, receive(t, ended, "Close of the listener"))
	})
}
