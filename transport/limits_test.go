package transport_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// R15: the limit of a body holds on the sender, whose connection survives, and on the receiver,
// which ends it.
func TestR15MaxBodyOnTheSender(t *testing.T) {
	const limit = 5000
	eachPair(t, func(t *testing.T, server, client engine) {
		l := listen(t, server.of(transport.Options{Handler: transport.HandlerFunc(echo),
			Limits: transport.Limits{MaxBody: limit}}))
		cli := dial(t, l.Address(), client.of(transport.Options{}))
		for n, ok := range map[int]bool{limit: true, limit + 1: false, limit + 300<<10: false} {
			m := transport.Message{Body: make([]byte, n-10), Gather: [][]byte{make([]byte, 10)}}
			_, callErr := cli.Do(patient(t), m, nil)
			postErr := cli.Post(patient(t), m)
			goErr := cli.Go(m, nil, func([]byte, error) {})
			if ok {
				require.NoError(t, errors.Join(callErr, postErr, goErr))
				continue
			}
			for _, err := range []error{callErr, postErr, goErr} {
				var e *transport.LimitError
				require.ErrorAs(t, err, &e)
				require.EqualValues(t, n, e.Value)
				require.EqualValues(t, limit, e.Limit)
			}
		}
		require.NoError(t, cli.Ping(patient(t)), "the connection survives")
	})
}

func TestR15MaxBodyOnTheReceiver(t *testing.T) {
	const limit = 5000
	eachEngine(t, func(t *testing.T, e engine) {
		for name, sent := range map[string][][]byte{
			"whole": {native(wire.FlagsCall, 1, wire.Meta{}, make([]byte, limit+1))},
			"parts": {native(wire.FlagsCall|wire.Part, 1, wire.Meta{}, make([]byte, limit)),
				frame(wire.FlagsCall, 1, "x")},
			"claim": {header(wire.FlagsOneway, 0, 1<<31)},
		} {
			t.Run(name, func(t *testing.T) {
				o, ended := closed(transport.Options{Limits: transport.Limits{MaxBody: limit}})
				r, _ := rawClient(t, listen(t, e.of(o)).Address(), anyHello())
				r.send(sent...)
				r.end()
				err := receive(t, ended, "the hook")
				requireViolation(t, err)
				requireLimit(t, err)
			})
		}
	})
}

func TestMaxPending(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g := newGate(t)
		_, cli := e.pair(t, handler(g.hold),
			transport.Options{Limits: transport.Limits{MaxPending: 5}})
		results := make(chan error, 10)
		done := func(_ []byte, err error) { results <- err }
		for range 3 {
			require.NoError(t, cli.Go(transport.Message{}, nil, done))
		}
		for cli.Stats().Tombstones < 2 { // they count, too
			_, err := cli.Do(background, transport.Message{Timeout: time.Millisecond}, nil)
			require.ErrorIs(t, err, transport.ErrDeadline)
		}
		var limit *transport.LimitError
		_, err := cli.Call(patient(t), nil, nil)
		require.ErrorAs(t, err, &limit)
		require.EqualValues(t, 5, limit.Limit)
		require.ErrorAs(t, cli.Go(transport.Message{}, nil, done), &limit)
		g.open()
		for range 3 {
			require.NoError(t, receive(t, results, "a pending call"))
		}
		eventually(t, func() bool { return cli.Stats().Pending == 0 }, "%v", now(cli.Stats))
		_, err = cli.Call(patient(t), nil, nil)
		require.NoError(t, err, "the slots are usable again")
	})
}

