package transport_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// frames is a FrameHandler that keeps copies, and sends some back.
type frames struct {
	got chan wire.Frame
	err error
}

func (f *frames) Frame(c *transport.Conn, g wire.Frame) error {
	g.Body = bytes.Clone(g.Body)
	f.got <- g
	if string(g.Body) == "end" {
		return f.err
	}
	return c.WriteFrameGather(wire.Header{Flags: g.Flags, ID: g.ID + 1},
		[][]byte{[]byte("re: "), g.Body})
}

// ids is a FrameHandler that answers nothing.
type ids chan uint32

func (c ids) Frame(_ *transport.Conn, f wire.Frame) error {
	c <- f.ID
	return nil
}

func compatible() (transport.Options, *frames) {
	f := &frames{got: make(chan wire.Frame, 1000), err: errors.New("enough")}
	o := handler(echo)
	o.Foreign = f
	return o, f
}

func TestForeignPeer(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		o, f := compatible()
		o, ended := closed(o)
		l := listen(t, e.of(o))
		for name, first := range map[string][]byte{
			"Pandora":        frame(0, 1, "{}"),
			"request":        frame(wire.Request, 1, "{}"),
			"reserved bits":  frame(0x03, 1, "{}"),
			"looks native":   native(wire.FlagsCall, 1, wire.Meta{}, "x"),
			"nearly a hello": frame(wire.FlagsControl, 1, wire.HelloPrefix+"\x02\x01\x04\x01"),
		} {
			t.Run(name, func(t *testing.T) {
				r := rawDial(t, l.Address())
				r.send(frame(0, 9, ""), frame(0, 10, ""), first, frame(0, 11, ""))
				r.send(frame(0xff, 3, "last"))
				want, _, err := wire.ParseFrame(first, 1000)
				require.NoError(t, err)
				require.Equal(t, want, receive(t, f.got, "the first frame"))
				require.EqualValues(t, "last", receive(t, f.got, "the second frame").Body)
				answer := r.receive()
				require.Equal(t, want.ID+1, answer.ID)
				require.Equal(t, "re: "+string(want.Body), string(answer.Body))
				answer = r.receive()
				require.EqualValues(t, 0xff, answer.Flags, "flags pass as they are")
				c := l.Conns()[0]
				require.False(t, c.Native())
				_, err = c.Call(patient(t), nil, nil)
				require.ErrorIs(t, err, transport.ErrNotNative)
				require.ErrorIs(t, c.Send(patient(t), nil), transport.ErrNotNative)
				r.conn.Close()
				require.ErrorIs(t, receive(t, ended, "the end"), transport.ErrConnLost)
				eventually(t, func() bool { return len(l.Conns()) == 0 }, "the next is alone")
			})
		}
	})
}

func TestForeignEndings(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		o, f := compatible()
		o.Limits.MaxBody = 1000
		o, ended := closed(o)
		l := listen(t, e.of(o))
		for name, c := range map[string]struct {
			sent []byte
			want func(error) bool
		}{
			"handler's error": {frame(0, 1, "end"), func(err error) bool {
				return errors.Is(err, f.err)
			}},
			"first too large": {header(0, 1, 1001), isViolation},
			"too large":       {append(frame(0, 1, "{}"), header(0, 1, 1<<31)...), isViolation},
			"cut short": {frame(0, 1, "{}")[:8], func(err error) bool {
				return errors.Is(err, transport.ErrConnLost)
			}},
		} {
			t.Run(name, func(t *testing.T) {
				r := rawDial(t, l.Address())
				r.send(c.sent)
				if name == "cut short" {
					r.conn.Close()
				} else {
					r.end()
				}
				err := receive(t, ended, "the end")
				require.True(t, c.want(err), "%v", err)
			})
		}
	})
}

// A silent peer gets what is broadcast to it, and may become native all the same.
func TestSilentPeer(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		o, _ := compatible()
		opened := make(chan *transport.Conn, 1)
		o.Hooks.Open = func(c *transport.Conn) { opened <- c }
		l := listen(t, e.of(o))
		r := rawDial(t, l.Address())
		c := receive(t, opened, "the hook")
		require.False(t, c.Native())
		require.NoError(t, c.WriteFrame(wire.Header{ID: 5}, []byte("broadcast")))
		require.Equal(t, frame(0, 5, "broadcast"), r.receive().AppendTo(nil))
		h := anyHello()
		r.send(frame(0, 0, ""), h.AppendTo(nil))
		_, err := wire.ParseHello(r.receive().Body)
		require.NoError(t, err)
		eventually(t, c.Native, "native now")
		require.Error(t, c.WriteFrame(wire.Header{ID: 6}, []byte("too late")))
		r.send(native(wire.FlagsCall, 9, wire.Meta{}, "hi"))
		require.Equal(t, "\x00hi", string(r.reply(9).Body))
	})
}

func TestNativePeersOfCompatibleListener(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		o, _ := compatible()
		l := listen(t, server.of(o))
		cli := dial(t, l.Address(), client.of(transport.Options{}))
		got, err := cli.Call(patient(t), []byte("hi"), nil)
		require.NoError(t, err)
		require.Equal(t, "hi", string(got))
	})
}

