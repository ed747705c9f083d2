package wire_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

// tapGolden is what testdata/golden/tap/records.hex means, and section 18 of PROTOCOL.md.
func tapGolden() wire.TapRecord {
	at := time.Date(2026, 11, 27, 1, 0, 0, 0, time.UTC)
	return wire.TapRecord{Time: uint64(at.UnixNano()), Kind: wire.TapCall, ID: 7, Size: 7,
		From: []byte("web"), To: []byte("calculator"), Object: []byte("math"),
		Method: []byte("abs"), Sent: 562, Copies: 1, Lost: 2, Body: []byte("[-1234]")}
}

func TestTapGolden(t *testing.T) {
	want := goldenBytes(t, "tap/records")
	r := tapGolden()
	require.Equal(t, hex.Dump(want), hex.Dump(r.AppendTo([]byte(wire.TapMagic))))
	got, n, err := wire.ParseTapRecord(want[len(wire.TapMagic):])
	require.NoError(t, err)
	require.Equal(t, len(want)-len(wire.TapMagic), n)
	require.Equal(t, r, got)
}

func TestTapRecordOfEverything(t *testing.T) {
	want := wire.TapRecord{Time: 1 << 63, Kind: wire.TapError, ID: 1<<32 - 1, Size: 1 << 40,
		From: make([]byte, wire.MaxTapName), To: []byte("t"), Object: []byte("o"),
		Method: []byte("m"), Took: 5, Sent: 6, Copies: 7, Code: wire.CodePeerLost, Lost: 8,
		Body: make([]byte, 100_000)}
	b := want.AppendTo(nil)
	got, n, err := wire.ParseTapRecord(append(b, 1, 2, 3))
	require.NoError(t, err)
	require.Len(t, b, n)
	require.Equal(t, want, got)
}

func TestTapRecordMalformed(t *testing.T) {
	r := tapGolden()
	whole := r.AppendTo(nil)
	for i := range whole {
		_, n, err := wire.ParseTapRecord(whole[:i])
		require.ErrorIs(t, err, wire.ErrCut, "cut at %d", i)
		require.Zero(t, n)
	}
	long := wire.AppendBytes(nil, 5, make([]byte, wire.MaxTapName+1))
	for name, b := range map[string][]byte{
		"too long":         {0, 0x10, 0, 1},
		"name too long":    append([]byte{0, 0, byte(len(long) >> 8), byte(len(long))}, long...),
		"twice":            {0, 0, 0, 4, 2, 1, 2, 1},
		"kind over a byte": {0, 0, 0, 3, 4, 0x80, 2},
		"other kind":       {0, 0, 0, 3, 3, 1, 'x'},
		"field cut":        {0, 0, 0, 2, 0x0b, 5},
	} {
		_, n, err := wire.ParseTapRecord(b)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, wire.ErrCut, name)
		require.Zero(t, n)
	}
	_, _, err := wire.ParseTapRecord([]byte{0, 0, 0, 4, 0xfe, 0x03, 9, 9})
	require.Error(t, err, "rest of a record")
	got, n, err := wire.ParseTapRecord([]byte{0, 0, 0, 3, 0xfe, 0x03, 9}) // of a later version
	require.NoError(t, err)
	require.Equal(t, 7, n)
	require.Zero(t, got)
}

func TestTapKinds(t *testing.T) {
	for k := wire.TapNote; k <= wire.TapControl; k++ {
		got, ok := wire.ParseTapKind(k.String())
		require.True(t, ok)
		require.Equal(t, k, got)
	}
	_, ok := wire.ParseTapKind("unknown")
	require.False(t, ok)
	require.Equal(t, "unknown", wire.TapKind(200).String())
}

func TestAllocsTapRecord(t *testing.T) {
	r := tapGolden()
	buf := make([]byte, 0, 256)
	noAllocs(t, func() {
		b := r.AppendTo(buf)
		if _, _, err := wire.ParseTapRecord(b); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzTapRecord: what parses is written so that it parses the same, and cut anywhere it is not
// there yet.
func FuzzTapRecord(f *testing.F) {
	r := tapGolden()
	f.Add(r.AppendTo(nil))
	f.Add((&wire.TapRecord{Lost: 1}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := wire.ParseTapRecord(b)
		if err != nil {
			require.Zero(t, n)
			return
		}
		again, m, err := wire.ParseTapRecord(r.AppendTo(nil))
		require.NoError(t, err)
		require.Positive(t, m)
		require.Equal(t, fields(r), fields(again))
		_, _, err = wire.ParseTapRecord(b[:n-1])
		require.ErrorIs(t, err, wire.ErrCut)
	})
}

// fields makes empty and absent the same.
func fields(r wire.TapRecord) wire.TapRecord {
	for _, b := range []*[]byte{&r.From, &r.To, &r.Object, &r.Method, &r.Body} {
		if len(*b) == 0 {
			*b = nil
		}
	}
	return r
}

func BenchmarkTapRecord(b *testing.B) {
	b.ReportAllocs()
	r := tapGolden()
	buf := make([]byte, 0, 256)
	for b.Loop() {
		buf = r.AppendTo(buf[:0])
	}
}
