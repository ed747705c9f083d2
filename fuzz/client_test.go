package fuzz_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// FuzzClient has a client make some calls and feeds it frames that are drawn from bytes, in chunks:
// replies and errors to these calls and others, whole and in parts, control, illegal flags.
// Every call ends once, and all engines come to the same: about each call, and about the
// connection.
func FuzzClient(f *testing.F) {
	for _, a := range answersSeeds() {
		f.Add(a, []byte{3, 0, 200})
	}
	h, g := newHarbour(f), newGroup(f)
	f.Fuzz(func(t *testing.T, b, cuts []byte) {
		var got [][]string
		for _, e := range engines() {
			got = append(got, reply(t, h, g, e, b, cuts))
		}
		requireSame(t, got)
	})
}

// asked is how many calls the client makes: all but the last have callbacks.
const asked = 4

// answersSeeds are seeds: four bytes for each frame, see answer4.
func answersSeeds() [][]byte {
	return [][]byte{
		{},
		{0, 0, 5, 0, 0, 1, 0, 0, 1, 2, 9, 0, 0, 3, 60, 0},
		{0, 3, 200, 0, 0, 0, 255, 0, 0, 0, 1, 0},
		{2, 0, 9, 0, 2, 3, 255, 0, 3, 0, 9, 0, 0, 1, 1, 0, 4, 3, 255, 0, 5, 0, 1, 0},
		{2, 0, 200, 0, 3, 0, 250, 0, 3, 0, 250, 0, 5, 0, 250, 0},
		{6, 0, 0, 0, 7, 0, 9, 0, 8, 1, 0, 0, 9, 0, 0, 0, 0, 2, 1, 0},
		{10, 0, 0, 0x2c, 0, 2, 1, 0}, {0, 2, 0, 1}, {11, 2, 3, 0, 0, 2, 1, 0},
		{2, 0, 9, 0, 1, 0, 9, 0}, {0, 77, 3, 0, 2, 77, 3, 0, 5, 77, 3, 0, 0, 3, 1, 0},
	}
}

// answer4 draws one frame from four bytes: what it is, which call it is for, how long, and more.
//
//	0 reply   2 reply, first part   4 last part, of an error   6 credit    9 not known
//	1 error   3 part, more follow   5 last part                7 pong     10 flags as in byte 4
//	                                                           8 cancel   11 error, code likewise
func answer4(ids []uint32, b []byte) []byte {
	id := uint32(b[1]) << 20 // nobody's
	if int(b[1]) < len(ids) {
		id = ids[b[1]]
	}
	payload := make([]byte, int(b[2])*int(b[2])*5) // up to 325,125
	for i := range payload {
		payload[i] = byte(i) ^ b[2]
	}
	var m wire.Meta
	switch b[0] % 12 {
	case 1, 11:
		m.Code = wire.Code(b[3])
	case 6:
		return wire.AppendCredit(nil, uint64(b[2]))
	case 7:
		return wire.AppendControl(nil, wire.KindPong, id)
	case 8:
		return wire.AppendControl(nil, wire.KindCancel, id)
	case 9:
		return wire.AppendControl(nil, wire.ControlKind(b[3]|0x80), id)
	}
	h := wire.Header{ID: id, Flags: [...]wire.Flags{wire.FlagsReply, wire.FlagsError,
		wire.FlagsReply | wire.Part, wire.FlagsReply | wire.Part, wire.FlagsError, wire.FlagsReply,
		0, 0, 0, 0, wire.Flags(b[3]), wire.FlagsError}[b[0]%12]}
	body := payload
	if k := b[0] % 12; k <= 2 || k >= 10 {
		body = append(m.AppendTo(nil), payload...)
		if b[3] == 1 { // meta that is longer than the body
			body = []byte{9}
		}
	}
	return wire.Frame{Header: h, Body: body}.AppendTo(nil)
}

// reply runs one exchange and returns what came of the calls, and of the connection.
func reply(t *testing.T, h *harbour, g *transport.Group, e engine, b, cuts []byte) []string {
	before := takeCensus(t)
	sock, server := h.sockets(t)
	var closing error
	opts := e.options(transport.Options{Group: g, Hooks: transport.Hooks{
		Close: func(_ *transport.Conn, err error) { closing = err }}})
	hello := wire.Hello{MinVersion: 1, MaxVersion: 1, MaxBody: 1 << 20, Calls: 100, Bytes: 2 << 20}
	_, err := server.Write(hello.AppendTo(nil))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	file, err := sock.File()
	require.NoError(t, err)
	c, err := transport.ConnFile(ctx, file, opts)
	require.NoError(t, err)
	file.Close()
	sock.Close()

	var calls [asked]*call
	for i := range calls {
		k := &call{n: uint32(i), ended: make(chan struct{})}
		calls[i] = k
		if i < asked-1 {
			m := transport.Message{Body: []byte{byte(i)}}
			require.NoError(t, c.Go(m, make([]byte, 9), k.end))
		}
	}
	var running sync.WaitGroup
	running.Go(func() {
		calls[asked-1].end(c.Call(context.Background(), []byte{asked - 1}, nil))
	})
	ids := readCalls(t, server)
	running.Go(func() { io.Copy(io.Discard, server) })
	var frames []byte
	for ; len(b) >= 4 && len(frames) < 4<<20; b = b[4:] {
		frames = append(frames, answer4(ids[:], b)...)
	}
	stream{bytes: frames, cuts: cuts}.write(server)
	_ = server.CloseWrite()
	await(t, c.Done(), "%s engine: the connection ends when its peer does", e.name)
	server.Close()
	var log []string
	for i, k := range calls {
		await(t, k.ended, "%s engine: call %d ends", e.name, i)
		require.EqualValues(t, 1, k.ends.Load())
		log = append(log, outcome(k))
	}
	running.Wait()
	require.Zero(t, c.Stats().Pending, e.name)
	requireNoLeak(t, before)
	return append(log, class(closing))
}

// outcome is what came of a call: a digest of the reply, the peer's error, or that it was lost.
func outcome(c *call) string {
	switch v := verdict(c.err); {
	case c.err == nil:
		return fmt.Sprintf("%d bytes, %08x", len(c.reply), crc32.ChecksumIEEE(c.reply))
	case v == "lost" || len(v) > 9 && v[:9] == "protocol:":
		return "lost"
	default:
		return fmt.Sprintf("%s, %08x", v, crc32.ChecksumIEEE([]byte(c.err.Error())))
	}
}

// class says whether a connection ended because of what the peer sent, or with the stream.
func class(err error) string {
	if v := verdict(err); len(v) > 9 && v[:9] == "protocol:" {
		return "protocol"
	}
	return "end of the stream"
}

// readCalls reads the hello and the calls of a client, and returns the ids of these.
func readCalls(t *testing.T, c net.Conn) (ids [asked]uint32) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	defer c.SetReadDeadline(time.Time{})
	var held []byte
	for seen := 0; seen < asked; {
		f, n, err := wire.ParseFrame(held, 1<<20)
		require.NoError(t, err)
		if n == 0 {
			b := make([]byte, 4096)
			k, err := c.Read(b)
			require.NoError(t, err)
			held = append(held, b[:k]...)
			continue
		}
		if f.Flags == wire.FlagsCall {
			ids[f.Body[len(f.Body)-1]] = f.ID
			seen++
		}
		held = held[n:]
	}
	return ids
}
