package transport_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// eachIndex runs f with each engine and its index, for children to take the same one.
func eachIndex(t *testing.T, f func(t *testing.T, e engine, index int)) {
	t.Helper()
	i := 0
	eachEngine(t, func(t *testing.T, e engine) {
		f(t, e, i)
		i++
	})
}

// R5: every blocking call returns within its deadline + 5 ms, tested at 20 times that, even when
// the peer is stopped with SIGSTOP.
func TestR5StoppedPeer(t *testing.T) {
	const limit = 40 * time.Millisecond
	eachIndex(t, func(t *testing.T, e engine, index int) {
		address := filepath.Join(t.TempDir(), "s")
		peer := startChild(t, "serve", order{Engine: index, Address: address})
		require.Equal(t, "ready", peer.line())
		cli := dial(t, address, e.of(transport.Options{}))
		_, err := cli.Call(patient(t), []byte("hi"), nil)
		require.NoError(t, err)
		peer.stop()

		in := func(f func(ctx context.Context) error) func() error {
			return func() error {
				ctx, cancel := newTimeout(limit)
				defer cancel()
				return f(ctx)
			}
		}
		blocking := map[string]func() error{
			"Call": in(func(ctx context.Context) error {
				_, err := cli.Call(ctx, nil, nil)
				return err
			}),
			"Call with a large body": in(func(ctx context.Context) error {
				_, err := cli.Call(ctx, make([]byte, 8<<20), nil)
				return err
			}),
			"Do": func() error {
				_, err := cli.Do(background, transport.Message{Timeout: limit}, make([]byte, 100))
				return err
			},
			"Go": func() error {
				ended := make(chan error, 1)
				err := cli.Go(transport.Message{Timeout: limit}, nil,
					func(_ []byte, err error) { ended <- err })
				if errors.Is(err, transport.ErrFull) { // after Send has filled the outbox
					return context.DeadlineExceeded
				}
				if err != nil {
					return err
				}
				return <-ended
			},
			"Send until it waits": in(func(ctx context.Context) error {
				for {
					if err := cli.Send(ctx, make([]byte, 64<<10)); err != nil {
						return err
					}
				}
			}),
			"Ping": in(cli.Ping),
			"Dial": in(func(ctx context.Context) error {
				_, err := transport.Dial(ctx, address, e.of(transport.Options{}))
				return err
			}),
		}
		for name, f := range blocking {
			inFigure(t, limit, name, func() {
				require.ErrorIs(t, f(), context.DeadlineExceeded, name)
			})
		}
		inFigure(t, limit, "100 calls at once", func() {
			var all sync.WaitGroup
			m := transport.Message{Timeout: limit}
			for range 100 {
				all.Go(func() {
					if _, err := cli.Do(background, m, nil); err == nil {
						t.Error("one of 100 at once has an answer")
					}
				})
			}
			all.Wait()
		})
		inTime(t, limit+slack, "Close", func() { _ = in(cli.Close)() })
		inTime(t, slack, "Done after Close", func() { receive(t, cli.Done(), "Done") })
		peer.kill()
	})
}

// R7: connect, call, kill -9 of a real child process, again and again: no goroutine and no
// descriptor more than at the start. (eachEngine checks.)
func TestR7KilledPeers(t *testing.T) {
	eachIndex(t, func(t *testing.T, e engine, index int) {
		l := listen(t, e.of(handler(echo)))
		n := times(8, 100000)
		var wg sync.WaitGroup
		each := make(chan struct{}, n)
		for range n {
			each <- struct{}{}
		}
		close(each)
		for range 2 {
			wg.Go(func() {
				for range each {
					c := startChild(t, "endless", order{Engine: index, Address: l.Address()})
					if line := c.line(); line != "ready" {
						t.Errorf("child: %s", line)
						return
					}
					calls(l, 10)
					c.kill()
				}
			})
		}
		wg.Wait()
		eventually(t, func() bool { return l.Stats().Conns == 0 }, "%v", now(l.Stats))
		require.EqualValues(t, n, l.Stats().Accepted)
		require.Zero(t, l.Stats().HeldBytes)
	})
}

// calls calls the peers of l, which may be killed meanwhile.
func calls(l *transport.Listener, n int) {
	for _, c := range l.Conns() {
		for i := range n {
			_, _ = c.Do(background, transport.Message{Body: body(uint64(i), 5000),
				Timeout: 100 * time.Millisecond}, nil)
		}
	}
}

