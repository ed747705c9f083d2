package transport_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

func TestCallSizes(t *testing.T) {
	all := body(1, transport.DefaultMaxBody)
	eachPair(t, func(t *testing.T, server, client engine) {
		pool := newPool(t, 2, 16)
		var mux transport.Mux
		mux.HandleFunc("loop", echo)
		mux.Handle("pool", pool.Handler(transport.HandlerFunc(echo)))
		l := listen(t, server.of(transport.Options{Handler: &mux}))
		c := dial(t, l.Address(), client.of(transport.Options{}))
		for _, n := range []int{0, 1, 127, 128, 4095, 64 << 10, wire.PartSize - 1, wire.PartSize,
			wire.PartSize + 1, 2 * wire.PartSize, 1<<20 + 7, transport.DefaultMaxBody} {
			for _, method := range []string{"loop", "pool"} {
				sent := all[len(all)-n:]
				for name, buf := range map[string][]byte{"no buffer": nil,
					"large buffer": make([]byte, n+10), "small buffer": make([]byte, n/2)} {
					if n > 4<<20 && len(buf) <= n {
						continue // once is enough
					}
					got, err := c.Do(patient(t), transport.Message{Method: method, Body: sent}, buf)
					require.NoError(t, err, "%d bytes, %s, %s", n, method, name)
					require.True(t, bytes.Equal(sent, got), "%d bytes, %s, %s", n, method, name)
					if len(buf) > n && n > 0 {
						require.Same(t, &buf[0], &got[0], "the reply is in the caller's buffer")
					}
				}
			}
		}
		eventually(t, func() bool { return c.Stats().HeldBytes == 0 }, "%v", now(c.Stats))
	})
}

func TestBothEndsCall(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		srv, cli := e.pair(t, handler(echo), handler(echo))
		require.True(t, srv.Native())
		require.True(t, cli.Native())
		var wg sync.WaitGroup
		ctx := patient(t)
		for i, c := range []*transport.Conn{srv, cli, srv, cli} {
			wg.Go(func() {
				for j := range 300 {
					sent := body(uint64(i<<16|j), 4+j*7)
					got, err := c.Call(ctx, sent, nil)
					if err != nil || !bytes.Equal(sent, got) {
						t.Errorf("caller %d, call %d: %v", i, j, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestGatherAndMeta(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		var pool *transport.Pool
		for _, where := range []string{"loop", "pool", "detached"} {
			serve := func(r *transport.Request) {
				left := time.Duration(0)
				if d, ok := r.Deadline(); ok {
					left = time.Until(d).Round(time.Hour)
				}
				_ = r.Gather([][]byte{r.Method(), []byte("|"), r.Trace(), []byte("|"),
					fmt.Append(nil, r.Route(), "|", left, "|"), r.Body(), nil})
			}
			var h transport.Handler = transport.HandlerFunc(serve)
			switch where {
			case "pool":
				pool = newPool(t, 1, 1)
				h = pool.Handler(h)
			case "detached":
				h = transport.HandlerFunc(func(r *transport.Request) {
					d := r.Detach()
					go serve(d)
				})
			}
			_, cli := e.pair(t, transport.Options{Handler: h}, transport.Options{})
			got, err := cli.Do(patient(t), transport.Message{Method: "m", Body: []byte("a"),
				Gather: [][]byte{[]byte("bc"), nil, []byte("d")}, Trace: []byte("00-11"),
				Route: 1 << 40, Timeout: 3 * time.Hour}, nil)
			require.NoError(t, err, where)
			want := "m|00-11|1099511627776|0s|abcd" // the context ends before the timeout
			require.Equal(t, want, string(got), where)
			got, err = cli.Do(background, transport.Message{Timeout: 3 * time.Hour}, nil)
			require.NoError(t, err, where)
			require.Equal(t, "||0|3h0m0s|", string(got), where)
		}
	})
}

func TestGatheredBodyInParts(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		_, cli := e.pair(t, handler(echo), transport.Options{})
		whole := body(1, 3<<20)
		var pieces [][]byte
		for p := range slices.Chunk(whole, 99991) {
			pieces = append(pieces, p)
		}
		got, err := cli.Do(patient(t), transport.Message{Body: pieces[0], Gather: pieces[1:]}, nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(whole, got))
	})
}

func TestCallback(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		_, cli := e.pair(t, handler(echo), transport.Options{})
		const n = 1000
		ended := make(chan error, n)
		var chained atomic.Int32
		for i := range n {
			sent := body(uint64(i), 8+i)
			err := cli.Go(transport.Message{Body: sent}, nil, func(reply []byte, err error) {
				if err == nil && !bytes.Equal(reply, sent) {
					err = io.ErrUnexpectedEOF
				}
				if i%10 == 0 { // a callback may send the next call
					_ = cli.Go(transport.Message{}, nil, func([]byte, error) { chained.Add(1) })
				}
				ended <- err
			})
			require.NoError(t, err)
			clear(sent[:0]) // ours again
		}
		for range n {
			require.NoError(t, receive(t, ended, "a callback"))
		}
		eventually(t, func() bool { return chained.Load() == n/10 }, "%d chained calls", n/10)
		require.Zero(t, cli.Stats().Pending)
	})
}

func TestCallbackUsesItsBuffer(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		_, cli := e.pair(t, handler(echo), transport.Options{})
		for _, n := range []int{10, 70 << 10, 1 << 20} {
			buf, sent := make([]byte, n), body(7, n)
			ended := make(chan bool, 1)
			require.NoError(t, cli.Go(transport.Message{Body: sent}, buf,
				func(reply []byte, err error) {
					ended <- err == nil && bytes.Equal(sent, reply) && &reply[0] == &buf[0]
				}))
			require.True(t, receive(t, ended, "the callback"), "%d bytes", n)
		}
	})
}

