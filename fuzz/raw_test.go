package fuzz_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// FuzzServer feeds bytes in chunks to a server's end, behind a good hello or not, on a native or a
// compatible socket. It never panics and never hangs. All engines come to the same verdict: the
// stream was fine until it ended, or the connection was closed because of it. They have handed the
// same requests and frames to their handlers, and what they write is frames of the protocol.
func FuzzServer(f *testing.F) {
	for _, s := range streams() {
		f.Add(s.bytes, s.cuts, uint8(s.mode))
	}
	h, g := newHarbour(f), newGroup(f)
	f.Fuzz(func(t *testing.T, b, cuts []byte, mode uint8) {
		s := stream{bytes: b, cuts: cuts, mode: streamMode(mode)}
		var got []observed
		for _, e := range engines() {
			got = append(got, feed(t, h, g, e, s))
		}
		for i := range got {
			if s.endsInBadMeta() {
				got[i].Alive = true
			}
		}
		requireSame(t, got)
	})
}

// streamMode is a set of choices for a server and what is said to it first.
type streamMode uint8

const (
	modeHello      streamMode = 1 << iota // a good hello comes first
	modeCompatible                        // the server takes Pandora's clients, too
	modeSmall                             // small limits
)

// maxChunks is about how many chunks a stream has at most, so that none takes long.
const maxChunks = 1 << 14

// stream is what a client writes, in chunks of cuts[i]+1 bytes, or longer where those are too many.
type stream struct {
	bytes []byte
	cuts  []byte
	mode  streamMode
}

// observed is what a server made of a stream.
type observed struct {
	Alive   bool     // the stream ended before anything was wrong with it
	Handled []string // requests and frames, in order
}

// feed writes s to a server's end of engine e and returns what it made of it.
func feed(t *testing.T, h *harbour, g *transport.Group, e engine, s stream) observed {
	before := takeCensus(t)
	client, sock := h.sockets(t)
	var o observed
	c := serve(t, sock, e.options(s.options(g, &o)))
	sock.Close()

	var reading sync.WaitGroup
	reading.Go(func() { checkAnswers(t, client, s) })
	s.write(client)
	_ = client.CloseWrite() // whoever is still there sees the end
	await(t, c.Done(), "%s engine: the connection ends when its peer does", e.name)
	client.Close()
	reading.Wait()
	require.Zero(t, c.Stats().Serving, e.name)
	requireNoLeak(t, before)
	return o
}

// options are those of a server that writes down in o what it sees. Everything runs on the loop.
func (s stream) options(g *transport.Group, o *observed) transport.Options {
	opts := transport.Options{Group: g}
	opts.Limits.HelloTimeout = time.Hour // the end of the stream comes first
	if s.mode&modeSmall != 0 {
		opts.Limits = transport.Limits{MaxBody: 4096, MaxCalls: 4, MaxCallBytes: 1,
			HelloTimeout: time.Hour}
	}
	opts.Handler = transport.HandlerFunc(func(r *transport.Request) {
		_, deadline := r.Deadline()
		o.Handled = append(o.Handled, fmt.Sprintf("oneway %v method %q route %d trace %q "+
			"deadline %v: "+
			"%d bytes, %08x", r.Oneway(), r.Method(), r.Route(), r.Trace(), deadline, len(r.Body()),
			crc32.ChecksumIEEE(r.Body())))
		if !r.Oneway() {
			_ = r.Reply(r.Body())
		}
	})
	if s.mode&modeCompatible != 0 {
		opts.Foreign = foreign{o}
	}
	opts.Hooks.Close = func(_ *transport.Conn, err error) {
		var broken *transport.ProtocolError
		o.Alive = errors.Is(err, transport.ErrConnLost) && !errors.As(err, &broken)
	}
	return opts
}

// foreign writes down the frames of a connection that is not native.
type foreign struct {
	seen *observed
}

// Frame takes one frame.
func (f foreign) Frame(_ *transport.Conn, g wire.Frame) error {
	f.seen.Handled = append(f.seen.Handled, fmt.Sprintf("frame 0x%02x id %d: %d bytes, %08x",
		uint8(g.Flags), g.ID, len(g.Body), crc32.ChecksumIEEE(g.Body)))
	return nil
}

// write writes the stream; a server that has closed is no error.
func (s stream) write(c *net.UnixConn) {
	rest := s.bytes
	if s.mode&modeHello != 0 {
		hello := wire.Hello{MinVersion: 1, MaxVersion: 1, MaxBody: 1 << 20, Calls: 16,
			Bytes: 2 << 20}
		rest = append(hello.AppendTo(nil), rest...)
	}
	least := len(rest) / maxChunks
	for i := 0; len(rest) > 0; i++ {
		n := len(rest)
		if len(s.cuts) > 0 {
			n = min(n, max(least, int(s.cuts[i%len(s.cuts)])+1))
		}
		if _, err := c.Write(rest[:n]); err != nil {
			return
		}
		rest = rest[n:]
	}
}

