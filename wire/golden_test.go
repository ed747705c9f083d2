package wire_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

// hexBytes reads hex digits as people write them: white space goes, and so does everything from a
// '#' to the end of its line.
func hexBytes(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	require.NoError(t, err)
	return b
}

// goldenBytes are the bytes of a file in testdata/golden.
func goldenBytes(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", name+".hex"))
	require.NoError(t, err)
	return hexBytes(t, string(text))
}

// goldenNames are the names of all files in testdata/golden.
func goldenNames(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "golden", "*.hex"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(p), ".hex")
	}
	return names
}

// golden is one frame as this package's callers mean it.
type golden interface {
	// appendTo encodes it.
	appendTo(dst []byte) []byte
	// check holds the frame that was parsed against it.
	check(t *testing.T, f wire.Frame)
}

// native is a frame with meta: whole, or the first part.
type native struct {
	flags   wire.Flags
	id      uint32
	meta    wire.Meta
	payload string
}

func (g native) appendTo(dst []byte) []byte {
	body := append(g.meta.AppendTo(nil), g.payload...)
	return wire.Frame{Header: wire.Header{Flags: g.flags, ID: g.id}, Body: body}.AppendTo(dst)
}

func (g native) check(t *testing.T, f wire.Frame) {
	require.Equal(t, g.flags, f.Flags)
	require.Equal(t, g.id, f.ID)
	require.NoError(t, f.Flags.Check())
	m, payload, err := wire.ParseBody(f.Body)
	require.NoError(t, err)
	require.Equal(t, g.meta, m)
	require.Equal(t, g.payload, string(payload))
}

// plain is a frame whose body is all payload: a continuation, or one of Pandora's.
type plain struct {
	flags   wire.Flags
	id      uint32
	payload string
}

func (g plain) appendTo(dst []byte) []byte {
	h := wire.Header{Flags: g.flags, ID: g.id}
	return wire.Frame{Header: h, Body: []byte(g.payload)}.AppendTo(dst)
}

func (g plain) check(t *testing.T, f wire.Frame) {
	require.Equal(t, g.flags, f.Flags)
	require.Equal(t, g.id, f.ID)
	require.Equal(t, g.payload, string(f.Body))
}

// bare is a control message without fields.
type bare struct {
	kind wire.ControlKind
	id   uint32
}

func (g bare) appendTo(dst []byte) []byte { return wire.AppendControl(dst, g.kind, g.id) }

func (g bare) check(t *testing.T, f wire.Frame) {
	require.Equal(t, g.id, f.ID)
	require.Empty(t, controlFields(t, f, g.kind))
}

type credit uint64

func (g credit) appendTo(dst []byte) []byte { return wire.AppendCredit(dst, uint64(g)) }

func (g credit) check(t *testing.T, f wire.Frame) {
	require.Zero(t, f.ID)
	n, err := wire.ParseCredit(controlFields(t, f, wire.KindCredit))
	require.NoError(t, err)
	require.Equal(t, uint64(g), n)
}

type lane struct {
	kind wire.ControlKind
	wire.Lane
}

func (g lane) appendTo(dst []byte) []byte { return g.AppendTo(dst, g.kind) }

func (g lane) check(t *testing.T, f wire.Frame) {
	require.Zero(t, f.ID)
	l, err := wire.ParseLane(controlFields(t, f, g.kind))
	require.NoError(t, err)
	require.Equal(t, g.Lane, l)
}

type hello struct {
	wire.Hello
}

func (g hello) appendTo(dst []byte) []byte { return g.AppendTo(dst) }

func (g hello) check(t *testing.T, f wire.Frame) {
	require.True(t, wire.IsHello(f.Header, f.Body))
	controlFields(t, f, wire.KindHello)
	h, err := wire.ParseHello(f.Body)
	require.NoError(t, err)
	require.Equal(t, g.Hello, h)
}

// readable is a hello that this package reads but would not write.
type readable struct{ hello }

func (g readable) appendTo(dst []byte) []byte { return dst }

