package transport_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

// raw is a peer that speaks in bytes: it can do what no honest engine does.
type raw struct {
	t    testing.TB
	conn *net.UnixConn
	in   *bufio.Reader
}

// rawPatience is how long a raw peer lives.
const rawPatience = patience / 4

// frame is one frame as bytes.
func frame[T ~string | ~[]byte](flags wire.Flags, id uint32, body T) []byte {
	return wire.Frame{Header: wire.Header{Flags: flags, ID: id}, Body: []byte(body)}.AppendTo(nil)
}

// native is the frame of a native body.
func native[T ~string | ~[]byte](flags wire.Flags, id uint32, m wire.Meta, payload T) []byte {
	return frame(flags, id, append(m.AppendTo(nil), payload...))
}

// header is only the start of a frame.
func header(flags wire.Flags, id, length uint32) []byte {
	return wire.Header{Flags: flags, ID: id, Length: length}.AppendTo(nil)
}

// anyHello says hello with wide limits.
func anyHello() wire.Hello {
	return wire.Hello{MinVersion: wire.MinVersion, MaxVersion: wire.Version, MaxBody: 16 << 20,
		Calls: 10000, Bytes: 1 << 40}
}

// rawDial connects to a listener without saying anything.
func rawDial(t testing.TB, address string) *raw {
	t.Helper()
	c, err := net.Dial("unix", address)
	require.NoError(t, err)
	return newRaw(t, c)
}

func newRaw(t testing.TB, c net.Conn) *raw {
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(rawPatience)))
	return &raw{t, c.(*net.UnixConn), bufio.NewReader(c)}
}

// rawClient connects and says h; it returns the answer.
func rawClient(t testing.TB, address string, h wire.Hello) (*raw, wire.Hello) {
	t.Helper()
	r := rawDial(t, address)
	r.send(h.AppendTo(nil))
	answer, err := wire.ParseHello(r.receive().Body)
	require.NoError(t, err, "the answer to hello")
	return r, answer
}

// rawServer accepts one connection, which accepted returns, from whoever dials the address.
func rawServer(t testing.TB) (address string, accepted func() *raw) {
	t.Helper()
	address = filepath.Join(t.TempDir(), "raw")
	l, err := net.Listen("unix", address)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	conns := make(chan net.Conn, 1)
	go func() {
		defer close(conns)
		if c, err := l.Accept(); err == nil {
			conns <- c
		}
	}()
	return address, func() *raw {
		c := receive(t, conns, "a connection")
		require.NotNil(t, c)
		return newRaw(t, c)
	}
}

// greet takes the hello of a client and answers with h.
func (r *raw) greet(h wire.Hello) wire.Hello {
	r.t.Helper()
	got, err := wire.ParseHello(r.receive().Body)
	require.NoError(r.t, err, "the client's hello")
	r.send(h.AppendTo(nil))
	return got
}

// send writes bytes. That the other end is gone is for the test to find out when it reads.
func (r *raw) send(parts ...[]byte) {
	for _, p := range parts {
		_, _ = r.conn.Write(p)
	}
}

// next reads the next frame.
func (r *raw) next() (wire.Frame, error) {
	var b [wire.HeaderSize]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return wire.Frame{}, err
	}
	h, _ := wire.ParseHeader(b[:])
	f := wire.Frame{Header: h, Body: make([]byte, h.Length)}
	_, err := io.ReadFull(r.in, f.Body)
	return f, err
}

// receive reads the next frame, which has to come.
func (r *raw) receive() wire.Frame {
	r.t.Helper()
	f, err := r.next()
	require.NoError(r.t, err, "the next frame")
	return f
}

// until reads frames until want says yes, and returns that one with the number of those before.
func (r *raw) until(what string, want func(wire.Frame) bool) (wire.Frame, int) {
	r.t.Helper()
	for n := 0; ; n++ {
		f, err := r.next()
		require.NoError(r.t, err, "%s, after %d frames", what, n)
		if want(f) {
			return f, n
		}
	}
}

// reply reads until the reply to id.
func (r *raw) reply(id uint32) wire.Frame {
	r.t.Helper()
	f, _ := r.until("a reply", func(f wire.Frame) bool {
		k := f.Flags &^ wire.Part
		return f.ID == id && (k == wire.FlagsReply || k == wire.FlagsError)
	})
	return f
}

// end wants the other side to close, and returns the frames that came before.
func (r *raw) end() []wire.Frame {
	r.t.Helper()
	var got []wire.Frame
	for {
		f, err := r.next()
		if err != nil {
			require.False(r.t, isTimeout(err), "the connection is still open after %v", rawPatience)
			return got
		}
		got = append(got, f)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// control says whether f is a control message of kind k.
func control(f wire.Frame, k wire.ControlKind) bool {
	return f.Flags == wire.FlagsControl && len(f.Body) > 0 && f.Body[0] == byte(k)
}
