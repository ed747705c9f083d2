//go:build linux && !portable

package transport_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
	"github.com/pithos-ipc/pithos/wire"
)

// A peer that knows only PROTOCOL.md can call, and be called, through a lane.
func TestLaneOfAnotherMake(t *testing.T) {
	l := listen(t, handler(echo))
	r := rawLaneClient(t, l.Address()).framesIn()
	for i := range 50 {
		sent := body(uint64(i), 4+i*i*200)
		require.NoError(t, r.conn.SetDeadline(time.Now().Add(rawPatience)))
		r.write(native(wire.FlagsCall, uint32(i+1), wire.Meta{}, sent))
		got := r.reply(uint32(i + 1))
		for got.Flags&wire.Part != 0 {
			next := r.reply(uint32(i + 1))
			got.Flags, got.Body = next.Flags, append(got.Body, next.Body...)
		}
		require.True(t, bytes.Equal(sent, got.Body[1:]), "%d bytes", len(sent))
	}
	results := make(chan string, 1)
	require.NoError(t, l.Conns()[0].Go(transport.Message{Body: []byte("back")}, nil,
		func(b []byte, err error) { results <- string(b) }))
	f, _ := r.until("a call", func(f wire.Frame) bool { return f.Flags == wire.FlagsCall })
	r.write(frame(wire.FlagsReply, f.ID, f.Body))
	require.Equal(t, "back", receive(t, results, "the reply"))
}

// R15 and R18: what a peer must not send ends its connection on a lane as on a socket, cut in any
// way, and nobody else's.
func TestR15HostileFramesOnLane(t *testing.T) {
	g := newGate(t)
	for name, sent := range afterHello() {
		for how, step := range map[string]int{"at once": len(sent), "byte by byte": 1} {
			if step == 1 && len(sent) > 1000 || name == "files from nowhere" && step == 1 {
				continue
			}
			t.Run(name+" "+how, func(t *testing.T) {
				o, ended := closed(transport.Options{Handler: transport.HandlerFunc(g.hold),
					Limits: transport.Limits{MaxBody: 10000, MaxCalls: 20}})
				l := listen(t, o)
				good := dial(t, l.Address(), transport.Options{})
				r := rawLaneClient(t, l.Address())
				for i := 0; i < len(sent); i += step {
					r.write(sent[i : i+step])
				}
				r.end()
				requireViolation(t, receive(t, ended, "the hook"))
				require.NoError(t, good.Ping(patient(t)), "the neighbour lives")
			})
		}
	}
	g.open()
}

// R18: positions that make no sense end the connection with a typed error.
func TestR18PositionsOutOfBounds(t *testing.T) {
	for name, scribble := range map[string]func(r *rawLane){
		"tail beyond the ring": func(r *rawLane) {
			r.word(0, wordTail).Store(uint64(r.size) + 1)
		},
		"tail before the head":  func(r *rawLane) { r.word(0, wordTail).Store(1<<64 - 1) },
		"tail far away":         func(r *rawLane) { r.word(0, wordTail).Store(1 << 63) },
		"another's head":        func(r *rawLane) { r.word(0, wordHead).Store(5) },
		"head beyond the tail":  func(r *rawLane) { r.word(1, wordHead).Store(1 << 40) },
		"head before the start": func(r *rawLane) { r.word(1, wordHead).Store(1<<64 - 1<<30) },
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.CheckLeaks(t)
			o, ended := closed(handler(echo))
			l := listen(t, o)
			good := dial(t, l.Address(), transport.Options{})
			r := rawLaneClient(t, l.Address())
			scribble(r)
			r.bell([]byte{0})
			conn := connOf(t, l, good)
			// What comes of the producer's side shows when its ring is full.
			for range 2 * r.size / 1000 {
				_ = conn.TryPost(transport.Message{Body: make([]byte, 1000)})
			}
			r.bell([]byte{0})
			requireViolation(t, receive(t, ended, "the end"))
			require.NoError(t, good.Ping(patient(t)), "the neighbour lives")
		})
	}
}

// connOf is the connection of l that is not good's: the one without a ping.
func connOf(t testing.TB, l *transport.Listener, good *transport.Conn) *transport.Conn {
	t.Helper()
	require.NoError(t, good.Ping(patient(t)))
	var other *transport.Conn
	least := ^uint64(0)
	for _, c := range l.Conns() {
		if n := c.Stats().FramesIn; n < least {
			least, other = n, c
		}
	}
	require.NotNil(t, other)
	return other
}

// FuzzLane has a hostile peer write bytes anywhere into the memory of a lane, while this side reads
// and writes there and is called by it. Nothing panics, every call ends within its deadline, the
// connection is fine or ends with a typed error, and its neighbour never notices.
func FuzzLane(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Add([]byte{1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0})
	f.Add([]byte{3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6})
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b := make([]byte, 10*50)
		for i := range b {
			b[i] = byte(rnd.Uint32() >> 8)
		}
		f.Add(b)
	}
	f.Fuzz(scribble)
}

// scribble is one run of FuzzLane. Each ten bytes of b are a write of eight bytes: to one of the
// words of a ring, to its data, or, as bells, to the socket.
func scribble(t *testing.T, b []byte) {
	o, ended := closed(handler(echo))
	o.Socket.Ring = transport.MinRing
	l := listen(t, o)
	good := dial(t, l.Address(), transport.Options{})
	r := rawLaneClient(t, l.Address())
	conn := connOf(t, l, good)
	var calling sync.WaitGroup
	calling.Go(func() {
		for i := range 20 {
			begin := time.Now()
			m := transport.Message{Body: body(uint64(i), 5000), Timeout: time.Millisecond}
			if _, err := conn.Do(background, m, nil); err == nil {
				return // the scribble made a reply
			}
			_ = conn.TryPost(transport.Message{Body: m.Body})
			if took := time.Since(begin); took > time.Millisecond+slack {
				t.Errorf("a call with 1 ms took %v", took)
			}
		}
	})
	r.write(native(wire.FlagsCall, 1, wire.Meta{}, "hi"))
	for ; len(b) >= 10; b = b[10:] {
		value, at := b[2:10], int(binary.LittleEndian.Uint16(b))
		switch ring := at & 1; at >> 1 % 6 {
		case 0:
			r.word(ring, wordTail).Store(r.word(ring, wordTail).Load() + uint64(int8(b[2])))
		case 1:
			r.word(ring, wordHead).Store(r.word(ring, wordHead).Load() + uint64(int8(b[2])))
		case 2:
			copy(r.mem[laneData+at%(2*r.size-8):], value)
		case 3:
			copy(r.mem[at%(2*laneState-8):], value)
		case 4:
			r.bell(value[:1+at%7])
		default:
			r.write(frame(wire.Flags(b[2]), uint32(b[3]), value))
		}
	}
	r.bell([]byte{0})
	calling.Wait()
	require.NoError(t, good.Ping(patient(t)), "the neighbour lives")
	r.conn.Close()
	err := receive(t, ended, "the end")
	if !isViolation(err) {
		require.ErrorIs(t, err, transport.ErrConnLost)
	}
	<-conn.Done()
}