func controlFields(t *testing.T, f wire.Frame, want wire.ControlKind) []byte {
	t.Helper()
	require.Equal(t, wire.FlagsControl, f.Flags)
	k, fields, err := wire.ParseControl(f.Body)
	require.NoError(t, err)
	require.Equal(t, want, k)
	return fields
}

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// goldens says what each file in testdata/golden means, frame by frame.
func goldens() map[string][]golden {
	clientHello := wire.Hello{MinVersion: 1, MaxVersion: 1, MaxBody: 16 << 20, Calls: 4096,
		Bytes: 32 << 20}
	newerHello := clientHello
	newerHello.MaxVersion, newerHello.Capabilities = 3, wire.CapFiles|1<<8
	method := func(name string) wire.Meta { return wire.Meta{Method: []byte(name)} }
	return map[string][]golden{
		"call-bare": {native{wire.FlagsCall, 1, wire.Meta{}, "ping"}},
		"call": {native{wire.FlagsCall, 65543,
			wire.Meta{Method: []byte("add"), TimeoutUs: 250_000}, "[1,2]"}},
		"call-full": {native{wire.FlagsCall, 1<<32 - 1, wire.Meta{Method: []byte("open"),
			TimeoutUs: 1, Trace: []byte(traceparent), Route: 1 << 32, Files: 2}, "/tmp/x"}},
		"call-routed": {native{wire.FlagsCall, 3, wire.Meta{Action: []byte("echo"),
			Selector: []byte(`{"objectName":"math"}`), Fan: wire.FanAll, Caller: 300, Key: 7}, ""}},
		"call-parts": {
			native{wire.FlagsCall | wire.Part, 9, method("put"), "one"},
			plain{wire.FlagsCall | wire.Part, 9, "two"},
			plain{wire.FlagsCall, 9, "three"},
		},
		"oneway": {native{wire.FlagsOneway, 0, method("log"), "hi"}},
		"oneway-parts": {
			native{wire.FlagsOneway | wire.Part, 3, wire.Meta{}, "he"},
			plain{wire.FlagsOneway, 3, "llo"},
		},
		"reply":       {native{wire.FlagsReply, 65543, wire.Meta{}, "3"}},
		"reply-empty": {native{wire.FlagsReply, 1, wire.Meta{}, ""}},
		"reply-parts": {
			native{wire.FlagsReply | wire.Part, 9, wire.Meta{}, "abc"},
			plain{wire.FlagsReply, 9, "def"},
		},
		"error": {native{wire.FlagsError, 7, wire.Meta{Code: wire.CodeOverloaded}, "disk full"}},
		"error-parts": {
			native{wire.FlagsError | wire.Part, 7, wire.Meta{Code: 128}, "no,"},
			plain{wire.FlagsError, 7, " no."},
		},
		"error-version": {native{wire.FlagsError, 0, wire.Meta{Code: wire.CodeVersion},
			"server speaks 1 to 1"}},
		"hello-client": {hello{clientHello}},
		"hello-server": {hello{wire.Hello{MinVersion: 1, MaxVersion: 1, Capabilities: wire.CapFiles,
			MaxBody: 1 << 20, Calls: 64, Bytes: 2 << 20}}},
		"hello-newer": {readable{hello{newerHello}}},
		"ping":        {bare{wire.KindPing, 42}},
		"pong":        {bare{wire.KindPong, 42}},
		"cancel":      {bare{wire.KindCancel, 65543}},
		"credit":      {credit(1_000_000)},
		"drain":       {bare{wire.KindDrain, 0}},
		"place":       {bare{wire.KindPlace, 3}},
		"lane-offer":  {lane{wire.KindLaneOffer, wire.Lane{Version: 1, RingSize: 1 << 20}}},
		"lane-accept": {lane{wire.KindLaneAccept, wire.Lane{Version: 1, RingSize: 1 << 20}}},
		"lane-refuse": {lane{wire.KindLaneAccept, wire.Lane{Version: 1}}},
		"empty":       {plain{0, 9, ""}},

		"pandora-online-request": {plain{0, 1,
			`{"action":"PANDORA_HUB_ACTION_ONLINE_UP","data":{"host":{"appName":"shop","processName":"web","pid":"101","clientId":` +
				`"3c281465-c93b-4a45-ab34-dfe15e04171d"},"needReply":true}}`}},
		"pandora-online-reply": {plain{0, 1, `{"action":"response_callback_1","data":` +
			`{"success":true}}`}},
		"pandora-publish-request": {plain{0, 2,
			`{"action":"PANDORA_HUB_ACTION_PUBLISH_UP","data":{"data":{"selector":{"appName":"shop","processName":"job","pid":"102","clientId":` +
				`"7b16417b-51e4-4b95-b54d-8d3ca0f515f7","objectName":"cart","objectTag":"v1"}},"host":` +
				`{"appName":"shop","processName":"job","pid":"102","clientId":` +
				`"7b16417b-51e4-4b95-b54d-8d3ca0f515f7"},"needReply":true}}`}},
	}
}

// TestGolden holds the encoder to exactly the bytes of the files, and the parser to what they mean.
func TestGolden(t *testing.T) {
	table := goldens()
	for _, name := range goldenNames(t) {
		t.Run(name, func(t *testing.T) {
			want := goldenBytes(t, name)
			frames, ok := table[name]
			if !ok {
				require.True(t, strings.HasPrefix(name, "pandora-"), "nobody says what it means")
				checkPandora(t, want)
				return
			}
			var got []byte
			rest := want
			for _, g := range frames {
				got = g.appendTo(got)
				f, n, err := wire.ParseFrame(rest, wire.DefaultMaxBody)
				require.NoError(t, err)
				require.NotZero(t, n, "the frame is not whole")
				g.check(t, f)
				rest = rest[n:]
			}
			require.Empty(t, rest)
			if _, ok := frames[0].(readable); !ok {
				require.Equal(t, hex.Dump(want), hex.Dump(got))
			}
			delete(table, name)
		})
	}
	require.Empty(t, table, "no file in testdata/golden for these")
}

// checkPandora holds a captured frame to what all of Pandora's have in common, and writes it again.
func checkPandora(t *testing.T, b []byte) {
	f, n, err := wire.ParseFrame(b, wire.DefaultMaxBody)
	require.NoError(t, err)
	require.Len(t, b, n)
	require.Zero(t, f.Flags)
	require.NotZero(t, f.ID)
	require.Equal(t, `{"action":"`, string(f.Body[:11]))
	require.Equal(t, b, f.AppendTo(nil))
	require.False(t, wire.IsHello(f.Header, f.Body))
	require.Error(t, f.Flags.Check(), "flags 0 are no native frame's")
}

// TestGoldenCut parses every prefix of every golden file: what is not whole is not an error, and
// takes nothing.
func TestGoldenCut(t *testing.T) {
	for _, name := range goldenNames(t) {
		b := goldenBytes(t, name)
		h, _ := wire.ParseHeader(b)
		whole := wire.HeaderSize + int(h.Length)
		for i := range whole {
			f, n, err := wire.ParseFrame(b[:i], wire.DefaultMaxBody)
			require.NoError(t, err, "%s cut at %d", name, i)
			require.Zero(t, n)
			require.Zero(t, f)
		}
	}
}