func TestReplies(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		seen := make(chan error, 10)
		var mux transport.Mux
		mux.HandleFunc("fail", func(r *transport.Request) {
			seen <- r.Fail(wire.CodeUser+7, "no luck")
			seen <- r.Reply(nil)
		})
		mux.HandleFunc("fail ok", func(r *transport.Request) { seen <- r.Fail(wire.CodeOK, "") })
		mux.HandleFunc("forget", func(*transport.Request) { seen <- nil })
		mux.HandleFunc("panic", func(*transport.Request) { panic("oh") })
		mux.HandleFunc("panic late", func(r *transport.Request) {
			_ = r.Reply([]byte("done"))
			panic("oh")
		})
		mux.HandleFunc("large", func(r *transport.Request) {
			seen <- r.Reply(make([]byte, 2000))
			seen <- r.Reply([]byte("small"))
		})
		mux.HandleFunc("twice", func(r *transport.Request) {
			d := r.Detach()
			seen <- d.Reply([]byte("one"))
			seen <- d.Reply([]byte("two"))
			seen <- r.Reply([]byte("three"))
		})
		_, cli := e.pair(t, transport.Options{Handler: &mux},
			transport.Options{Limits: transport.Limits{MaxBody: 1000}})
		call := func(method string) (string, error) {
			got, err := cli.Do(patient(t), transport.Message{Method: method}, nil)
			return string(got), err
		}

		_, err := call("fail")
		requireCode(t, wire.CodeUser+7, err)
		require.ErrorContains(t, err, "no luck")
		require.NoError(t, receive(t, seen, "Fail"))
		require.ErrorIs(t, receive(t, seen, "Reply"), transport.ErrReplied)

		_, err = call("fail ok")
		requireCode(t, wire.CodeFailed, err)
		require.NoError(t, receive(t, seen, "Fail"))

		_, err = call("forget")
		requireCode(t, wire.CodeInternal, err)
		_, err = call("panic")
		requireCode(t, wire.CodeInternal, err)
		require.ErrorContains(t, err, "oh")
		_, err = call("nobody")
		requireCode(t, wire.CodeNoMethod, err)
		got, err := call("panic late")
		require.NoError(t, err)
		require.Equal(t, "done", got)

		require.NoError(t, receive(t, seen, "forget"))
		got, err = call("large")
		require.NoError(t, err)
		require.Equal(t, "small", got)
		requireLimit(t, receive(t, seen, "Reply"))
		require.NoError(t, receive(t, seen, "Reply"))

		got, err = call("twice")
		require.NoError(t, err)
		require.Equal(t, "one", got)
		require.NoError(t, receive(t, seen, "Reply"))
		require.ErrorIs(t, receive(t, seen, "second Reply"), transport.ErrReplied)
		require.ErrorIs(t, receive(t, seen, "Reply of the original"), transport.ErrReplied)
	})
}