// R9: what was written just before the end arrives: end by Close, by exit, and by kill -9 right
// after the last write.
func TestR9WrittenBeforeTheEnd(t *testing.T) {
	eachIndex(t, func(t *testing.T, e engine, index int) {
		for _, ending := range []string{"close", "exit", "kill"} {
			t.Run(ending, func(t *testing.T) {
				for i := range times(5, 10000) {
					var got, bad atomic.Int32
					o, ended := closed(handler(func(r *transport.Request) {
						got.Add(1)
						if !intact(r.Body()) {
							bad.Add(1)
						}
					}))
					l := listen(t, e.of(o))
					size := []int{4, 100, 3000, 30000, 300 << 10}[i%5]
					count := min(1000, 1+(1<<20)/size)
					c := newChild(t, "sends", order{Engine: index, Address: l.Address(),
						Ending: ending, Count: count, Size: size})
					c.start()
					require.ErrorIs(t, receive(t, ended, "the end", now(l.Stats)),
						transport.ErrConnLost)
					require.EqualValues(t, count, got.Load(), "arrived, of %d bytes each", size)
					require.Zero(t, bad.Load())
					require.Empty(t, c.wait())
					require.NoError(t, l.Close(patient(t)))
				}
			})
		}
	})
}

// R9 for a peer that wants answers and goes away without them: that nothing can be written to it
// any more does not keep what it wrote from being read.
func TestR9WrittenBeforeTheEndByWhoDoesNotRead(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for i := range times(20, 10000) {
			const n = 300
			var got atomic.Int32
			o, ended := closed(handler(func(r *transport.Request) {
				got.Add(1)
				echo(r)
			}))
			l := listen(t, e.of(o))
			r, _ := rawClient(t, l.Address(), anyHello())
			for id := range uint32(n) {
				r.send(wire.AppendControl(nil, wire.KindPing, id),
					native(wire.FlagsOneway, 0, wire.Meta{}, "oneway"),
					native(wire.FlagsCall, id+1, wire.Meta{}, make([]byte, 10*(i%20))))
			}
			r.conn.Close()
			require.ErrorIs(t, receive(t, ended, "the end"), transport.ErrConnLost)
			require.EqualValues(t, 2*n, got.Load())
			require.NoError(t, l.Close(patient(t)))
		}
	})
}

// R9 for replies: those of the last calls before a Close arrive, too.
func TestR9RepliesBeforeTheEnd(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		for range times(30, 10000) {
			var answered atomic.Int32
			l := listen(t, server.of(handler(func(r *transport.Request) {
				echo(r)
				answered.Add(1)
			})))
			cli, err := transport.Dial(patient(t), l.Address(), client.of(transport.Options{}))
			require.NoError(t, err)
			results := make(chan error, 20)
			for range 20 {
				require.NoError(t, cli.Go(transport.Message{Body: make([]byte, 20000)}, nil,
					func(_ []byte, err error) { results <- err }))
			}
			eventually(t, func() bool { return answered.Load() == 20 }, "%v", now(l.Stats))
			require.NoError(t, l.Close(patient(t)))
			for range 20 {
				require.NoError(t, receive(t, results, "a reply"))
			}
			require.NoError(t, cli.Close(patient(t)))
		}
	})
}

// R8: connections opened and closed from many goroutines, every payload with the numbers of its
// connection and call and a checksum: bytes of one never reach another.
func TestR8NoMixUp(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		o := handler(func(r *transport.Request) {
			if !intact(r.Body()) {
				_ = r.Fail(100, "not intact")
				return
			}
			echo(r)
		})
		l := listen(t, server.of(o))
		g, err := transport.NewGroup(2, 0)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		var next atomic.Int64
		n := int64(times(150, 1_000_000))
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for {
					i, o := next.Add(1), client.of(transport.Options{Group: g})
					if i > n || !oneConn(t, l.Address(), o, i) {
						return
					}
				}
			})
		}
		wg.Wait()
		eventually(t, func() bool { return l.Stats().Conns == 0 }, "%v", now(l.Stats))
		require.EqualValues(t, n, l.Stats().Accepted)
	})
}

// oneConn opens a connection, makes a few calls that carry its number, and closes it, one way or
// another.
func oneConn(t *testing.T, address string, o transport.Options, number int64) bool {
	ctx, cancel := newTimeout(patience) // not patient: a million clean-ups are much to keep
	defer cancel()
	c, err := transport.Dial(ctx, address, o)
	if err != nil {
		t.Errorf("connection %d: %v", number, err)
		return false
	}
	for call := range uint64(3) {
		sent := body(uint64(number)<<8|call, 4+int(number*37+int64(call)*1009)%5000)
		got, err := c.Call(background, sent, nil)
		if err != nil || string(got) != string(sent) {
			t.Errorf("connection %d, call %d: other bytes, or %v", number, call, err)
			c.Abort(nil)
			return false
		}
	}
	if number%3 == 0 {
		c.Abort(nil)
		<-c.Done()
		return true
	}
	if err := c.Close(background); err != nil {
		t.Errorf("connection %d: %v", number, err)
	}
	return true
}
