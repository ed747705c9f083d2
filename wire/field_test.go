package wire_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

func TestUvarint(t *testing.T) {
	for _, c := range []struct {
		name string
		hex  string
		v    uint64
		n    int
	}{
		{"nothing", "", 0, 0},
		{"zero", "00", 0, 1},
		{"one byte", "7f", 127, 1},
		{"two bytes", "80 01", 128, 2},
		{"more behind it", "90 a1 0f ff", 250_000, 3},
		{"largest", "ff ff ff ff ff ff ff ff ff 01", math.MaxUint64, 10},
		{"cut", "80", 0, 0},
		{"cut late", "ff ff ff ff ff ff ff ff ff", 0, 0},
		{"over 64 bits", "ff ff ff ff ff ff ff ff ff 02", 0, -10},
		{"eleven bytes", "80 80 80 80 80 80 80 80 80 80 01", 0, -11},
		{"zero in two bytes", "80 00", 0, -2},
		{"one in three bytes", "81 80 00", 0, -3},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := hexBytes(t, c.hex)
			v, n := wire.ParseUvarint(b)
			require.Equal(t, c.v, v)
			require.Equal(t, c.n, n)
			if n > 0 {
				require.Equal(t, b[:n], wire.AppendUvarint(nil, v))
				require.Equal(t, n, wire.SizeUvarint(v))
			}
		})
	}
}

// TestUvarintSizes goes to both sides of every length.
func TestUvarintSizes(t *testing.T) {
	for bits := range 64 {
		for _, v := range []uint64{1<<bits - 1, 1 << bits} {
			b := wire.AppendUvarint(nil, v)
			require.Len(t, b, wire.SizeUvarint(v))
			got, n := wire.ParseUvarint(b)
			require.Equal(t, v, got)
			require.Len(t, b, n)
		}
	}
}

func TestParseField(t *testing.T) {
	for _, c := range []struct {
		name string
		hex  string
		want wire.Field
		n    int
		err  string
	}{
		{"uint", "02 05", wire.Field{Number: 1, Uint: 5}, 2, ""},
		{"uint, large", "04 90 a1 0f", wire.Field{Number: 2, Uint: 250_000}, 4, ""},
		{"bytes", "03 03 616464 99",
			wire.Field{Number: 1, Kind: wire.KindBytes, Bytes: []byte("add")}, 5, ""},
		{"no bytes", "03 00", wire.Field{Number: 1, Kind: wire.KindBytes, Bytes: []byte{}}, 2, ""},
		{"largest number", "80 80 80 01 00", wire.Field{Number: 1 << 20}, 5, ""},
		{"nothing", "", wire.Field{}, 0, "wire: malformed field key at byte 0"},
		{"key cut", "80", wire.Field{}, 0, "wire: malformed field key at byte 0"},
		{"key longer than it needs to be", "82 00 05", wire.Field{}, 0,
			"wire: malformed field key at byte 0"},
		{"number zero", "00 05", wire.Field{}, 0, "wire: field number: 0, limit 1048576"},
		{"number too large", "82 80 80 01 00", wire.Field{}, 0,
			"wire: field number: 1048577, limit 1048576"},
		{"key over 32 bits", "82 80 80 80 80 01 00", wire.Field{}, 0,
			"wire: field number: 17179869185, limit 1048576"},
		{"no value", "02", wire.Field{}, 0, "wire: malformed field value at byte 1"},
		{"value cut", "02 ff", wire.Field{}, 0, "wire: malformed field value at byte 1"},
		{"value longer than it needs to be", "02 85 00", wire.Field{}, 0,
			"wire: malformed field value at byte 1"},
		{"no length", "03", wire.Field{}, 0, "wire: malformed field value at byte 1"},
		{"more bytes than there are", "03 04 616464", wire.Field{}, 0,
			"wire: field bytes: 4, limit 3"},
		{"length of 2^64-1", "03 ff ff ff ff ff ff ff ff ff 01 61", wire.Field{}, 0,
			"wire: field bytes: 18446744073709551615, limit 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := hexBytes(t, c.hex)
			f, n, err := wire.ParseField(b)
			require.Equal(t, c.n, n)
			require.Equal(t, c.want, f)
			if c.err != "" {
				require.EqualError(t, err, c.err)
				return
			}
			require.NoError(t, err)
			if f.Kind == wire.KindBytes {
				require.Equal(t, b[:n], wire.AppendBytes(nil, f.Number, f.Bytes))
				require.Equal(t, b[:n], wire.AppendBytes(nil, f.Number, string(f.Bytes)))
				_ = append(f.Bytes, 0xEE) // must not reach what is behind it
				require.Equal(t, hexBytes(t, c.hex), b)
			} else {
				require.Equal(t, b[:n], wire.AppendUint(nil, f.Number, f.Uint))
			}
		})
	}
}

func TestErrorTexts(t *testing.T) {
	require.Equal(t, "ok", wire.CodeOK.String())
	require.Equal(t, "peer lost", wire.CodePeerLost.String())
	require.Equal(t, "code 16", wire.Code(16).String())
	require.Equal(t, "code 64", wire.CodeUser.String())
	require.Equal(t, "code 4294967295", wire.Code(1<<32-1).String())
	seen := make(map[string]bool)
	for c := wire.CodeOK; c <= wire.CodePeerLost; c++ {
		require.False(t, strings.HasPrefix(c.String(), "code "), "code %d has no name", uint32(c))
		require.False(t, seen[c.String()], "two codes are called %q", c)
		seen[c.String()] = true
	}
}