// An error without a code counts as "failed", however it comes in.
func TestErrorWithoutCode(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for name, size := range map[string]int{"whole": 100, "in several reads": 200_000} {
			t.Run(name, func(t *testing.T) {
				address, accepted := rawServer(t)
				go func() {
					r := accepted()
					r.greet(anyHello())
					for range 2 {
						r.send(native(wire.FlagsError, r.receive().ID, wire.Meta{}, body(1, size)))
					}
				}()
				cli := dial(t, address, e.of(transport.Options{}))
				_, err := cli.Call(patient(t), nil, nil)
				requireCode(t, wire.CodeFailed, err)
				ended := make(chan error, 1)
				require.NoError(t, cli.Go(transport.Message{}, nil,
					func(_ []byte, err error) { ended <- err }))
				requireCode(t, wire.CodeFailed, receive(t, ended, "the callback"))
			})
		}
	})
}

// A request that was replied to, or detached, has no duty left that Detach could take over.
func TestDetachTooLate(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		seen := make(chan error, 10)
		pool := newPool(t, 1, 10)
		late := func(r *transport.Request) {
			_ = r.Reply(r.Body())
			d := r.Detach()
			<-d.Context().Done()
			seen <- d.Reply(nil)
		}
		var mux transport.Mux
		mux.HandleFunc("late", late)
		mux.Handle("late on the pool", pool.Handler(transport.HandlerFunc(late)))
		mux.HandleFunc("twice", func(r *transport.Request) {
			r.Context()
			first, second := r.Detach(), r.Detach()
			seen <- second.Reply(nil)
			if !r.Oneway() && first.Context().Err() == nil {
				_ = first.Reply(first.Body())
			}
		})
		srv, cli := e.pair(t, transport.Options{Handler: &mux, Limits: transport.Limits{
			MaxCalls: 1, MaxBody: 100 << 10, MaxCallBytes: 1}}, transport.Options{})
		credit := cli.Stats().CreditBytes
		for _, method := range []string{"late", "late on the pool", "twice"} {
			for n := range 3 {
				m := transport.Message{Method: method, Body: body(1, 50<<10)}
				got, err := cli.Do(patient(t), m, nil)
				require.NoError(t, err, "%s, call %d", method, n)
				require.True(t, intact(got))
				require.ErrorIs(t, receive(t, seen, method), transport.ErrReplied)
			}
		}
		for range 10 {
			m := transport.Message{Method: "twice", Body: body(1, 50<<10)}
			require.NoError(t, cli.Post(patient(t), m))
			require.ErrorIs(t, receive(t, seen, "a oneway"), transport.ErrReplied)
		}
		require.NoError(t, cli.Ping(patient(t)))
		eventually(t, func() bool { s := srv.Stats(); return s.Serving == 0 && s.HeldBytes == 0 },
			"%v", now(srv.Stats))
		require.LessOrEqual(t, cli.Stats().CreditBytes, credit)
	})
}

func TestNoHandler(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		srv, cli := e.pair(t, transport.Options{}, transport.Options{})
		_, err := cli.Call(patient(t), []byte("x"), nil)
		requireCode(t, wire.CodeNoMethod, err)
		require.NoError(t, cli.Send(patient(t), []byte("x")))
		eventually(t, func() bool { return srv.Stats().Drops == 1 }, "the oneway is counted")
		requireLimit(t, cli.Post(patient(t), transport.Message{Method: string(make([]byte, 2000))}))
	})
}