// The peer's credit of calls: a caller waits within its time, others get ErrFull.
func TestCreditOfCalls(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		g := newGate(t)
		l := listen(t, server.of(transport.Options{Handler: transport.HandlerFunc(g.hold),
			Limits: transport.Limits{MaxCalls: 3}}))
		cli := dial(t, l.Address(), client.of(transport.Options{}))
		require.Equal(t, 3, cli.Stats().CreditCalls)
		results := make(chan error, 10)
		call := func() { _, err := cli.Call(patient(t), nil, nil); results <- err }
		for range 3 {
			go call()
		}
		eventually(t, func() bool { return l.Stats().Serving == 3 }, "%v", now(l.Stats))
		require.Zero(t, cli.Stats().CreditCalls)
		nothing := func([]byte, error) {}
		require.ErrorIs(t, cli.Go(transport.Message{}, nil, nothing), transport.ErrFull)
		ctx, cancel := newTimeout(20 * time.Millisecond)
		defer cancel()
		_, err := cli.Call(ctx, nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = cli.Do(background, transport.Message{Timeout: 20 * time.Millisecond}, nil)
		require.ErrorIs(t, err, transport.ErrDeadline)
		require.Equal(t, 3, cli.Stats().Pending, "what was never sent leaves no tombstone")
		require.NoError(t, cli.Send(patient(t), nil), "oneways need no credit of calls")
		for range 4 {
			go call()
		}
		time.Sleep(5 * time.Millisecond) // some of them wait, most likely
		require.Equal(t, 3, l.Stats().Serving)
		g.open()
		for range 7 {
			require.NoError(t, receive(t, results, "a call"))
		}
	})
}

// A reply gives the place of its call back, and its id: whoever has read it may call again, even if
// the one who replied is still writing for others.
func TestCreditOfCallsComesWithTheReply(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		reply := make([]byte, 20<<10) // written from where it lies
		calls, gate := make(chan *transport.Request, 3), newGate(t)
		defer gate.open()
		var srv *transport.Conn
		var second *transport.Request
		opts, ended := closed(handler(func(r *transport.Request) { calls <- r.Detach() }))
		opts.Limits.MaxCalls = 2
		opts.Hooks.Open = func(c *transport.Conn) { srv = c }
		opts.Hooks.Trace = func(ev transport.Event) {
			switch {
			case !ev.Out || ev.Header.Flags != wire.FlagsReply:
			case ev.Header.ID == 1 && second != nil: // about to be written; the other one queues up
				go second.Reply(reply)
				second = nil
				eventually(t, func() bool { return srv.Stats().OutboxFrames == 2 }, "%v",
					now(srv.Stats))
			case ev.Header.ID == 2: // the first one is written
				<-gate.ch
			}
		}
		r, _ := rawClient(t, listen(t, e.of(opts)).Address(), anyHello())
		call := func(id uint32) { r.send(native(wire.FlagsCall, id, wire.Meta{}, "")) }
		call(1)
		call(2)
		first := receive(t, calls, "the first call")
		second = receive(t, calls, "the second call")
		go first.Reply(reply)
		require.Equal(t, wire.FlagsReply, r.reply(1).Flags)
		call(1)
		select {
		case again := <-calls:
			gate.open()
			require.Equal(t, wire.FlagsReply, r.reply(2).Flags)
			require.NoError(t, again.Reply(nil))
			require.Equal(t, wire.FlagsReply, r.reply(1).Flags)
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "the call did not come in")
		}
	})
}

// The peer's credit of bytes comes back as its handlers finish, however they run.
func TestCreditOfBytesReturns(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		pool := newPool(t, 2, 10000)
		var mux transport.Mux
		mux.HandleFunc("loop", echo)
		mux.Handle("pool", pool.Handler(transport.HandlerFunc(echo)))
		mux.HandleFunc("detach", func(r *transport.Request) {
			d := r.Detach()
			go echo(d)
		})
		mux.HandleFunc("fail", func(r *transport.Request) { _ = r.Fail(wire.CodeFailed, "") })
		l := listen(t, server.of(transport.Options{Handler: &mux,
			Limits: transport.Limits{MaxBody: 100 << 10, MaxCallBytes: 1}}))
		cli := dial(t, l.Address(), client.of(transport.Options{}))
		first := cli.Stats().CreditBytes
		require.Greater(t, first, int64(100<<10))
		for _, method := range []string{"loop", "pool", "detach", "fail", "nobody"} {
			m := transport.Message{Method: method, Body: make([]byte, 100<<10)}
			for i := range 40 { // ten times the credit
				require.NoError(t, cli.Post(patient(t), m), "%s, oneway %d", method, i)
				_, err := cli.Do(patient(t), m, nil)
				var remote *transport.RemoteError
				if !errors.As(err, &remote) {
					require.NoError(t, err, "%s, call %d", method, i)
				}
			}
		}
		eventually(t, func() bool { return cli.Stats().CreditBytes > first*3/4-200 },
			"of %d bytes of credit came back: %v", first, now(cli.Stats))
		require.LessOrEqual(t, cli.Stats().CreditBytes, first)
	})
}

