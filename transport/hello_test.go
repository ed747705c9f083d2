package transport_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

func TestHelloNegotiates(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		l := listen(t, e.of(transport.Options{Handler: transport.HandlerFunc(echo),
			Limits: transport.Limits{MaxBody: 1000, MaxCalls: 7}}))
		h := anyHello()
		h.MaxVersion = wire.Version + 9
		r, answer := rawClient(t, l.Address(), h)
		require.EqualValues(t, wire.Version, answer.MinVersion)
		require.EqualValues(t, wire.Version, answer.MaxVersion)
		require.EqualValues(t, 1000, answer.MaxBody)
		require.EqualValues(t, 7, answer.Calls)
		require.GreaterOrEqual(t, answer.Bytes, uint64(1000))
		require.Zero(t, answer.Capabilities&wire.CapFiles, "files were not asked for")
		r.send(native(wire.FlagsCall, 9, wire.Meta{}, "hi"))
		require.Equal(t, native(wire.FlagsReply, 9, wire.Meta{}, "hi"), r.reply(9).AppendTo(nil))
	})
}

func TestHelloWithoutCommonVersion(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		t.Run("server", func(t *testing.T) {
			o, ended := closed(transport.Options{})
			l := listen(t, e.of(o))
			r := rawDial(t, l.Address())
			h := wire.Hello{MinVersion: wire.Version + 1, MaxVersion: wire.Version + 2}
			r.send(h.AppendTo(nil))
			got := r.end()
			require.Len(t, got, 1, "one frame says why")
			require.Equal(t, wire.FlagsError, got[0].Flags)
			require.Zero(t, got[0].ID)
			meta, text, err := wire.ParseBody(got[0].Body)
			require.NoError(t, err)
			require.Equal(t, wire.CodeVersion, meta.Code)
			require.Contains(t, string(text), wire.ErrNoVersion.Error())
			require.ErrorIs(t, receive(t, ended, "the end"), wire.ErrNoVersion)
		})
		t.Run("client told so", func(t *testing.T) {
			address, accepted := rawServer(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				r := accepted()
				_ = r.receive()
				r.send(native(wire.FlagsError, 0, wire.Meta{Code: wire.CodeVersion}, "too old"))
				r.conn.Close()
			})
			_, err := transport.Dial(patient(t), address, e.of(transport.Options{}))
			wg.Wait()
			require.ErrorIs(t, err, wire.ErrNoVersion)
			require.ErrorContains(t, err, "too old")
			var op *transport.OpError
			require.ErrorAs(t, err, &op)
		})
		t.Run("client finds out", func(t *testing.T) {
			address, accepted := rawServer(t)
			var wg sync.WaitGroup
			wg.Go(func() { accepted().greet(wire.Hello{MinVersion: 77, MaxVersion: 77}) })
			_, err := transport.Dial(patient(t), address, e.of(transport.Options{}))
			wg.Wait()
			require.ErrorIs(t, err, wire.ErrNoVersion)
		})
	})
}

func TestClientSkipsBroadcastsBeforeHello(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		address, accepted := rawServer(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			r := accepted()
			r.send(frame(0, 5, `{"action":"x"}`), frame(0, 0, ""),
				frame(0, 6, make([]byte, 100<<10)))
			r.greet(anyHello())
			f := r.receive()
			r.send(native(wire.FlagsReply, f.ID, wire.Meta{}, "ok"))
			r.end()
		})
		c := dial(t, address, e.of(transport.Options{}))
		got, err := c.Call(patient(t), nil, nil)
		require.NoError(t, err)
		require.Equal(t, "ok", string(got))
		require.NoError(t, c.Close(patient(t)))
		wg.Wait()
	})
}

