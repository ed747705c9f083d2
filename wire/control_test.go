package wire_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

func TestParseControl(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   string
		kind   wire.ControlKind
		fields string
		err    string
	}{
		{"ping", "\x02", wire.KindPing, "", ""},
		{"credit", "\x05\x02\x07", wire.KindCredit, "\x02\x07", ""},
		{"not known", "\xffabc", 255, "abc", ""},
		{"longest", "\x02" + strings.Repeat("x", wire.MaxControl-1), wire.KindPing,
			strings.Repeat("x", wire.MaxControl-1), ""},
		{"empty", "", 0, "", "wire: malformed control kind at byte 0"},
		{"too long", "\x02" + strings.Repeat("x", wire.MaxControl), 0, "",
			"wire: control bytes: 1025, limit 1024"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, fields, err := wire.ParseControl([]byte(c.body))
			require.Equal(t, c.kind, k)
			require.Equal(t, c.fields, string(fields))
			if c.err != "" {
				require.EqualError(t, err, c.err)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

func TestControlKindNames(t *testing.T) {
	want := []string{"control-0", "hello", "ping", "pong", "cancel", "credit", "drain",
		"lane-offer", "lane-accept", "place", "control-10"}
	for i, name := range want {
		require.Equal(t, name, wire.ControlKind(i).String())
	}
	require.Equal(t, "control-255", wire.ControlKind(255).String())
}

func TestIsHello(t *testing.T) {
	good := goldenBytes(t, "hello-client")
	f, _, err := wire.ParseFrame(good, wire.MaxControl)
	require.NoError(t, err)
	require.True(t, wire.IsHello(f.Header, f.Body))
	for _, c := range []struct {
		name string
		h    wire.Header
		body string
	}{
		{"another id", wire.Header{Flags: wire.FlagsControl, ID: 1}, string(f.Body)},
		{"no flags", wire.Header{}, string(f.Body)},
		{"flags of a call", wire.Header{Flags: wire.FlagsCall}, string(f.Body)},
		{"more flags", wire.Header{Flags: wire.FlagsControl | wire.Part}, string(f.Body)},
		{"empty", wire.Header{Flags: wire.FlagsControl}, ""},
		{"magic cut", wire.Header{Flags: wire.FlagsControl}, wire.HelloPrefix[:6]},
		{"another magic", wire.Header{Flags: wire.FlagsControl}, "\x01PITHOZ"},
		{"another kind", wire.Header{Flags: wire.FlagsControl}, "\x02PITHOS"},
	} {
		require.False(t, wire.IsHello(c.h, []byte(c.body)), c.name)
	}
}

func TestParseHello(t *testing.T) {
	one := wire.Hello{MinVersion: 1, MaxVersion: 1}
	for _, c := range []struct {
		name   string
		fields string // behind the prefix, in hex
		want   wire.Hello
		err    string
	}{
		{"versions only", "02 01 04 01", one, ""},
		{"unknown field", "02 01 04 01 53 04 66617374", one, ""},
		{"unknown capabilities", "02 01 04 01 06 ff ff ff ff ff ff ff ff ff 01",
			wire.Hello{MinVersion: 1, MaxVersion: 1, Capabilities: 1<<64 - 1}, ""},
		{"most", "02 ff ff ff ff 0f 04 ff ff ff ff 0f 08 ff ff ff ff 0f 0a ff ff ff ff 0f" +
			"0c 80 80 80 80 80 80 80 80 40", wire.Hello{MinVersion: 1<<32 - 1,
			MaxVersion: 1<<32 - 1, MaxBody: 1<<32 - 1, Calls: 1<<32 - 1, Bytes: 1 << 62}, ""},
		{"no fields", "", wire.Hello{}, "wire: malformed hello version range 0 to 0 at byte 7"},
		{"no lowest version", "04 05", wire.Hello{},
			"wire: malformed hello version range 0 to 5 at byte 7"},
		{"no newest version", "02 01", wire.Hello{},
			"wire: malformed hello version range 1 to 0 at byte 7"},
		{"empty range", "02 03 04 02", wire.Hello{},
			"wire: malformed hello version range 3 to 2 at byte 7"},
		{"version over 32 bits", "02 80 80 80 80 10 04 01", wire.Hello{},
			"wire: hello min version: 4294967296, limit 4294967295"},
		{"newest version over 32 bits", "02 01 04 80 80 80 80 10", wire.Hello{},
			"wire: hello max version: 4294967296, limit 4294967295"},
		{"body over 32 bits", "02 01 04 01 08 80 80 80 80 10", wire.Hello{},
			"wire: hello max body: 4294967296, limit 4294967295"},
		{"calls over 32 bits", "02 01 04 01 0a 80 80 80 80 10", wire.Hello{},
			"wire: hello calls: 4294967296, limit 4294967295"},
		{"too much credit", "02 01 04 01 0c 81 80 80 80 80 80 80 80 40", wire.Hello{},
			"wire: hello bytes: 4611686018427387905, limit 4611686018427387904"},
		{"version as bytes", "03 01 31 04 01", wire.Hello{},
			"wire: malformed field kind at byte 7"},
		{"capabilities as bytes", "02 01 04 01 07 00", wire.Hello{},
			"wire: malformed field kind at byte 11"},
		{"falling numbers", "04 01 02 01", wire.Hello{}, "wire: malformed field order at byte 9"},
		{"cut", "02 01 04", wire.Hello{}, "wire: malformed field value at byte 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := wire.ParseHello(append([]byte(wire.HelloPrefix), hexBytes(t, c.fields)...))
			require.Equal(t, c.want, h)
			if c.err != "" {
				require.EqualError(t, err, c.err)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

func TestParseHelloWantsTheMagic(t *testing.T) {
	for _, body := range []string{"", "\x01PITHO", "\x01PITHOZ\x02\x01\x04\x01", "\x02PITHOS"} {
		_, err := wire.ParseHello([]byte(body))
		require.EqualError(t, err, "wire: malformed hello magic at byte 0", "body %q", body)
	}
	_, err := wire.ParseHello([]byte(wire.HelloPrefix + strings.Repeat("x", wire.MaxControl)))
	require.EqualError(t, err, "wire: control bytes: 1031, limit 1024")
}

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		name                    string
		theirMin, theirMax      uint32
		ourLowest, ourNewest, v uint32
		err                     string
	}{
		{"the same", 1, 1, 1, 1, 1, ""},
		{"a newer client", 1, 3, 1, 1, 1, ""},
		{"an older client", 1, 1, 1, 3, 1, ""},
		{"ranges that overlap", 2, 5, 1, 3, 3, ""},
		{"ranges that touch", 3, 5, 1, 3, 3, ""},
		{"the client is too new", 2, 3, 1, 1, 0,
			"wire: no version in common: peer speaks 2 to 3, this side 1 to 1"},
		{"the client is too old", 1, 2, 3, 4, 0,
			"wire: no version in common: peer speaks 1 to 2, this side 3 to 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := wire.Hello{MinVersion: c.theirMin, MaxVersion: c.theirMax}
			v, err := h.Negotiate(c.ourLowest, c.ourNewest)
			require.Equal(t, c.v, v)
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, wire.ErrNoVersion)
			require.EqualError(t, err, c.err)
		})
	}
}

func TestParseCredit(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields string
		n      uint64
		err    string
	}{
		{"some", "02 c0 84 3d", 1_000_000, ""},
		{"none", "02 00", 0, ""},
		{"no field", "", 0, ""},
		{"unknown field", "02 05 29 01 61", 5, ""},
		{"most", "02 80 80 80 80 80 80 80 80 40", 1 << 62, ""},
		{"too much", "02 81 80 80 80 80 80 80 80 40", 0,
			"wire: credit bytes: 4611686018427387905, limit 4611686018427387904"},
		{"as bytes", "03 01 61", 0, "wire: malformed field kind at byte 1"},
		{"twice", "02 05 02 05", 0, "wire: malformed field order at byte 3"},
		{"cut", "02 05 04", 0, "wire: malformed field value at byte 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := wire.ParseCredit(hexBytes(t, c.fields))
			require.Equal(t, c.n, n)
			if c.err != "" {
				require.EqualError(t, err, c.err)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

func TestParseLane(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields string
		want   wire.Lane
		err    string
	}{
		{"offer", "02 01 04 80 80 40", wire.Lane{Version: 1, RingSize: 1 << 20}, ""},
		{"refused", "02 01 04 00", wire.Lane{Version: 1}, ""},
		{"unknown field", "02 01 04 40 29 00", wire.Lane{Version: 1, RingSize: 64}, ""},
		{"no fields", "", wire.Lane{}, ""},
		{"version over 32 bits", "02 80 80 80 80 10", wire.Lane{},
			"wire: lane version: 4294967296, limit 4294967295"},
		{"ring too large", "02 01 04 81 80 80 80 80 20", wire.Lane{},
			"wire: lane ring bytes: 1099511627777, limit 1099511627776"},
		{"version as bytes", "03 01 61", wire.Lane{}, "wire: malformed field kind at byte 1"},
		{"ring as bytes", "02 01 05 00", wire.Lane{}, "wire: malformed field kind at byte 3"},
		{"cut", "02 01 04", wire.Lane{}, "wire: malformed field value at byte 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := wire.ParseLane(hexBytes(t, c.fields))
			require.Equal(t, c.want, l)
			if c.err != "" {
				require.EqualError(t, err, c.err)
			} else {
				require.NoError(t, err)
			}
		})
	}
}