// A receiver whose handlers do not finish is sent no more than the credit it gave.
func TestCreditOfBytesBoundsTheSender(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		pool := newPool(t, 1, 10000)
		g := newGate(t)
		h := pool.Handler(transport.HandlerFunc(func(r *transport.Request) { <-g.ch }))
		const limit = 1 << 20
		l := listen(t, server.of(transport.Options{Handler: h,
			Limits: transport.Limits{MaxBody: 10 << 10, MaxCallBytes: limit}}))
		cli := dial(t, l.Address(), client.of(transport.Options{}))
		sent := 0
		for ; sent < 1000; sent++ {
			if err := cli.TryPost(transport.Message{Body: make([]byte, 10<<10)}); err != nil {
				require.ErrorIs(t, err, transport.ErrFull)
				break
			}
		}
		require.LessOrEqual(t, sent, limit/(10<<10))
		require.GreaterOrEqual(t, sent, limit/(10<<10)*3/4)
		var ends sync.WaitGroup
		ends.Go(func() {
			if err := cli.Send(patient(t), make([]byte, 10<<10)); err != nil {
				t.Errorf("waiting for credit: %v", err)
			}
		})
		g.open()
		ends.Wait()
	})
}

// Peers that do not keep to their credit are answered, then cut off.
func TestCreditExceeded(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g := newGate(t)
		o, ended := closed(transport.Options{Handler: transport.HandlerFunc(g.hold),
			Limits: transport.Limits{MaxBody: 10000, MaxCalls: 3, MaxCallBytes: 1 << 20}})
		l := listen(t, e.of(o))
		t.Run("calls", func(t *testing.T) {
			r, hello := rawClient(t, l.Address(), anyHello())
			require.EqualValues(t, 3, hello.Calls)
			for id := range uint32(5) {
				r.send(native(wire.FlagsCall, id+1, wire.Meta{}, "x"))
			}
			for _, id := range []uint32{4, 5} {
				f := r.reply(id)
				require.Equal(t, wire.FlagsError, f.Flags)
				m, _, err := wire.ParseBody(f.Body)
				require.NoError(t, err)
				require.Equal(t, wire.CodeOverloaded, m.Code)
			}
			r.conn.Close()
			require.ErrorIs(t, receive(t, ended, "the end"), transport.ErrConnLost)
		})
		t.Run("bytes", func(t *testing.T) {
			pool := newPool(t, 1, 10000)
			g := newGate(t)
			o, ended := closed(transport.Options{Handler: pool.Handler(transport.HandlerFunc(
				func(*transport.Request) { <-g.ch })), Limits: o.Limits})
			r, hello := rawClient(t, listen(t, e.of(o)).Address(), anyHello())
			oneway := native(wire.FlagsOneway, 0, wire.Meta{}, make([]byte, 9000))
			for sent := 0; sent < 2*int(hello.Bytes)+1<<20; sent += len(oneway) {
				r.send(oneway)
			}
			r.end()
			err := receive(t, ended, "the end")
			requireViolation(t, err)
			requireLimit(t, err)
			g.open()
		})
	})
}

