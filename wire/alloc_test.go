package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

// noAllocs asserts that f, which is called many times, allocates nothing.
func noAllocs(t *testing.T, f func()) {
	t.Helper()
	require.Zero(t, testing.AllocsPerRun(1000, f))
}

// TestAllocsParse reads every golden file, down to its fields.
func TestAllocsParse(t *testing.T) {
	for _, name := range goldenNames(t) {
		b := goldenBytes(t, name)
		t.Run(name, func(t *testing.T) {
			noAllocs(t, func() {
				part := false
				for rest := b; len(rest) > 0; {
					f, n, err := wire.ParseFrame(rest, wire.DefaultMaxBody)
					if err != nil || n == 0 {
						t.Fatal("the file does not parse")
					}
					if !part {
						parseAll(f)
					}
					part, rest = f.Flags&wire.Part != 0, rest[n:]
				}
			})
		})
	}
}

// parseAll applies the functions that a connection would apply to f.
func parseAll(f wire.Frame) {
	switch {
	case f.Flags.Check() != nil:
	case f.Flags != wire.FlagsControl:
		_, _, _ = wire.ParseBody(f.Body)
	case wire.IsHello(f.Header, f.Body):
		h, _ := wire.ParseHello(f.Body)
		_, _ = h.Negotiate(wire.MinVersion, wire.Version)
	default:
		k, fields, _ := wire.ParseControl(f.Body)
		switch k {
		case wire.KindCredit:
			_, _ = wire.ParseCredit(fields)
		case wire.KindLaneOffer, wire.KindLaneAccept:
			_, _ = wire.ParseLane(fields)
		}
	}
}

// TestAllocsParseCut meets a frame that is not whole, again and again.
func TestAllocsParseCut(t *testing.T) {
	b := goldenBytes(t, "call-full")
	noAllocs(t, func() {
		for i := range b {
			if _, n, _ := wire.ParseFrame(b[:i], wire.DefaultMaxBody); n != 0 {
				t.Fatal("took a frame that is not whole")
			}
		}
	})
}

func TestAllocsAppend(t *testing.T) {
	buf := make([]byte, 0, 8192)
	m := fullMeta()
	h := wire.Hello{MinVersion: 1, MaxVersion: 1, Bytes: 1 << 40}
	l := wire.Lane{Version: 1, RingSize: 1 << 20}
	f := wire.Frame{Header: wire.Header{Flags: wire.FlagsCall, ID: 1}, Body: make([]byte, 64)}
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"header", func() { f.Header.AppendTo(buf) }},
		{"put", func() { f.Put(buf[:wire.HeaderSize]) }},
		{"frame", func() { f.AppendTo(buf) }},
		{"meta", func() { m.AppendTo(buf) }},
		{"meta size", func() { m.Size() }},
		{"meta check", func() { _ = m.Check() }},
		{"hello", func() { h.AppendTo(buf) }},
		{"ping", func() { wire.AppendControl(buf, wire.KindPing, 1) }},
		{"credit", func() { wire.AppendCredit(buf, 1<<40) }},
		{"lane", func() { l.AppendTo(buf, wire.KindLaneOffer) }},
		{"uint field", func() { wire.AppendUint(buf, 1<<20, 1<<63) }},
		{"bytes field", func() { wire.AppendBytes(buf, 7, f.Body) }},
		{"string field", func() { wire.AppendBytes(buf, 7, "value") }},
		{"uvarint", func() { wire.AppendUvarint(buf, 1<<63) }},
	} {
		t.Run(c.name, func(t *testing.T) { noAllocs(t, c.f) })
	}
}

func TestAllocsFields(t *testing.T) {
	b := wire.AppendBytes(wire.AppendUint(nil, 1, 1<<40), 2, "value")
	noAllocs(t, func() {
		f, n, err := wire.ParseField(b)
		if err != nil || f.Uint != 1<<40 {
			t.Fatal("the first field does not parse")
		}
		if f, _, err = wire.ParseField(b[n:]); err != nil || len(f.Bytes) != 5 {
			t.Fatal("the second field does not parse")
		}
		if v, _ := wire.ParseUvarint(b); v != 2 {
			t.Fatal("the uvarint does not parse")
		}
	})
}
