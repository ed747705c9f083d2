package transport_test

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// afterHello is what a peer that said hello must not send. Each ends the connection with a
// ProtocolError, and nobody else's.
func afterHello() map[string][]byte {
	many := func(n int, f func(id uint32) []byte) []byte {
		var b []byte
		for i := range n {
			b = append(b, f(uint32(i+1))...)
		}
		return b
	}
	return map[string][]byte{
		"reserved bit":        header(wire.FlagsCall|0x01, 1, 0),
		"other reserved bit":  header(wire.FlagsOneway|0x02, 0, 0),
		"no native bit":       header(wire.Request, 1, 0),
		"Pandora's flags":     header(0, 1, 20),
		"call and oneway":     header(wire.FlagsCall|wire.Oneway, 1, 0),
		"control in parts":    header(wire.FlagsControl|wire.Part, 1, 1),
		"control with error":  header(wire.FlagsControl|wire.Error, 1, 1),
		"call over the limit": header(wire.FlagsCall, 1, 1<<20),
		"largest claim":       header(wire.FlagsCall, 1, 1<<32-1),
		"long control":        header(wire.FlagsControl, 0, wire.MaxControl+1),
		"empty control":       frame(wire.FlagsControl, 0, ""),
		"second hello":        frame(wire.FlagsControl, 0, wire.HelloPrefix),
		"credit not a field":  frame(wire.FlagsControl, 0, "\x05\xff"),
		"credit beyond all": frame(wire.FlagsControl, 0,
			"\x05\x02\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
		"call without meta":    frame(wire.FlagsCall, 1, ""),
		"meta longer than all": frame(wire.FlagsCall, 1, "\x05\x01"),
		"meta over its limit":  frame(wire.FlagsCall, 1, "\x81\x20"+string(make([]byte, 5000))),
		"meta not a field":     frame(wire.FlagsOneway, 0, "\x01\xff"),
		"fields out of order":  frame(wire.FlagsCall, 1, "\x04\x08\x01\x04\x01"),
		"method of wrong kind": frame(wire.FlagsCall, 1, "\x02\x02\x01"),
		"files from nowhere":   native(wire.FlagsCall, 1, wire.Meta{Files: 1}, ""),
		"id twice": many(2, func(uint32) []byte {
			return native(wire.FlagsCall, 7, wire.Meta{}, "x")
		}),
		"payload over the limit": native(wire.FlagsCall, 1, wire.Meta{Method: make([]byte, 100)},
			make([]byte, 10001)),
		"parts over the limit": many(6, func(uint32) []byte {
			return native(wire.FlagsOneway|wire.Part, 3, wire.Meta{}, make([]byte, 2000))
		}),
		"parts of two kinds": append(native(wire.FlagsCall|wire.Part, 1, wire.Meta{}, "a"),
			append(native(wire.FlagsCall|wire.Part, 2, wire.Meta{}, "b"),
				frame(wire.FlagsCall|wire.Error, 1, "c")...)...),
		"too many begun": many(40, func(id uint32) []byte {
			return native(wire.FlagsOneway|wire.Part, id, wire.Meta{}, "x")
		}),
	}
}

func TestHostileFrames(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g := newGate(t)
		for name, sent := range afterHello() {
			for how, step := range map[string]int{"at once": len(sent), "byte by byte": 1} {
				if step == 1 && len(sent) > 1000 {
					continue
				}
				t.Run(name+" "+how, func(t *testing.T) {
					o, ended := closed(transport.Options{Handler: transport.HandlerFunc(g.hold),
						Limits: transport.Limits{MaxBody: 10000, MaxCalls: 20}})
					l := listen(t, e.of(o))
					good := dial(t, l.Address(), e.of(transport.Options{}))
					r, _ := rawClient(t, l.Address(), anyHello())
					for i := 0; i < len(sent); i += step {
						r.send(sent[i : i+step])
					}
					r.end()
					requireViolation(t, receive(t, ended, "the hook"))
					require.NoError(t, good.Ping(patient(t)), "the neighbour lives")
				})
			}
		}
		g.open()
	})
}

