package wire_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

// addGolden seeds f with what is in testdata/golden, from the given offset on.
func addGolden(f *testing.F, from int) {
	for _, name := range goldenNames(f) {
		f.Add(goldenBytes(f, name)[from:])
	}
}

// FuzzHeader: 9 bytes are a header and are written as they were read; fewer are none. The legal
// flags are the nine of the protocol, and no others.
func FuzzHeader(f *testing.F) {
	addGolden(f, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := wire.ParseHeader(b)
		require.Equal(t, len(b) >= wire.HeaderSize, ok)
		if !ok {
			require.Zero(t, h)
			return
		}
		require.Equal(t, b[:wire.HeaderSize], h.AppendTo(nil))
		put := make([]byte, wire.HeaderSize)
		h.Put(put)
		require.Equal(t, b[:wire.HeaderSize], put)
		legal := bytes.IndexByte([]byte{0x60, 0x64, 0xA0, 0xA4, 0x20, 0x24, 0x30, 0x34, 0x28}, b[0])
		require.Equal(t, legal >= 0, h.Flags.Check() == nil)
	})
}

// FuzzFrame: what is appended is parsed as it was, behind anything and in front of anything; cut
// anywhere it is not there yet; one byte over the limit it is refused.
func FuzzFrame(f *testing.F) {
	for _, name := range goldenNames(f) {
		g, _, err := wire.ParseFrame(goldenBytes(f, name), wire.DefaultMaxBody)
		require.NoError(f, err)
		f.Add(uint8(g.Flags), g.ID, g.Body, []byte("next"), uint16(3))
	}
	f.Fuzz(func(t *testing.T, flags uint8, id uint32, body, tail []byte, cut uint16) {
		want := wire.Frame{Header: wire.Header{Flags: wire.Flags(flags), ID: id,
			Length: uint32(len(body))}, Body: body}
		b := want.AppendTo([]byte("before"))[len("before"):]
		size := len(b)
		b = append(b, tail...)

		got, n, err := wire.ParseFrame(b, want.Length)
		require.NoError(t, err)
		require.Equal(t, size, n)
		require.Equal(t, want.Header, got.Header)
		require.True(t, bytes.Equal(body, got.Body))

		_, n, err = wire.ParseFrame(b[:int(cut)%size], want.Length)
		require.NoError(t, err)
		require.Zero(t, n)

		if want.Length > 0 {
			_, n, err = wire.ParseFrame(b[:wire.HeaderSize], want.Length-1)
			require.Zero(t, n)
			require.Equal(t, &wire.LimitError{What: "body bytes", Value: uint64(want.Length),
				Limit: uint64(want.Length) - 1}, err)
		}
	})
}

// reader is the simplest receiver of a stream: it keeps what came and takes the frames off.
type reader struct {
	held    []byte
	frames  []wire.Frame
	maxBody uint32
	err     error
}

func (r *reader) feed(chunk []byte) {
	r.held = append(r.held, chunk...)
	for r.err == nil {
		f, n, err := wire.ParseFrame(r.held, r.maxBody)
		if r.err = err; n == 0 {
			return
		}
		f.Body = bytes.Clone(f.Body)
		r.frames = append(r.frames, f)
		r.held = r.held[n:]
	}
}

// FuzzStream: however a stream of bytes is cut into chunks, the same frames come out, the same
// error in the same place, and the same rest.
func FuzzStream(f *testing.F) {
	var all []byte
	for _, name := range goldenNames(f) {
		b := goldenBytes(f, name)
		f.Add(b, []byte{1}, uint16(1024))
		all = append(all, b...)
	}
	f.Add(all, []byte{1, 2, 3, 5, 8, 13, 21}, uint16(1024))
	f.Add(all, []byte{9, 0, 255}, uint16(100))
	f.Fuzz(func(t *testing.T, stream, cuts []byte, maxBody uint16) {
		whole := reader{maxBody: uint32(maxBody)}
		whole.feed(stream)
		cut := reader{maxBody: uint32(maxBody)}
		for i := 0; len(stream) > 0; i++ {
			n := 1
			if len(cuts) > 0 {
				n = min(int(cuts[i%len(cuts)])+1, len(stream))
			}
			cut.feed(stream[:n])
			stream = stream[n:]
		}
		require.Equal(t, whole.frames, cut.frames)
		require.Equal(t, whole.err, cut.err)
		require.True(t, bytes.Equal(whole.held, cut.held))
		for _, f := range cut.frames {
			require.LessOrEqual(t, len(f.Body), int(maxBody))
		}
	})
}

