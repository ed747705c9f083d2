package transport_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// relay is a router in little: calls that come on one connection go on over another one, and their
// replies come back.
type relay struct {
	to     *transport.Conn
	held   transport.Held
	call   atomic.Uint32
	ended  func([]byte, error)
	errs   chan error
	ticket atomic.Uint64
}

func newRelay(to *transport.Conn) *relay {
	r := &relay{to: to, errs: make(chan error, 1)}
	r.ended = func(reply []byte, err error) {
		if err == nil {
			err = r.held.Reply(reply)
		} else {
			err = errors.Join(err, r.held.Fail(wire.CodeFailed, err.Error()))
		}
		select {
		case r.errs <- err:
		default:
		}
	}
	return r
}

func (r *relay) Serve(req *transport.Request) {
	var m transport.Message
	late := req.Message(&m)
	if late {
		_ = req.Fail(wire.CodeDeadline, "")
		return
	}
	r.held = req.Hold(r, r.ticket.Add(1))
	id, err := r.to.Begin(&m, nil, r.ended)
	if err != nil {
		_ = r.held.Fail(wire.CodeInternal, err.Error())
	}
	r.call.Store(id)
}

func (r *relay) Canceled(ticket uint64, cause error) {
	if ticket == r.ticket.Load() {
		r.to.Cancel(r.call.Load())
	}
}

// relayed connects a caller to the handler by way of a relay.
func (e engine) relayed(t testing.TB, o transport.Options) (*relay, *transport.Conn) {
	_, to := e.pair(t, o, transport.Options{})
	r := newRelay(to)
	_, cli := e.pair(t, transport.Options{Handler: r}, transport.Options{})
	return r, cli
}

func TestHeldIsAnsweredLater(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		_, cli := e.relayed(t, handler(func(r *transport.Request) {
			if string(r.Method()) == "fail" {
				_ = r.Fail(wire.CodeInvalid, "bad")
				return
			}
			_ = r.Gather([][]byte{r.Method(), r.Action(), r.Trace(), r.Body()})
		}))
		for _, size := range []int{0, 10, 20_000, 700_000} {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(i * 7)
			}
			got, err := cli.Do(patient(t), transport.Message{Method: "m", Action: []byte("a"),
				Trace: []byte("t"), Body: body, Timeout: patience}, nil)
			require.NoError(t, err)
			require.Equal(t, append([]byte("mat"), body...), got)
		}
		_, err := cli.Do(patient(t), transport.Message{Method: "fail"}, nil)
		require.ErrorContains(t, err, "invalid argument: bad")
	})
}

func TestHeldHearsOfCancel(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		ends, inside := make(chan error, 2), make(chan struct{}, 2)
		pool := transport.NewPool(2, 2)
		t.Cleanup(pool.Close)
		o := transport.Options{Handler: pool.Handler(transport.HandlerFunc(
			func(r *transport.Request) {
				inside <- struct{}{}
				<-r.Context().Done()
				ends <- context.Cause(r.Context())
			}))}
		r, cli := e.relayed(t, o)
		ctx, cancel := context.WithCancel(patient(t))
		go func() {
			<-inside
			cancel()
		}()
		_, err := cli.Do(ctx, transport.Message{}, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, receive(t, ends, "the end of the handler's context"), context.Canceled)
		require.ErrorIs(t, receive(t, r.errs, "the end of the call"), context.Canceled)

		go func() {
			<-inside
			cli.Abort(nil)
		}()
		_, err = cli.Do(patient(t), transport.Message{}, nil)
		require.Error(t, err)
		receive(t, ends, "the end of the handler's context")
		require.ErrorIs(t, receive(t, r.errs, "the end of the call"), context.Canceled)
	})
}