// endsInBadMeta says whether the last frame is not all there, but enough of it to show that its
// meta is wrong. An engine may see that at once, or when the frame is whole, which it never is.
func (s stream) endsInBadMeta() bool {
	rest := s.bytes
	for {
		_, n, err := wire.ParseFrame(rest, math.MaxUint32)
		if err != nil || n == 0 {
			break
		}
		rest = rest[n:]
	}
	if len(rest) < wire.HeaderSize {
		return false
	}
	body := rest[wire.HeaderSize:]
	switch n, k := wire.ParseUvarint(body); {
	case k <= 0:
		return k < 0
	case n <= uint64(len(body)-k):
		_, _, err := wire.ParseBody(body)
		return err != nil
	default:
		return n > wire.MaxMeta
	}
}

// checkAnswers reads what the server writes until the end: whole frames with flags of the protocol.
func checkAnswers(t *testing.T, c net.Conn, s stream) {
	b, _ := io.ReadAll(c) // a reset is an end, too
	for len(b) > 0 {
		f, n, err := wire.ParseFrame(b, 1<<20)
		if err != nil || n == 0 {
			if err != nil {
				t.Errorf("the server wrote what is no frame: %v", err)
			}
			return // the end came in the middle of a frame
		}
		if err := f.Flags.Check(); err != nil {
			t.Errorf("the server wrote a frame of %d bytes: %v", len(f.Body), err)
			return
		}
		b = b[n:]
	}
}

// streams are seeds: every kind of frame behind a hello, and what goes wrong.
func streams() []stream {
	frame := func(flags wire.Flags, id uint32, body string) string {
		return string(wire.Frame{Header: wire.Header{Flags: flags, ID: id}, Body: []byte(body)}.
			AppendTo(nil))
	}
	control := func(k wire.ControlKind, id uint32) string {
		return string(wire.AppendControl(nil, k, id))
	}
	method := wire.Meta{Method: []byte("add"), TimeoutUs: 1 << 40}
	named := string(method.AppendTo(nil))
	calls := frame(wire.FlagsCall, 1, "\x00one") + frame(wire.FlagsCall, 2, named+"two") +
		frame(wire.FlagsOneway, 0, "\x00hi")
	parts := frame(wire.FlagsCall|wire.Part, 7, named+"a") + frame(wire.FlagsCall, 8,
		"\x00between") +
		frame(wire.FlagsCall|wire.Part, 7, "b") + control(wire.KindCancel, 99) +
		frame(wire.FlagsCall, 7, "c") + frame(wire.FlagsOneway|wire.Part, 1, "\x00d") +
		frame(wire.FlagsOneway, 1, "e")
	taken := frame(wire.FlagsCall|wire.Part, 7, named+"a") + control(wire.KindCancel, 7) +
		frame(wire.FlagsCall, 7, "\x00again")
	controls := control(wire.KindPing, 9) + control(wire.KindDrain, 0) + control(99, 1) +
		control(wire.KindPong, 3) + string(wire.AppendCredit(nil, 1000))
	hello := wire.Hello{MinVersion: 1, MaxVersion: 3}
	newer := wire.Hello{MinVersion: 2, MaxVersion: 3}
	json := frame(0, 1, `{"action":"x"}`) + frame(0, 2, "") + frame(0xFF, 3, `{}`)
	raw := func(mode streamMode, text string) stream {
		return stream{bytes: []byte(text), cuts: []byte{4, 0, 99}, mode: mode}
	}
	all := []stream{
		raw(0, string(hello.AppendTo(nil))+calls), raw(0, string(newer.AppendTo(nil))),
		raw(modeCompatible, json), raw(modeCompatible, frame(0, 1,
			"")+string(hello.AppendTo(nil))+calls),
		raw(0, json), raw(0, ""), raw(modeHello, ""), raw(modeHello, frame(wire.FlagsCall, 1, "")),
		raw(modeHello|modeSmall, frame(wire.FlagsCall, 1, "\x00"+string(make([]byte, 5000)))),
		raw(modeHello, calls+frame(0x2C, 1, "\x02")), raw(modeHello, calls+frame(0x63, 1, "")),
		raw(modeHello, calls+"\x60\x00\x00"), raw(modeHello, frame(wire.FlagsReply, 5, "\x00lost")),
		raw(modeHello, calls+string(hello.AppendTo(nil))),
		raw(modeHello, "\x60\x00\x00\x00\x01\xff\xff\xff\xff"),
		raw(modeHello, parts[:len(parts)-3]),
		raw(modeHello, frame(wire.FlagsCall|wire.Part, 7, "\x00a")+frame(wire.FlagsOneway, 7,
			"\x00b")),
	}
	for _, text := range []string{calls, parts, taken, controls, calls + parts + controls} {
		all = append(all, raw(modeHello, text), raw(modeHello|modeSmall|modeCompatible, text))
	}
	return all
}