func TestHostileFirstFrames(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for name, sent := range map[string][]byte{
			"empty frame":     header(0, 0, 0),
			"Pandora":         frame(0, 1, `{"action":"x"}`),
			"call":            native(wire.FlagsCall, 1, wire.Meta{}, "x"),
			"hello with id":   frame(wire.FlagsControl, 1, wire.HelloPrefix+"\x02\x01\x04\x01"),
			"hello flags":     frame(wire.FlagsControl|wire.Error, 0, wire.HelloPrefix),
			"other magic":     frame(wire.FlagsControl, 0, "\x01PITHOZ\x02\x01\x04\x01"),
			"no versions":     frame(wire.FlagsControl, 0, wire.HelloPrefix),
			"upside down":     frame(wire.FlagsControl, 0, wire.HelloPrefix+"\x02\x02\x04\x01"),
			"long hello":      header(wire.FlagsControl, 0, wire.MaxControl+1),
			"hello cut short": frame(wire.FlagsControl, 0, wire.HelloPrefix+"\x02"),
			"text":            []byte("GET / HTTP/1.1\r\n\r\n"),
		} {
			t.Run(name, func(t *testing.T) {
				o, ended := closed(transport.Options{})
				r := rawDial(t, listen(t, e.of(o)).Address())
				r.send(sent)
				require.Empty(t, r.end())
				requireViolation(t, receive(t, ended, "the hook"))
			})
		}
	})
}

// Endings in the middle of things are no violation, but the end of the connection.
func TestTruncatedStreams(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		call := native(wire.FlagsCall, 1, wire.Meta{}, make([]byte, 300<<10))
		for name, sent := range map[string][]byte{
			"in a header":     call[:5],
			"behind a header": call[:wire.HeaderSize],
			"in meta":         header(wire.FlagsCall, 1, 9),
			"in a body":       call[:100],
			"in a large body": call[:200<<10],
			"between parts":   native(wire.FlagsCall|wire.Part, 1, wire.Meta{}, "part"),
		} {
			t.Run(name, func(t *testing.T) {
				o, ended := closed(handler(echo))
				r, _ := rawClient(t, listen(t, e.of(o)).Address(), anyHello())
				r.send(sent)
				require.NoError(t, r.conn.CloseWrite())
				r.end()
				require.ErrorIs(t, receive(t, ended, "the hook"), transport.ErrConnLost)
			})
		}
	})
}

// Control messages of a kind that is not known, fields that are not known, credit of nothing and
// cancels of nothing are no fault: that is how the protocol grows.
func TestUnknownIsSkipped(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		l := listen(t, e.of(handler(echo)))
		r, _ := rawClient(t, l.Address(), anyHello())
		r.send(frame(wire.FlagsControl, 3, "\x63whatever"), frame(wire.FlagsControl, 4, "\x07"),
			wire.AppendControl(nil, wire.KindCancel, 99), wire.AppendCredit(nil, 0),
			wire.AppendControl(nil, wire.KindPong, 99),
			native(wire.FlagsReply, 77, wire.Meta{}, "to nobody"),
			native(wire.FlagsError, 78, wire.Meta{Code: wire.CodeFailed}, "to nobody"),
			native(wire.FlagsReply|wire.Part, 79, wire.Meta{}, "to"),
			frame(wire.FlagsReply, 79, "nobody"),
			frame(wire.FlagsCall, 5, "\x05\xc9\x01\x02hiok"))
		require.Equal(t, "\x00ok", string(r.reply(5).Body))
		s := l.Stats()
		require.EqualValues(t, 3, s.LateReplies, "%+v", s)
	})
}