func TestOutboxWatermark(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		address, accepted := rawServer(t)
		const limit = 256 << 10
		stop := newGate(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			r := accepted()
			r.greet(anyHello())
			<-stop.ch // reads nothing until then
			r.end()
		})
		c := dial(t, address, e.of(transport.Options{Limits: transport.Limits{Outbox: limit}}))
		fill(t, c)
		s := c.Stats()
		require.LessOrEqual(t, s.OutboxBytes, int64(limit+64<<10), "%+v", s)
		require.ErrorIs(t, c.Go(transport.Message{Body: make([]byte, 8<<10)}, nil,
			func([]byte, error) {}), transport.ErrFull)
		ctx, cancel := newTimeout(20 * time.Millisecond)
		defer cancel()
		inTime(t, 20*time.Millisecond+slack, "Send", func() {
			require.ErrorIs(t, c.Send(ctx, make([]byte, 8<<10)), context.DeadlineExceeded)
		})
		inTime(t, 20*time.Millisecond+slack, "Do", func() {
			_, err := c.Do(background, transport.Message{Body: make([]byte, 8<<10),
				Timeout: 20 * time.Millisecond}, nil)
			require.ErrorIs(t, err, transport.ErrDeadline)
		})
		require.Zero(t, c.Stats().Tombstones, "nothing was sent of it")
		stop.open()
		require.NoError(t, c.Send(patient(t), make([]byte, 8<<10)), "there is room again")
		c.Abort(nil)
		wg.Wait()
	})
}

// fill posts until the socket and the outbox of c are full, and stay so: as long as it takes who
// writes to have a turn on a machine with other work.
func fill(t testing.TB, c *transport.Conn) {
	t.Helper()
	full := 0
	for sent := 0; full < 50; {
		err := c.TryPost(transport.Message{Body: make([]byte, 8<<10)})
		if err == nil {
			sent++
			full = 0
			require.Less(t, sent, 10000, "bodies of 8 KiB for a peer that reads nothing")
			continue
		}
		require.ErrorIs(t, err, transport.ErrFull)
		full++
		time.Sleep(4 * time.Millisecond)
	}
}

func TestConnMemory(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for name, o := range map[string]func() transport.Options{
			"of the connection": func() transport.Options {
				return transport.Options{Limits: transport.Limits{ConnMemory: 1 << 20}}
			},
			"of the group": func() transport.Options {
				g, err := transport.NewGroup(1, 1<<20)
				require.NoError(t, err)
				t.Cleanup(func() {
					eventually(t, func() bool { return g.Held() == 0 }, "%v held", now(g.Held))
					require.NoError(t, g.Close())
				})
				return transport.Options{Group: g}
			},
		} {
			t.Run(name, func(t *testing.T) {
				o := o()
				g := newGate(t)
				o.Handler = transport.HandlerFunc(g.hold)
				_, cli := e.pair(t, o, transport.Options{})
				results := make(chan error, 100)
				const n = 40
				for range n {
					require.NoError(t, cli.Go(transport.Message{Body: make([]byte, 100<<10)}, nil,
						func(_ []byte, err error) { results <- err }))
				}
				// Some are inside, the others are refused, or the connection ends.
				refused := receive(t, results, "a refused call")
				var remote *transport.RemoteError
				if errors.As(refused, &remote) {
					require.Equal(t, wire.CodeOverloaded, remote.Code)
				} else {
					require.ErrorIs(t, refused, transport.ErrConnLost)
				}
				g.open()
				for range n - 1 {
					_ = receive(t, results, "the other calls")
				}
			})
		}
	})
}

func TestMaxConns(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		l := listen(t, e.of(transport.Options{Limits: transport.Limits{MaxConns: 2}}))
		first := dial(t, l.Address(), e.of(transport.Options{}))
		dial(t, l.Address(), e.of(transport.Options{}))
		_, err := transport.Dial(patient(t), l.Address(), e.of(transport.Options{}))
		var op *transport.OpError
		require.ErrorAs(t, err, &op)
		s := l.Stats()
		require.EqualValues(t, 2, s.Accepted)
		require.EqualValues(t, 1, s.Refused)
		require.Equal(t, 2, s.Conns)
		require.NoError(t, first.Close(patient(t)))
		eventually(t, func() bool { return l.Stats().Conns == 1 }, "the first has left")
		dial(t, l.Address(), e.of(transport.Options{}))
	})
}
