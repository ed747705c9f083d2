package wire_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		name string
		hex  string
		want wire.Header
		ok   bool
	}{
		{"nothing", "", wire.Header{}, false},
		{"one byte short", "60 00000001 000000", wire.Header{}, false},
		{"zero", "00 00000000 00000000", wire.Header{}, true},
		{"call", "60 00010007 00000005", wire.Header{Flags: 0x60, ID: 65543, Length: 5}, true},
		{"all bits", "ff ffffffff ffffffff",
			wire.Header{Flags: 0xff, ID: 1<<32 - 1, Length: 1<<32 - 1}, true},
		{"more behind it", "28 01020304 05060708 ff",
			wire.Header{Flags: 0x28, ID: 0x01020304, Length: 0x05060708}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := hexBytes(t, c.hex)
			h, ok := wire.ParseHeader(b)
			require.Equal(t, c.ok, ok)
			require.Equal(t, c.want, h)
			if !ok {
				return
			}
			require.Equal(t, b[:wire.HeaderSize], h.AppendTo(nil))
			put := make([]byte, wire.HeaderSize+1)
			h.Put(put)
			require.Equal(t, append(b[:wire.HeaderSize:wire.HeaderSize], 0), put)
		})
	}
}

func TestPutWantsRoom(t *testing.T) {
	require.Panics(t, func() { wire.Header{}.Put(make([]byte, wire.HeaderSize-1)) })
}

// TestFlags goes through all 256 values.
func TestFlags(t *testing.T) {
	legal := map[wire.Flags]bool{0x60: true, 0x64: true, 0xA0: true, 0xA4: true, 0x20: true,
		0x24: true, 0x30: true, 0x34: true, 0x28: true}
	for i := range 256 {
		f := wire.Flags(i)
		err := f.Check()
		if legal[f] {
			require.NoError(t, err, "flags 0x%02x", i)
			continue
		}
		require.Equal(t, wire.FlagsViolation(f), err)
	}
	require.EqualError(t, wire.Flags(0x2C).Check(), "wire: illegal flags 0x2c")
}

func TestParseFrame(t *testing.T) {
	for _, c := range []struct {
		name    string
		hex     string
		maxBody uint32
		n       int
		body    string
		err     string
	}{
		{"nothing", "", 10, 0, "", ""},
		{"half a header", "60 000000", 10, 0, "", ""},
		{"header without its body", "60 00000001 00000002", 10, 0, "", ""},
		{"body one byte short", "60 00000001 00000002 61", 10, 0, "", ""},
		{"whole", "60 00000001 00000002 6162", 10, 11, "ab", ""},
		{"whole and more", "60 00000001 00000002 6162 60", 10, 11, "ab", ""},
		{"empty body", "00 00000001 00000000", 0, 9, "", ""},
		{"at the limit", "60 00000001 00000002 6162", 2, 11, "ab", ""},
		{"over the limit", "60 00000001 00000003", 2, 0, "", "wire: body bytes: 3, limit 2"},
		{"over the limit by far", "60 00000001 ffffffff 00", 16 << 20, 0, "",
			"wire: body bytes: 4294967295, limit 16777216"},
		{"huge but allowed", "60 00000001 ffffffff 00", 1<<32 - 1, 0, "", ""},
		{"flags are not judged", "ff 00000001 00000000", 0, 9, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, n, err := wire.ParseFrame(hexBytes(t, c.hex), c.maxBody)
			require.Equal(t, c.n, n)
			require.Equal(t, c.body, string(f.Body))
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.err)
			require.IsType(t, (*wire.LimitError)(nil), err)
		})
	}
}

// TestFrameBodyIsFenced appends to a parsed body: the bytes behind it are another frame's.
func TestFrameBodyIsFenced(t *testing.T) {
	b := bytes.Repeat(wire.Frame{Body: []byte("ab")}.AppendTo(nil), 2)
	f, n, err := wire.ParseFrame(b, 2)
	require.NoError(t, err)
	_ = append(f.Body, 0xEE)
	require.Equal(t, byte(0), b[n])
}

func TestFrameLengthIsTheBodys(t *testing.T) {
	f := wire.Frame{Header: wire.Header{Flags: 0x60, ID: 1, Length: 77}, Body: []byte("ab")}
	require.Equal(t, hexBytes(t, "60 00000001 00000002 6162"), f.AppendTo(nil))
	require.Equal(t, hexBytes(t, "00 60 00000001 00000002 6162"), f.AppendTo([]byte{0}))
}