func TestLateRepliesToServer(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		address, accepted := rawServer(t)
		done := make(chan *raw, 1)
		go func() {
			r := accepted()
			r.greet(anyHello())
			done <- r
		}()
		c := dial(t, address, e.of(transport.Options{}))
		r := receive(t, done, "the greeting")
		for c.Stats().Tombstones == 0 { // one whose time is over before it is sent leaves none
			_, err := c.Do(background, transport.Message{Timeout: time.Millisecond}, nil)
			require.ErrorIs(t, err, transport.ErrDeadline)
		}
		call := r.receive()
		require.True(t, control(r.receive(), wire.KindCancel), "a cancel follows")
		require.Equal(t, 1, c.Stats().Tombstones)
		for range 3 { // once the due reply, then two to nobody
			r.send(native(wire.FlagsReply, call.ID, wire.Meta{}, "late"))
		}
		require.NoError(t, pong(c, r))
		s := c.Stats()
		require.EqualValues(t, 3, s.LateReplies, "%+v", s)
		require.Zero(t, s.Pending, "%+v", s)
		require.Zero(t, s.Tombstones, "%+v", s)
	})
}

// pong pings while r answers.
func pong(c *transport.Conn, r *raw) error {
	ended := make(chan error, 1)
	go func() { ended <- c.Ping(background) }()
	f, _ := r.until("a ping", func(f wire.Frame) bool { return control(f, wire.KindPing) })
	r.send(wire.AppendControl(nil, wire.KindPong, f.ID))
	return <-ended
}

// Many connections that claim the largest body and send next to nothing cost next to nothing.
func TestClaimsCostNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		l := listen(t, e.of(handler(echo)))
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		const n = 200
		for range n {
			r, _ := rawClient(t, l.Address(), anyHello())
			r.send(header(wire.FlagsCall, 1, transport.DefaultMaxBody), make([]byte, 101))
		}
		eventually(t, func() bool { return l.Stats().BytesIn > n*(100+wire.HeaderSize) }, "arrival")
		runtime.GC()
		runtime.ReadMemStats(&after)
		held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		require.Less(t, held, int64(n*(512<<10)), "bytes on the heap for %d claims of %d bytes", n,
			transport.DefaultMaxBody)
		require.Less(t, l.Stats().HeldBytes, int64(n*(256<<10)))
	})
}

// A peer that stalls in the middle of a header, or of anything, holds up nobody else.
func TestStalledPeer(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		l := listen(t, e.of(handler(echo)))
		for _, sent := range [][]byte{
			{0x60},
			header(wire.FlagsCall, 1, 1000)[:8],
			header(wire.FlagsCall, 1, 1000),
			native(wire.FlagsCall|wire.Part, 1, wire.Meta{}, "x"),
		} {
			r, _ := rawClient(t, l.Address(), anyHello())
			r.send(sent)
		}
		c := dial(t, l.Address(), e.of(transport.Options{}))
		for i := range 100 {
			got, err := c.Call(patient(t), body(uint64(i), 100), nil)
			require.NoError(t, err)
			require.True(t, intact(got))
		}
		ctx, cancel := newTimeout(50 * time.Millisecond)
		defer cancel()
		inTime(t, 50*time.Millisecond+slack, "Close with stalled peers", func() {
			_ = l.Close(ctx)
		})
	})
}

// A flood of pings from a peer that reads nothing is cut off, or held up, but never collected.
func TestPingFlood(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		o, ended := closed(handler(echo))
		l := listen(t, e.of(o))
		r, _ := rawClient(t, l.Address(), anyHello())
		pings := bytes.Repeat(wire.AppendControl(nil, wire.KindPing, 1), 10000)
		require.NoError(t, r.conn.SetWriteDeadline(time.Now().Add(2*time.Second)))
		for range 500 {
			if _, err := r.conn.Write(pings); err != nil {
				break
			}
			require.Less(t, l.Stats().OutboxFrames, 100000, "pongs wait without bound")
		}
		select {
		case err := <-ended:
			requireViolation(t, err)
		default:
		}
	})
}
