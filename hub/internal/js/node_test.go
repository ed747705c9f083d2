package js_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// reading is what testdata/reader.js says of one body.
type reading struct {
	Valid bool
	Clean []byte // the body after its bytes were decoded and encoded again
	A, B  *value // the members a and b, where the body is an object
	Equal bool   // a === b
}

// value is what JavaScript makes of one value.
type value struct {
	Truthy bool
	Number string   // Number(value)
	JSON   string   // JSON.stringify(value)
	Units  []uint16 // of String(value)
}

// reader is a Node process that reads bodies from a pipe.
type reader struct {
	mu  sync.Mutex // one body at a time
	in  io.WriteCloser
	out *bufio.Reader
}

// startReader starts Node; it ends with the test.
func startReader(tb testing.TB) *reader {
	tb.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatal("node is not on PATH, and CI=true wants it")
		}
		tb.Skip("node is not on PATH")
	}
	cmd := exec.Command(node, "testdata/reader.js")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(tb, err)
	out, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	tb.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &reader{in: in, out: bufio.NewReaderSize(out, 1<<20)}
}

// read has Node read a body.
func (r *reader) read(t *testing.T, body []byte) reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	require.NoError(t, err)
	line, err := r.out.ReadBytes('\n')
	require.NoError(t, err)
	var got reading
	require.NoError(t, json.Unmarshal(line, &got))
	return got
}

// FuzzAgainstNode has the law: whatever the bytes, this package and a real Node take the same ones
// for JSON, decode them alike, find the same members a and b, and agree about what those are.
func FuzzAgainstNode(f *testing.F) {
	node := startReader(f)
	f.Add([]byte(message))
	for _, c := range bodies {
		if len(c.text) < 1000 {
			f.Add([]byte(c.text))
			f.Add([]byte(`{"a":` + c.text + `,"b":[` + c.text + `]}`))
		}
	}
	for i, v := range values {
		f.Add([]byte(`{"a": ` + v + ` ,"b":` + values[(i+1)%len(values)] + `}`))
		f.Add([]byte(`{"b":` + v + `,"\u0061":1,"a":[` + v + `,[` + v + `]],"a":` + v + `}`))
	}
	f.Add([]byte(`{"__proto__":{"a":1},"b":2}`))
	f.Add([]byte(`{"a":` + disordered + `,"b":{}}`))
	f.Add([]byte(`{"a":1,"a\u0000":2,"\u0062":"\ud83d","B":1}`))
	f.Add([]byte("{\"a\":\"\xed\xa0\xbd\xed\xb8\x80\",\"b\xff\":1,\"b\":\"\xf0\x9f\x98\"}"))
	var s js.Scanner
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := s.Scan(body)
		if _, deep := errors.AsType[*js.DepthError](err); deep {
			return // V8 has no such limit
		}
		want := node.read(t, body)
		require.Equal(t, want.Valid, err == nil, "JSON.parse(%q): %v", body, err)
		clean := js.AppendClean(nil, body)
		require.Equal(t, string(want.Clean), string(clean))
		if err != nil {
			return
		}
		found := make([][]byte, 2)
		js.Fields(js.Value(clean), []string{"a", "b"}, found)
		compare(t, want.A, found[0])
		compare(t, want.B, found[1])
		require.Equal(t, want.Equal, js.Equal(found[0], found[1]), "%s === %s", found[0], found[1])
	})
}

// compare asserts that raw is for this package what it is for Node.
func compare(t *testing.T, want *value, raw []byte) {
	if want == nil {
		require.Empty(t, raw)
		return
	}
	require.Equal(t, want.Truthy, js.Truthy(raw), "Boolean(%s)", raw)
	require.Equal(t, want.Number, string(js.AppendFloat(nil, js.ToNumber(raw))), "Number(%s)", raw)
	require.Equal(t, want.JSON, string(js.AppendStringified(nil, raw)), "%s", raw)
	require.Equal(t, want.Units, units(js.AppendToString(nil, raw)), "String(%s)", raw)
}

// Numbers are printed as JavaScript prints them; encoding/json differs in exponents.
func FuzzNumbersAgainstNode(f *testing.F) {
	node := startReader(f)
	for _, x := range []float64{0, 1, -1.5, 1e21, 1e-7, 5e-324, 0.1, 1 << 53, math.MaxFloat64} {
		f.Add(x)
	}
	f.Fuzz(func(t *testing.T, x float64) {
		text := strconv.FormatFloat(x, 'g', -1, 64)
		if strings.ContainsAny(text, "IN") {
			return // there is no JSON for NaN and the infinities
		}
		want := node.read(t, []byte(`{"a":`+text+`}`))
		require.Equal(t, want.A.Number, string(js.AppendFloat(nil, js.Float([]byte(text)))))
		require.Equal(t, want.A.Truthy, x != 0)
	})
}

// units are the UTF-16 units of text in the form of AppendString.
func units(text []byte) []uint16 {
	all := []uint16{}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && n == 1: // half a pair in three bytes
			r, n = rune(text[i]&0xf)<<12|rune(text[i+1]&0x3f)<<6|rune(text[i+2]&0x3f), 3
			all = append(all, uint16(r))
		case r > 0xffff:
			r -= 0x10000
			all = append(all, uint16(0xd800+r>>10), uint16(0xdc00+r&0x3ff))
		default:
			all = append(all, uint16(r))
		}
		i += n
	}
	return all
}