// FuzzUvarint: a value has one encoding; where encoding/binary agrees that there is a value, and
// its encoding is the shortest, it is the same.
func FuzzUvarint(f *testing.F) {
	for _, v := range []uint64{0, 127, 128, 250_000, 1<<63 - 1, 1<<64 - 1} {
		f.Add(wire.AppendUvarint(nil, v), v)
	}
	f.Add([]byte{0x80, 0x00}, uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, v uint64) {
		enc := wire.AppendUvarint(nil, v)
		require.Len(t, enc, wire.SizeUvarint(v))
		got, n := wire.ParseUvarint(append(enc, b...))
		require.Equal(t, v, got)
		require.Equal(t, len(enc), n)

		got, n = wire.ParseUvarint(b)
		want, m := binary.Uvarint(b)
		if n > 0 {
			require.Equal(t, b[:n], wire.AppendUvarint(nil, got))
			require.Equal(t, want, got)
			require.Equal(t, m, n)
			return
		}
		require.Zero(t, got)
		if m > 0 {
			require.NotEqual(t, b[:m], wire.AppendUvarint(nil, want), "a good value was refused")
			require.Equal(t, -m, n)
		}
	})
}

// FuzzField: what is parsed is written in the same bytes.
func FuzzField(f *testing.F) {
	f.Add(wire.AppendUint(nil, 1, 1<<40))
	f.Add(wire.AppendUint(nil, wire.MaxFieldNumber, 0))
	f.Add(wire.AppendBytes(nil, 2, "value"))
	f.Add(wire.AppendBytes(nil, 3, ""))
	f.Add([]byte{0x03, 0x04, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n, err := wire.ParseField(b)
		if err != nil {
			require.Zero(t, n)
			require.Zero(t, v)
			return
		}
		if v.Kind == wire.KindBytes {
			require.Equal(t, b[:n], wire.AppendBytes(nil, v.Number, v.Bytes))
			require.Zero(t, v.Uint)
			return
		}
		require.Equal(t, b[:n], wire.AppendUint(nil, v.Number, v.Uint))
		require.Nil(t, v.Bytes)
	})
}

// FuzzBody: the body that is read is within every limit, is read the same when written again, and
// ends with its payload.
func FuzzBody(f *testing.F) {
	addGolden(f, wire.HeaderSize)
	full := fullMeta()
	f.Add(append(full.AppendTo(nil), "payload"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, payload, err := wire.ParseBody(b)
		if err != nil {
			require.Zero(t, m)
			require.Nil(t, payload)
			return
		}
		require.NoError(t, m.Check())
		require.True(t, bytes.HasSuffix(b, payload))
		again, rest, err := wire.ParseBody(append(m.AppendTo(nil), payload...))
		require.NoError(t, err)
		require.True(t, bytes.Equal(payload, rest))
		requireMeta(t, m, again)
	})
}

// requireMeta compares two metas; an empty slice and none are the same.
func requireMeta(t *testing.T, want, got wire.Meta) {
	t.Helper()
	require.True(t, bytes.Equal(want.Method, got.Method))
	require.True(t, bytes.Equal(want.Trace, got.Trace))
	require.True(t, bytes.Equal(want.Action, got.Action))
	require.True(t, bytes.Equal(want.Selector, got.Selector))
	for _, m := range []*wire.Meta{&want, &got} {
		m.Method, m.Trace, m.Action, m.Selector = nil, nil, nil, nil
	}
	require.Equal(t, want, got)
}