// TestRoomIsTold: a sender that found no room hears when there is some.
func TestRoomIsTold(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		hold := make(chan *transport.Request, 8)
		server := handler(func(r *transport.Request) { hold <- r.Detach() })
		server.Limits.MaxCalls = 2
		room := make(chan struct{}, 8)
		client := transport.Options{}
		client.Hooks.Room = func(*transport.Conn) { room <- struct{}{} }
		_, cli := e.pair(t, server, client)
		done := make(chan error, 8)
		begin := func() error {
			return cli.Go(transport.Message{}, nil, func(_ []byte, err error) { done <- err })
		}
		require.NoError(t, begin())
		require.NoError(t, begin())
		require.ErrorIs(t, begin(), transport.ErrFull)
		require.Empty(t, room)
		require.NoError(t, receive(t, hold, "a call").Reply(nil))
		receive(t, room, "room")
		require.NoError(t, begin())
		for range 2 {
			require.NoError(t, receive(t, hold, "a call").Reply(nil))
		}
		for range 3 {
			require.NoError(t, receive(t, done, "a reply"))
		}
		require.Empty(t, room, "nobody missed any")
	})
}

// What a request that is kept says stays as it was when the bytes that it came in are used again.
func TestDetachKeepsAllOfTheMeta(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		kept := make(chan *transport.Request, 2)
		_, cli := e.pair(t, handler(func(r *transport.Request) { kept <- r.Detach() }),
			transport.Options{})
		send := func(c string) chan error {
			done := make(chan error, 1)
			m := transport.Message{Method: c + "m", Action: []byte(c + "a"), Trace: []byte(c + "t"),
				Selector: []byte(c + "s"), Body: []byte(c + "b")}
			require.NoError(t, cli.Go(m, nil, func(_ []byte, err error) { done <- err }))
			return done
		}
		var all [2]*transport.Request
		var done [2]chan error
		for i, c := range []string{"1", "2"} {
			done[i] = send(c)
			all[i] = <-kept
		}
		for i, c := range []string{"1", "2"} {
			r := all[i]
			require.Equal(t, []string{c + "m", c + "a", c + "t", c + "s", c + "b"},
				[]string{string(r.Method()), string(r.Action()), string(r.Trace()),
					string(r.Selector()), string(r.Body())})
			require.NoError(t, r.Reply(nil))
			require.NoError(t, <-done[i])
		}
	})
}

// TestHeldMany: calls that a relay holds, with both connections on one loop, get the reply that is
// theirs, whatever is under way beside them, and so do those after they have been taken back.
func TestHeldMany(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g, err := transport.NewGroup(1, 0)
		require.NoError(t, err)
		t.Cleanup(func() { _ = g.Close() })
		_, to := e.pair(t, handler(echo), transport.Options{Group: g})
		_, cli := e.pair(t, transport.Options{Group: g, Handler: transport.HandlerFunc(
			func(r *transport.Request) {
				var m transport.Message
				r.Message(&m)
				held := r.Hold(nobody{}, 0)
				_, err := to.Begin(&m, nil, func(reply []byte, err error) {
					if err != nil {
						_ = held.Fail(wire.CodeInternal, err.Error())
						return
					}
					_ = held.Reply(reply)
				})
				if err != nil {
					_ = held.Fail(wire.CodeInternal, err.Error())
				}
			})}, transport.Options{})
		var left sync.WaitGroup
		within := patient(t)
		for i := range 64 {
			left.Go(func() {
				body := make([]byte, 8+i)
				for n := range times(200, 10_000) {
					binary.LittleEndian.PutUint64(body, uint64(i<<32+n))
					ctx, cancel := within, context.CancelFunc(func() {})
					if n%16 == i%16 {
						ctx, cancel = context.WithCancel(ctx)
						go cancel()
					}
					got, err := cli.Call(ctx, body, nil)
					cancel()
					if err == nil && !bytes.Equal(got, body) ||
						err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("caller %d, call %d: %v, reply %x", i, n, err, got)
						return
					}
				}
			})
		}
		left.Wait()
		eventually(t, func() bool { return cli.Stats().Pending == 0 }, "%v", now(cli.Stats))
	})
}

// nobody does not want to know who has given up.
type nobody struct{}

func (nobody) Canceled(uint64, error) {}
