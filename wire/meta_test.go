package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

func TestParseBody(t *testing.T) {
	long := func(field byte, n int) string { // a body whose meta is one field of n bytes
		f := wire.AppendBytes(nil, uint32(field), strings.Repeat("x", n))
		return string(append(wire.AppendUvarint(nil, uint64(len(f))), f...))
	}
	raw := func(s string) string { return string(hexBytes(t, s)) }
	for _, c := range []struct {
		name    string
		body    string
		meta    wire.Meta
		payload string
		err     string
	}{
		{"empty meta", raw("00 6869"), wire.Meta{}, "hi", ""},
		{"no payload", raw("00"), wire.Meta{}, "", ""},
		{"method", raw("05 03 03 616464 6869"), wire.Meta{Method: []byte("add")}, "hi", ""},
		{"a field cut behind unknown ones", raw("0d 03 03 616464 29 01 ff fe 7f 80 01 68"),
			wire.Meta{}, "", "wire: malformed field value at byte 14"},
		{"unknown fields are skipped", raw("0c 03 03 616464 29 01 ff fe 7f 80 01 68"),
			wire.Meta{Method: []byte("add")}, "h", ""},
		{"a field of zero", raw("02 04 00"), wire.Meta{}, "", ""},
		{"no bytes at all", "", wire.Meta{}, "", "wire: malformed meta length at byte 0"},
		{"meta length cut", raw("80"), wire.Meta{}, "", "wire: malformed meta length at byte 0"},
		{"meta length longer than it needs to be", raw("80 00 61"), wire.Meta{}, "",
			"wire: malformed meta length at byte 0"},
		{"meta longer than the body", raw("06 03 03 616464"), wire.Meta{}, "",
			"wire: meta bytes: 6, limit 5"},
		{"meta over its limit", raw("81 20") + strings.Repeat("x", 5000), wire.Meta{}, "",
			"wire: meta bytes: 4097, limit 4096"},
		{"meta of 2^64-1 bytes", raw("ff ff ff ff ff ff ff ff ff 01"), wire.Meta{}, "",
			"wire: meta bytes: 18446744073709551615, limit 4096"},
		{"falling numbers", raw("07 04 01 03 03 616464"), wire.Meta{}, "",
			"wire: malformed field order at byte 3"},
		{"the same number twice", raw("04 04 01 04 01"), wire.Meta{}, "",
			"wire: malformed field order at byte 3"},
		{"method of the wrong kind", raw("02 02 01"), wire.Meta{}, "",
			"wire: malformed field kind at byte 1"},
		{"timeout of the wrong kind", raw("07 03 01 61 05 02 6161"), wire.Meta{}, "",
			"wire: malformed field kind at byte 4"},
		{"route of the wrong kind", raw("03 09 01 61"), wire.Meta{}, "",
			"wire: malformed field kind at byte 1"},
		{"a field cut by the end of meta", raw("04 03 03 6164 64"), wire.Meta{}, "",
			"wire: field bytes: 3, limit 2"},
		{"a second field that is cut", raw("04 03 01 61 04"), wire.Meta{}, "",
			"wire: malformed field value at byte 5"},
		{"longest method", long(1, wire.MaxMethod),
			wire.Meta{Method: bytes.Repeat([]byte("x"), wire.MaxMethod)}, "", ""},
		{"method too long", long(1, wire.MaxMethod+1), wire.Meta{}, "",
			"wire: method bytes: 1025, limit 1024"},
		{"trace too long", long(3, wire.MaxTrace+1), wire.Meta{}, "",
			"wire: trace bytes: 65, limit 64"},
		{"code over 32 bits", raw("06 0a 80 80 80 80 10"), wire.Meta{}, "",
			"wire: code: 4294967296, limit 4294967295"},
		{"most files", raw("03 0c fd 01"), wire.Meta{Files: wire.MaxFiles}, "", ""},
		{"too many files", raw("03 0c fe 01"), wire.Meta{}, "", "wire: files: 254, limit 253"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, payload, err := wire.ParseBody([]byte(c.body))
			require.Equal(t, c.meta, m)
			require.Equal(t, c.payload, string(payload))
			if c.err != "" {
				require.EqualError(t, err, c.err)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

// fullMeta has every field, at its longest.
func fullMeta() wire.Meta {
	return wire.Meta{Method: bytes.Repeat([]byte("m"), wire.MaxMethod),
		Trace: bytes.Repeat([]byte("t"), wire.MaxTrace), TimeoutUs: 1<<64 - 1, Route: 1<<64 - 1,
		Code: 1<<32 - 1, Files: wire.MaxFiles, Fan: 1<<32 - 1, Caller: 1<<64 - 1, Key: 1<<64 - 1,
		Action:   bytes.Repeat([]byte("a"), wire.MaxAction),
		Selector: bytes.Repeat([]byte("s"), wire.MaxSelector)}
}

func TestMetaRoundTrip(t *testing.T) {
	full := fullMeta()
	for _, c := range []struct {
		name string
		meta wire.Meta
	}{
		{"empty", wire.Meta{}},
		{"method", wire.Meta{Method: []byte("add")}},
		{"timeout", wire.Meta{TimeoutUs: 1}},
		{"trace", wire.Meta{Trace: []byte(traceparent)}},
		{"route", wire.Meta{Route: 128}},
		{"code", wire.Meta{Code: wire.CodeUser}},
		{"files", wire.Meta{Files: 1}},
		{"action", wire.Meta{Action: []byte("echo")}},
		{"selector", wire.Meta{Selector: []byte(`{"objectName":"math"}`)}},
		{"fan", wire.Meta{Fan: wire.FanEach}},
		{"caller", wire.Meta{Caller: 1 << 40}},
		{"key", wire.Meta{Key: 1<<64 - 1}},
		{"all", full},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, c.meta.Check())
			b := c.meta.AppendTo([]byte("head"))
			require.Equal(t, "head", string(b[:4]))
			require.Len(t, b[4:], c.meta.Size())
			require.LessOrEqual(t, c.meta.Size(), wire.MaxMeta, "the largest meta fits")
			m, payload, err := wire.ParseBody(append(b[4:], "payload"...))
			require.NoError(t, err)
			require.Equal(t, c.meta, m)
			require.Equal(t, "payload", string(payload))
		})
	}
}

func TestMetaCheck(t *testing.T) {
	m := fullMeta()
	m.Method = append(m.Method, 'm')
	require.EqualError(t, m.Check(), "wire: method bytes: 1025, limit 1024")
	m = fullMeta()
	m.Trace = append(m.Trace, 't')
	require.EqualError(t, m.Check(), "wire: trace bytes: 65, limit 64")
	m = fullMeta()
	m.Files++
	require.EqualError(t, m.Check(), "wire: files: 254, limit 253")
}
