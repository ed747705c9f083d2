package transport_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// R1: 4,096 concurrent calls each way on one socket with an 8 KiB send buffer and 64 KiB bodies: no
// second without a completed call, memory within credit x 64 KiB; the handlers reply from the loop,
// from the pool, and from a pool where each of them blocks for 100 ms.
func TestR1NoDeadlock(t *testing.T) {
	callers, span := 256, 700*time.Millisecond
	stall := patience
	if long() {
		callers, span, stall = 4096, time.Minute, time.Second
	}
	const size = 64 << 10
	for name, delay := range map[string]time.Duration{"loop": -1, "pool": 0,
		"blocked": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, e engine) {
				o := handler(echo)
				if delay >= 0 {
					pool := newPool(t, callers, 2*callers)
					o.Handler = pool.Handler(transport.HandlerFunc(func(r *transport.Request) {
						time.Sleep(delay)
						echo(r)
					}))
				}
				o.Socket.SendBuffer = 8 << 10
				srv, cli := e.pair(t, o, o)
				f := newFlood(size, span)
				for i := range callers {
					f.wg.Go(func() { f.call(t, srv, i) })
					f.wg.Go(func() { f.call(t, cli, i) })
				}
				gap := f.watch(t, srv, cli)
				require.NoError(t, errors.Join(srv.Err(), cli.Err()), "both ends live")
				require.Less(t, gap, stall, "the longest time without a completed call")
				require.LessOrEqual(t, f.held, 2*int64(transport.DefaultMaxCalls)*size)
				t.Logf("%d calls, longest gap %v, at most %d MiB held", f.done.Load(), gap,
					f.held>>20)
			})
		})
	}
}

// flood is many callers with one end.
type flood struct {
	bodies [64][]byte
	until  time.Time
	wg     sync.WaitGroup
	done   atomic.Int64
	once   sync.Once
	held   int64
}

func newFlood(size int, span time.Duration) *flood {
	f := &flood{}
	for i := range f.bodies {
		f.bodies[i] = body(uint64(i), size)
	}
	f.until = time.Now().Add(span)
	return f
}

func (f *flood) call(t *testing.T, c *transport.Conn, i int) {
	sent := f.bodies[i%len(f.bodies)]
	buf := make([]byte, len(sent))
	for time.Now().Before(f.until) {
		got, err := c.Call(background, sent, buf)
		if err != nil || !bytes.Equal(sent, got) {
			f.once.Do(func() { t.Errorf("the first failure, of caller %d: %v", i, err) })
			return
		}
		f.done.Add(1)
	}
}

// watch returns the longest time without a completed call, when all callers are back.
func (f *flood) watch(t *testing.T, conns ...*transport.Conn) (gap time.Duration) {
	back := make(chan struct{})
	go func() { f.wg.Wait(); close(back) }()
	last, since := int64(0), time.Now()
	for {
		select {
		case <-back:
			return gap
		case <-time.After(5 * time.Millisecond):
		}
		if n := f.done.Load(); n != last {
			last, since = n, time.Now()
		}
		gap = max(gap, time.Since(since))
		for _, c := range conns {
			f.held = max(f.held, c.Stats().HeldBytes)
		}
		if gap > patience {
			for _, c := range conns {
				t.Errorf("stuck after %d calls: %+v", last, c.Stats())
				c.Abort(nil)
			}
			<-back
			return gap
		}
	}
}

// R2: the reader of a connection never waits for its writer: all of a peer's calls are read though
// it takes none of the replies.
func TestR2ReaderNeverWaitsForWriter(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		const n, size = 2000, 16 << 10
		var served atomic.Int32
		reply := make([]byte, size)
		l := listen(t, e.of(handler(func(r *transport.Request) {
			served.Add(1)
			_ = r.Reply(reply)
		})))
		r, hello := rawClient(t, l.Address(), anyHello())
		require.GreaterOrEqual(t, int(hello.Calls), n)
		for id := range uint32(n) {
			r.send(native(wire.FlagsCall, id+1, wire.Meta{}, "x"))
		}
		eventually(t, func() bool { return served.Load() == n }, "%v of %d calls are read",
			now(served.Load), n)
		require.Greater(t, l.Stats().OutboxBytes, int64(n*size/2))
		for range n {
			require.Equal(t, wire.FlagsReply, r.receive().Flags)
		}
	})
}