// FuzzMeta: every meta within its limits is parsed as it was written, in as many bytes as Size
// said, also with fields behind it that are not known.
func FuzzMeta(f *testing.F) {
	f.Add([]byte("add"), []byte(nil), uint64(250_000), uint64(0), uint32(0), uint8(0), uint16(1),
		[]byte("new"))
	f.Add([]byte(nil), []byte(traceparent), uint64(0), uint64(1<<63), uint32(4), uint8(253),
		uint16(500), []byte(nil))
	f.Fuzz(func(t *testing.T, method, trace []byte, timeout, route uint64, code uint32, files uint8,
		number uint16, value []byte) {
		m := wire.Meta{Method: method, Trace: trace, TimeoutUs: timeout, Route: route,
			Code: wire.Code(code), Files: uint32(files), Action: value, Selector: trace,
			Fan: wire.Fan(code), Caller: route, Key: timeout}
		if m.Check() != nil {
			return
		}
		b := m.AppendTo(nil)
		require.Len(t, b, m.Size())
		got, rest, err := wire.ParseBody(append(b, "payload"...))
		require.NoError(t, err)
		require.Equal(t, "payload", string(rest))
		requireMeta(t, m, got)

		_, k := wire.ParseUvarint(b)
		fields := wire.AppendBytes(b[k:], 64+uint32(number), value)
		fields = wire.AppendUint(fields, 65+uint32(number), timeout)
		if len(fields) > wire.MaxMeta {
			return
		}
		grown := append(wire.AppendUvarint(nil, uint64(len(fields))), fields...)
		got, rest, err = wire.ParseBody(append(grown, "payload"...))
		require.NoError(t, err)
		require.Equal(t, "payload", string(rest))
		requireMeta(t, m, got)
	})
}

// FuzzControl: a control message that is read is read the same when written again.
func FuzzControl(f *testing.F) {
	addGolden(f, wire.HeaderSize)
	f.Fuzz(func(t *testing.T, b []byte) {
		k, fields, err := wire.ParseControl(b)
		if err != nil {
			require.True(t, len(b) == 0 || len(b) > wire.MaxControl)
			return
		}
		require.Equal(t, b[0], byte(k))
		require.NotEmpty(t, k.String())
		body := func(frame []byte) []byte {
			h, n, err := wire.ParseFrame(frame, wire.MaxControl)
			require.NoError(t, err)
			require.Len(t, frame, n)
			require.Equal(t, wire.FlagsControl, h.Flags)
			return h.Body
		}
		if h, err := wire.ParseHello(b); err == nil {
			require.Equal(t, wire.KindHello, k)
			again, err := wire.ParseHello(body(h.AppendTo(nil)))
			require.NoError(t, err)
			require.Equal(t, h, again)
			checkNegotiate(t, h)
		}
		if n, err := wire.ParseCredit(fields); err == nil {
			again, err := wire.ParseCredit(body(wire.AppendCredit(nil, n))[1:])
			require.NoError(t, err)
			require.Equal(t, n, again)
		}
		if l, err := wire.ParseLane(fields); err == nil {
			again, err := wire.ParseLane(body(l.AppendTo(nil, k))[1:])
			require.NoError(t, err)
			require.Equal(t, l, again)
		}
	})
}

// checkNegotiate: the version is the newest that both speak, and none only when there is none.
func checkNegotiate(t *testing.T, h wire.Hello) {
	const lowest, newest = 2, 5
	best := uint32(0)
	for v := uint32(lowest); v <= newest; v++ {
		if v >= h.MinVersion && v <= h.MaxVersion {
			best = v
		}
	}
	v, err := h.Negotiate(lowest, newest)
	require.Equal(t, best, v)
	require.Equal(t, best == 0, err != nil)
}