func TestDialFailures(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for name, c := range map[string]struct {
			answer []byte
			want   func(error) bool
		}{
			"not native": {frame(wire.FlagsReply, 1, "\x00"), isViolation},
			"garbage":    {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), isViolation},
			"bad hello":  {frame(wire.FlagsControl, 0, "\x01PITHOS\xff"), isViolation},
			"denied": {native(wire.FlagsError, 0, wire.Meta{Code: wire.CodeDenied}, "no"),
				func(err error) bool { return errors.Is(err, transport.ErrDenied) }},
			"gone": {nil, func(err error) bool { return errors.Is(err, transport.ErrConnLost) }},
		} {
			t.Run(name, func(t *testing.T) {
				address, accepted := rawServer(t)
				var wg sync.WaitGroup
				wg.Go(func() {
					r := accepted()
					_ = r.receive()
					r.send(c.answer)
					r.conn.Close()
				})
				_, err := transport.Dial(patient(t), address, e.of(transport.Options{}))
				wg.Wait()
				require.Error(t, err)
				require.True(t, c.want(err), "%v", err)
				var op *transport.OpError
				require.ErrorAs(t, err, &op)
			})
		}
		t.Run("silent server", func(t *testing.T) {
			address, accepted := rawServer(t)
			o := transport.Options{Limits: transport.Limits{HelloTimeout: 30 * time.Millisecond}}
			inTime(t, 30*time.Millisecond+slack, "Dial", func() {
				_, err := transport.Dial(background, address, e.of(o))
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
			accepted()
		})
		t.Run("context", func(t *testing.T) {
			address, accepted := rawServer(t)
			ctx, cancel := context.WithCancel(background)
			time.AfterFunc(20*time.Millisecond, cancel)
			inTime(t, 20*time.Millisecond+slack, "Dial", func() {
				_, err := transport.Dial(ctx, address, e.of(transport.Options{}))
				require.ErrorIs(t, err, context.Canceled)
			})
			accepted()
		})
		t.Run("nobody there", func(t *testing.T) {
			_, err := transport.Dial(patient(t), t.TempDir()+"/none", e.of(transport.Options{}))
			require.ErrorIs(t, err, os.ErrNotExist)
		})
	})
}

func isViolation(err error) bool {
	var p *transport.ProtocolError
	return errors.As(err, &p)
}

func TestHelloInTime(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for name, sent := range map[string][]byte{
			"silent":           nil,
			"half a header":    {0x28, 0, 0},
			"half a hello":     header(wire.FlagsControl, 0, 50),
			"half a hello too": append(header(wire.FlagsControl, 0, 50), "\x01PIT"...),
		} {
			t.Run(name, func(t *testing.T) {
				o, ended := closed(transport.Options{
					Limits: transport.Limits{HelloTimeout: 50 * time.Millisecond}})
				l := listen(t, e.of(o))
				r := rawDial(t, l.Address())
				r.send(sent)
				inTime(t, 50*time.Millisecond+slack, "the end", func() { r.end() })
				require.ErrorIs(t, receive(t, ended, "the hook"), os.ErrDeadlineExceeded)
			})
		}
	})
}

func TestHooksAndAttachment(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		var mu sync.Mutex
		var order []string
		note := func(s string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, s)
		}
		var opened *transport.Conn
		srv, cli := e.pair(t, transport.Options{
			Handler: transport.HandlerFunc(func(r *transport.Request) {
				note("frame")
				_ = r.Reply([]byte(r.Conn().Attachment().(string)))
			}),
			Hooks: transport.Hooks{
				Open: func(c *transport.Conn) {
					note("open")
					opened = c
					c.Attach("mine")
				},
				Close: func(_ *transport.Conn, err error) {
					note("close")
					if !errors.Is(err, transport.ErrConnLost) {
						note(err.Error())
					}
				},
			}}, transport.Options{})
		require.Nil(t, cli.Attachment())
		got, err := cli.Call(patient(t), nil, nil)
		require.NoError(t, err)
		require.Equal(t, "mine", string(got))
		require.Same(t, srv, opened)
		require.NoError(t, srv.Err())
		require.NoError(t, srv.Context().Err())
		require.NoError(t, cli.Close(patient(t)))
		receive(t, srv.Done(), "Done")
		require.ErrorIs(t, srv.Err(), transport.ErrConnLost)
		require.ErrorIs(t, context.Cause(srv.Context()), transport.ErrConnLost)
		require.ErrorIs(t, cli.Err(), transport.ErrClosed)
		require.Equal(t, []string{"open", "frame", "close"}, order)
	})
}