// R3: a slow receiver of one flow does not hold up another flow of the same connection.
func TestR3SlowFlowHoldsUpNoOther(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		g := newGate(t)
		var mux transport.Mux
		mux.HandleFunc("stuck", g.hold)
		mux.HandleFunc("fast", echo)
		l := listen(t, server.of(transport.Options{Handler: &mux,
			Limits: transport.Limits{MaxCalls: 100}}))
		cli := dial(t, l.Address(), client.of(transport.Options{}))
		results := make(chan error, 50)
		for range 50 {
			require.NoError(t, cli.Go(transport.Message{Method: "stuck", Body: make([]byte, 10000)},
				nil, func(_ []byte, err error) { results <- err }))
		}
		for range 300 {
			_, err := cli.Do(patient(t), transport.Message{Method: "fast"}, nil)
			require.NoError(t, err)
		}
		require.Equal(t, 50, cli.Stats().Pending)
		g.open()
		for range 50 {
			require.NoError(t, receive(t, results, "the stuck calls"))
		}
	})
}

// R3 also while a 16 MiB body is under way: other frames go between its parts.
func TestR3SmallFramesBetweenParts(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		address, accepted := rawServer(t)
		conns := make(chan *raw, 1)
		go func() {
			r := accepted()
			r.greet(anyHello())
			conns <- r
		}()
		c := dial(t, address, e.of(transport.Options{}))
		r := receive(t, conns, "the greeting")
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = c.Call(background, make([]byte, transport.DefaultMaxBody), nil) })
		first := r.receive()
		require.Equal(t, wire.FlagsCall|wire.Part, first.Flags)
		require.NoError(t, c.Send(patient(t), []byte("small")))
		_, before := r.until("the small one", func(f wire.Frame) bool {
			return f.Flags == wire.FlagsOneway
		})
		require.Less(t, before, 32, "parts of 64 before the small frame")
		_, rest := r.until("the last part", func(f wire.Frame) bool {
			return f.Flags == wire.FlagsCall
		})
		require.Greater(t, rest, 16)
		r.conn.Close()
		wg.Wait()
	})
}

// R4: no lock of the pending table is held during a write: while one is stuck, others give up in
// time, look at the counters, and are refused at once.
func TestR4NoLockDuringWrite(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		address, accepted := rawServer(t)
		conns := make(chan *raw, 1)
		go func() {
			r := accepted()
			r.greet(anyHello())
			conns <- r // reads nothing
		}()
		c := dial(t, address, e.of(transport.Options{}))
		receive(t, conns, "the greeting")
		var wg sync.WaitGroup
		large := make([]byte, wire.PartSize+1)
		for range 32 {
			wg.Go(func() {
				begin := time.Now()
				_, err := c.Do(background, transport.Message{Body: large,
					Timeout: 50 * time.Millisecond}, nil)
				if took := time.Since(begin); !errors.Is(err, transport.ErrDeadline) ||
					took > 50*time.Millisecond+slack {
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		eventually(t, func() bool { return c.Stats().OutboxFrames > 0 }, "a write is stuck")
		inTime(t, slack, "Stats", func() { _ = c.Stats() })
		inTime(t, slack, "Go", func() {
			_ = c.Go(transport.Message{}, nil, func([]byte, error) {})
		})
		wg.Wait()
		c.Abort(nil)
	})
}

// R35: control frames and replies never wait behind events in one bounded queue, nor behind a
// 16 MiB body.
func TestR35RepliesOvertakeEvents(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for name, size := range map[string]int{"events": 8 << 10, "a large body": 16 << 20} {
			t.Run(name, func(t *testing.T) {
				opened, answered := make(chan *transport.Conn, 1), make(chan error, 1)
				o := handler(func(r *transport.Request) { answered <- r.Reply(r.Body()) })
				o.Hooks.Open = func(c *transport.Conn) { opened <- c }
				r, _ := rawClient(t, listen(t, e.of(o)).Address(), anyHello())
				c := receive(t, opened, "the hook")
				if size > 1<<20 {
					require.NoError(t, c.TryPost(transport.Message{Body: make([]byte, size)}))
				} else {
					fill(t, c)
				}
				ahead := c.Stats().OutboxBytes // what the kernel has not taken yet
				require.Greater(t, ahead, int64(3<<20))
				r.send(wire.AppendControl(nil, wire.KindPing, 7),
					native(wire.FlagsCall, 9, wire.Meta{}, "hi"))
				require.NoError(t, receive(t, answered, "the handler"))
				read := 0
				pong, reply := -1, -1
				for pong < 0 || reply < 0 {
					f := r.receive()
					switch {
					case control(f, wire.KindPong):
						pong = read
					case f.Flags == wire.FlagsReply:
						reply = read
					}
					read += wire.HeaderSize + len(f.Body)
				}
				// What was in the socket and under way in the writer comes first, no more.
				const before = 1 << 20
				require.Less(t, pong, before, "bytes of events before the pong")
				require.Less(t, reply, before, "bytes of events before the reply")
				r.conn.Close()
			})
		}
	})
}