func TestForeignOutbox(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		o, f := compatible()
		o.Limits.Outbox = 100 << 10
		o, ended := closed(o)
		l := listen(t, e.of(o))
		r := rawDial(t, l.Address())
		r.send(frame(0, 1, "{}"))
		receive(t, f.got, "the frame")
		_ = r.receive()
		c := l.Conns()[0]
		sent, full := 0, 0
		for full < 3 {
			b := body(uint64(sent), 10<<10)
			err := c.WriteFrame(wire.Header{ID: uint32(sent)}, b)
			if err == nil {
				clear(b) // ours again
				sent++
				require.Less(t, sent, 1000, "for a peer that reads nothing")
				continue
			}
			require.ErrorIs(t, err, transport.ErrFull)
			requireLimit(t, c.WriteFrame(wire.Header{}, make([]byte, 17<<20)))
			full++
		}
		require.LessOrEqual(t, c.Stats().OutboxBytes, int64(110<<10))
		for i := range sent {
			g := r.receive()
			require.EqualValues(t, i, g.ID, "first in, first out")
			require.True(t, intact(g.Body))
		}
		r.conn.Close()
		require.ErrorIs(t, receive(t, ended, "the end"), transport.ErrConnLost)
		require.ErrorIs(t, c.WriteFrame(wire.Header{}, nil), transport.ErrConnLost)
	})
}

// Over the limit, frames are taken for a peer that reads, up to 4 times as much.
func TestForeignPatience(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for _, patience := range []time.Duration{time.Nanosecond, time.Hour} {
			t.Run(patience.String(), func(t *testing.T) {
				o, f := compatible()
				o.Limits.Outbox, o.Limits.Patience = 256<<10, patience
				o, _ = closed(o)
				l := listen(t, e.of(o))
				r := rawDial(t, l.Address())
				r.send(frame(0, 1, "{}"))
				receive(t, f.got, "the frame")
				_ = r.receive()
				c := l.Conns()[0]
				write := func(n int) (sent int) {
					for ; sent < n; sent++ {
						err := c.WriteFrame(wire.Header{}, body(uint64(sent), 10<<10))
						if err != nil {
							require.ErrorIs(t, err, transport.ErrFull)
							return sent
						}
					}
					return sent
				}
				sent := 0
				for n := 1; n > 0; time.Sleep(time.Millisecond) { // until the socket is full, too
					n = write(1000)
					sent += n
				}
				limit := o.Limits.Outbox
				most := limit + 64<<10 // a frame is taken whenever the socket has just taken some
				if patience == time.Hour {
					limit *= 4
					most = limit
				}
				waiting := int(c.Stats().OutboxBytes)
				require.LessOrEqual(t, waiting, most)
				require.Greater(t, waiting, limit-300<<10, "the socket has the rest")
				if patience == time.Hour {
					return
				}
				before := c.Stats().BytesOut
				for range sent / 2 {
					_ = r.receive()
				}
				eventually(t, func() bool { return c.Stats().BytesOut > before && write(1) == 1 },
					"it has read: %v", now(c.Stats))
			})
		}
	})
}

// A side that dials with Foreign says nothing by itself, and takes every frame as it is.
func TestForeignDial(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		o, f := compatible()
		o.Limits.MaxBody = 1 << 20
		opened := make(chan *transport.Conn, 1)
		o.Hooks.Open = func(c *transport.Conn) { opened <- c }
		o, ended := closed(o)
		address, accepted := rawServer(t)
		c := dial(t, address, e.of(o))
		r := accepted()
		require.Same(t, c, receive(t, opened, "the hook"))
		require.False(t, c.Native())
		require.NoError(t, c.WriteFrame(wire.Header{ID: 7}, []byte("first")))
		require.Equal(t, frame(0, 7, "first"), r.receive().AppendTo(nil), "no hello before it")
		h := anyHello()
		for i, sent := range [][]byte{frame(0, 1, "{}"), h.AppendTo(nil), frame(0xff, 3, "x"),
			native(wire.FlagsCall, 4, wire.Meta{}, "x"), frame(0, 5, body(1, 300<<10))} {
			r.send(frame(0, 9, ""), sent)
			want, _, err := wire.ParseFrame(sent, 1<<20)
			require.NoError(t, err)
			require.Equal(t, want, receive(t, f.got, "a frame"), "frame %d", i)
			answer := r.receive()
			require.Equal(t, want.ID+1, answer.ID)
			require.Equal(t, "re: "+string(want.Body), string(answer.Body))
		}
		require.False(t, c.Native())
		_, err := c.Call(patient(t), nil, nil)
		require.ErrorIs(t, err, transport.ErrNotNative)
		require.ErrorIs(t, c.Ping(patient(t)), transport.ErrNotNative)
		r.conn.Close()
		require.ErrorIs(t, receive(t, ended, "the end"), transport.ErrConnLost)
		<-c.Done()
		require.ErrorIs(t, c.Err(), transport.ErrConnLost)
		require.ErrorIs(t, c.WriteFrame(wire.Header{}, nil), transport.ErrConnLost)
	})
}

// What is written before Close reaches the server.
func TestForeignDialCloses(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		got := make(ids, 100)
		l := listen(t, server.of(transport.Options{Foreign: got}))
		c := dial(t, l.Address(), client.of(transport.Options{Foreign: make(ids, 1)}))
		for i := range 100 {
			require.NoError(t, c.WriteFrame(wire.Header{ID: uint32(2 * i)}, []byte("x")))
		}
		require.NoError(t, c.Close(patient(t)))
		require.ErrorIs(t, c.Err(), transport.ErrClosed)
		for i := range 100 {
			require.EqualValues(t, 2*i, receive(t, got, "a frame"))
		}
	})
}