func TestMuxAndMiddleware(t *testing.T) {
	var order []string
	note := func(name string) transport.Middleware {
		return func(h transport.Handler) transport.Handler {
			return transport.HandlerFunc(func(r *transport.Request) {
				order = append(order, name)
				h.Serve(r)
			})
		}
	}
	eachEngine(t, func(t *testing.T, e engine) {
		order = nil
		var mux transport.Mux
		mux.HandleFunc("bare", echo)
		mux.Use(note("a"), note("b"))
		mux.HandleFunc("wrapped", echo)
		mux.Fallback(transport.HandlerFunc(echo))
		require.Panics(t, func() { mux.HandleFunc("bare", echo) })
		_, cli := e.pair(t, transport.Options{Handler: &mux}, transport.Options{})
		for _, c := range []struct {
			method string
			order  []string
		}{{"bare", nil}, {"wrapped", []string{"a", "b"}}, {"else", []string{"a", "b"}}} {
			order = nil
			_, err := cli.Do(patient(t), transport.Message{Method: c.method}, nil)
			require.NoError(t, err, c.method)
			require.Equal(t, c.order, order, c.method)
		}
	})
}

func TestPool(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		pool := newPool(t, 2, 3)
		g := newGate(t)
		inside := make(chan struct{}, 10)
		h := pool.Handler(transport.HandlerFunc(func(r *transport.Request) {
			inside <- struct{}{}
			<-g.ch
			if string(r.Body()) == "panic" {
				panic("oh")
			}
			echo(r)
		}))
		srv, cli := e.pair(t, transport.Options{Handler: h}, transport.Options{})
		results := make(chan error, 10)
		call := func(body string) {
			require.NoError(t, cli.Go(transport.Message{Body: []byte(body)}, nil,
				func(_ []byte, err error) { results <- err }))
		}
		call("a")
		call("panic")
		receive(t, inside, "the first worker")
		receive(t, inside, "the second worker")
		for range 3 {
			call("queued")
		}
		call("one too many")
		requireCode(t, wire.CodeOverloaded, receive(t, results, "the refused call"))
		require.NoError(t, cli.Send(patient(t), []byte("dropped")))
		eventually(t, func() bool { return srv.Stats().Drops == 1 }, "drop of a oneway")
		require.Equal(t, 5, srv.Stats().Serving)
		g.open()
		failed := 0
		for range 5 {
			if err := receive(t, results, "a call on the pool"); err != nil {
				requireCode(t, wire.CodeInternal, err)
				failed++
			}
		}
		require.Equal(t, 1, failed)
		eventually(t, func() bool { return srv.Stats().Serving == 0 }, "%v", now(srv.Stats))
	})
}

func TestBodiesAreTheCallersAgain(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		bad := make(chan int, 1000)
		got := make(chan struct{}, 1000)
		srv, cli := e.pair(t, handler(func(r *transport.Request) {
			if !intact(r.Body()) {
				bad <- len(r.Body())
			}
			got <- struct{}{}
			echo(r)
		}), transport.Options{})
		const n = 200
		for i := range n {
			b := body(uint64(i), 100+i*977)
			if i%2 == 0 {
				require.NoError(t, cli.Send(patient(t), b))
			} else {
				ctx, cancel := context.WithCancel(background)
				time.AfterFunc(time.Duration(i)*time.Microsecond, cancel)
				_, _ = cli.Call(ctx, b, nil)
				cancel()
			}
			for j := range b {
				b[j] = 0xEE
			}
		}
		require.NoError(t, cli.Ping(patient(t)))
		require.NoError(t, cli.Close(patient(t)))
		receive(t, srv.Done(), "the other end has read everything")
		require.Empty(t, bad, "bodies changed after Send or Call had returned")
		require.GreaterOrEqual(t, len(got), n/2)
	})
}