// R10: the bytes of a stream come in any pieces, at any time, and leave every call exact.
func TestR10AnyPieces(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		for _, f := range pieces {
			l := listen(t, server.of(handler(echo)))
			p := proxy(t, l.Address(), f)
			srvSide := handler(echo)
			cli := dial(t, p.Address(), client.of(srvSide))
			var wg sync.WaitGroup
			for _, c := range []*transport.Conn{cli, l.Conns()[0]} {
				for i := range 4 {
					wg.Go(func() {
						for j := range times(5, 2000) {
							sent := body(uint64(i<<20|j), 4+rand.IntN(1<<rand.IntN(15)))
							got, err := c.Call(patient(t), sent, nil)
							if err != nil || !bytes.Equal(sent, got) {
								t.Errorf("%v: call %d of %d bytes: %v\nhere: %+v\nthere: %+v", p, j,
									len(sent), err, c.Stats(), l.Stats())
								return
							}
						}
					})
				}
			}
			wg.Wait()
			if f.Split >= 1000 {
				sent := body(1, 2<<20)
				got, err := cli.Call(patient(t), sent, nil)
				require.NoError(t, err, p)
				require.True(t, bytes.Equal(sent, got), p)
			}
			require.NoError(t, cli.Close(patient(t)), p)
		}
	})
}

// Connections that are cut anywhere fail their calls, each once, and leave nothing behind.
func TestR10CutAnywhere(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		l := listen(t, server.of(handler(echo)))
		for i := range times(40, 5000) {
			f := cuts[i%len(cuts)]
			f.Seed = rand.Uint64() | 1
			p := proxy(t, l.Address(), f)
			cli, err := transport.Dial(patient(t), p.Address(), client.of(handler(echo)))
			if err != nil {
				require.ErrorIs(t, err, transport.ErrConnLost, "%v", p)
				p.Close()
				continue
			}
			var ended atomic.Int32
			n := 0
			for ; n < 50; n++ {
				sent := body(uint64(n), 100+rand.IntN(2000))
				if cli.Go(transport.Message{Body: sent}, nil, func(got []byte, err error) {
					ended.Add(1)
					if err == nil && !bytes.Equal(sent, got) {
						t.Errorf("%v: a reply with other bytes", p)
					}
				}) != nil {
					break
				}
			}
			for range 20 {
				if _, err = cli.Call(patient(t), body(1, 20000), nil); err != nil {
					require.ErrorIs(t, err, transport.ErrConnLost, "%v", p)
					break
				}
			}
			p.Close()
			receive(t, cli.Done(), "Done")
			require.EqualValues(t, n, ended.Load(), "each callback once: %v", p)
			require.ErrorIs(t, cli.Err(), transport.ErrConnLost, "%v", p)
		}
		eventually(t, func() bool { return l.Stats().Conns == 0 }, "%v", now(l.Stats))
	})
}
