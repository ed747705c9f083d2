package js_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// bodies are whole bodies, good and bad, that the tests share.
var bodies = []struct {
	name string
	text string
	ok   bool
}{
	{"null", "null", true},
	{"true", "true", true},
	{"false", "false", true},
	{"empty", "", false},
	{"white space only", " \t\r\n", false},
	{"white space around", " \t\r\n1 \t\r\n", true},
	{"other white space", "\v1", false},
	{"no-break space", "\u00a01", false},
	{"byte order mark", "\ufeff1", false},
	{"zero", "0", true},
	{"minus zero", "-0", true},
	{"leading zero", "01", false},
	{"minus alone", "-", false},
	{"plus", "+1", false},
	{"minus twice", "--1", false},
	{"point last", "1.", false},
	{"point first", ".5", false},
	{"fraction", "-12.50", true},
	{"exponents", "[1e5,1E5,1e+5,1e-5,0e0,1.5e400]", true},
	{"exponent empty", "1e", false},
	{"exponent sign only", "1e+", false},
	{"exponent fraction", "1e1.5", false},
	{"hexadecimal", "0x10", false},
	{"not a number", "NaN", false},
	{"infinity", "Infinity", false},
	{"literal cut", "tru", false},
	{"literal in capitals", "True", false},
	{"literal too long", "truee", false},
	{"undefined", "undefined", false},
	{"empty string", `""`, true},
	{"every escape", `"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"`, true},
	{"lone surrogate", `"\ud800"`, true},
	{"bad escape", `"\x41"`, false},
	{"escape of a line end", "\"\\\n\"", false},
	{"short unicode escape", `"\u12"`, false},
	{"unicode escape with a bad digit", `"\u12g4"`, false},
	{"unicode escape at the end", `"\u1234`, false},
	{"capital U", `"\U00e9"`, false},
	{"not closed", `"abc`, false},
	{"not closed after a backslash", `"abc\`, false},
	{"closed by an escaped quote", `"abc\"`, false},
	{"quotes of the other kind", `'abc'`, false},
	{"line end in a string", "\"a\nb\"", false},
	{"nul in a string", "\"a\x00b\"", false},
	{"unit separator in a string", "\"a long one with \x1f in it\"", false},
	{"delete in a string", "\"a\x7fb\"", true},
	{"line separators", "\"\u2028\u2029\"", true},
	{"bad UTF-8 in a string", "\"\xff\xc3\"", true},
	{"bad UTF-8 in a key", "{\"\xe2\x82\":1}", true},
	{"bad UTF-8 outside", "[\xff]", false},
	{"long string", `"` + strings.Repeat("0123456789", 100) + `"`, true},
	{"escape after a long run", `"` + strings.Repeat("x", 77) + `\n"`, true},
	{"empty object", "{}", true},
	{"empty array", "[ ]", true},
	{"members", `{ "a" : 1 , "b" : [ 2 , { } ] }`, true},
	{"repeated keys", `{"a":1,"a":2}`, true},
	{"comma after the last member", `{"a":1,}`, false},
	{"comma after the last item", `[1,]`, false},
	{"comma first", `[,1]`, false},
	{"comma twice", `[1,,2]`, false},
	{"comma in an object first", `{,"a":1}`, false},
	{"no comma", `[1 2]`, false},
	{"no colon", `{"a" 1}`, false},
	{"two colons", `{"a"::1}`, false},
	{"colon in an array", `["a":1]`, false},
	{"no value", `{"a":}`, false},
	{"key alone", `{"a"}`, false},
	{"key not a string", `{1:2}`, false},
	{"key not quoted", `{a:1}`, false},
	{"object not closed", `{"a":1`, false},
	{"array not closed", `[1`, false},
	{"opened only", `{`, false},
	{"closed by the wrong bracket", `[1}`, false},
	{"closed by the wrong brace", `{"a":1]`, false},
	{"closed only", `]`, false},
	{"closed twice", `[]]`, false},
	{"two values", `1 2`, false},
	{"two objects", `{}{}`, false},
	{"comment", `/**/1`, false},
	{"deep, mixed", strings.Repeat(`[{"a":`, 200) + "1" + strings.Repeat(`}]`, 200), true},
	{"deep, crossed", strings.Repeat(`[{"a":`, 200) + "1" + strings.Repeat(`]}`, 200), false},
	{"deepest", strings.Repeat("[", 10000) + strings.Repeat("]", 10000), true},
}

func TestScan(t *testing.T) {
	var s js.Scanner
	for _, c := range bodies {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Scan([]byte(c.text))
			require.Equal(t, c.ok, err == nil, "%q: %v", c.text, err)
			require.Equal(t, c.ok, json.Valid([]byte(c.text)), "encoding/json on %q", c.text)
		})
	}
}

func TestScanASCII(t *testing.T) {
	cases := []struct {
		name, text string
		ascii      bool
	}{
		{"plain", `{"a":["b"]}`, true},
		{"escaped", `"\u00e9\uffff"`, true},
		{"key", `{"é":1}`, false},
		{"short value", `["é"]`, false},
		{"in a long run", `"` + strings.Repeat("x", 50) + `é and so on"`, false},
		{"bad", "\"\x80\"", false},
		{"delete", "\"\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\"", true},
	}
	var s js.Scanner
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ascii, err := s.Scan([]byte(c.text))
			require.NoError(t, err)
			require.Equal(t, c.ascii, ascii)
		})
	}
}

func TestScanErrorSaysWhatAndWhere(t *testing.T) {
	cases := []struct {
		name, text, want string
	}{
		{"end", `{} x`, "js: end expected at byte 3"},
		{"nothing", ``, "js: value expected at byte 0"},
		{"value", `{"a":}`, "js: value expected at byte 5"},
		{"key", `{"a":1,}`, "js: key expected at byte 7"},
		{"colon", `{"a"}`, "js: colon expected at byte 4"},
		{"member", `{"a":1]`, "js: comma or closing brace expected at byte 6"},
		{"item", `[1`, "js: comma or closing bracket expected at byte 2"},
		{"string", ` "abc`, "js: string not closed at byte 1"},
		{"control", "\"ab\n\"", "js: control character in string at byte 3"},
		{"escape", `"ab\q"`, "js: bad escape in string at byte 3"},
		{"number", `[-]`, "js: bad number at byte 1"},
		{"literal", `nul`, "js: bad literal at byte 0"},
	}
	var s js.Scanner
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Scan([]byte(c.text))
			var syntax *js.SyntaxError
			require.ErrorAs(t, err, &syntax)
			require.EqualError(t, err, c.want)
		})
	}
}

func TestScanTooDeep(t *testing.T) {
	var s js.Scanner
	for _, open := range []string{"[", `{"a":`} {
		_, err := s.Scan([]byte(strings.Repeat(open, js.MaxDepth+1)))
		var deep *js.DepthError
		require.ErrorAs(t, err, &deep)
		require.Equal(t, js.DepthError{Limit: js.MaxDepth, Offset: js.MaxDepth * len(open)}, *deep)
		require.Contains(t, err.Error(), "deeper than 10000")
	}
}

// A body is read alike whatever the body before has left in the scanner.
func TestScanAgain(t *testing.T) {
	var used js.Scanner
	for _, first := range bodies {
		used.Scan([]byte(first.text))
		for _, c := range bodies {
			var fresh js.Scanner
			ascii, err := fresh.Scan([]byte(c.text))
			again, errAgain := used.Scan([]byte(c.text))
			require.Equal(t, err, errAgain, "%s after %s", c.name, first.name)
			require.Equal(t, ascii, again)
		}
	}
}

// Every shorter beginning of a body in brackets is refused, and nothing behind its end is read.
func TestScanEveryPrefix(t *testing.T) {
	var s js.Scanner
	for _, c := range bodies {
		if !c.ok || !strings.ContainsAny(c.text[:1], `{["`) || len(c.text) > 3000 {
			continue
		}
		whole := []byte(c.text)
		for n := range whole {
			_, err := s.Scan(whole[:n:n])
			require.Error(t, err, "%s cut at %d", c.name, n)
		}
	}
}

// message is a body as clients write it.
const message = `{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{"remote":{"objectName":"cart"},` +
	`"action":"echo","broadcast":false,"data":{"n":1,"s":"h\u00e9llo"},"host":{"appName":"shop",` +
	`"processName":"web","pid":"101","clientId":"3c281465-c93b-4a45-ab34-dfe15e04171d"},` +
	`"needReply":true}}`

func TestAllocsScan(t *testing.T) {
	var s js.Scanner
	body := []byte(message)
	deep := []byte(strings.Repeat("[", js.MaxDepth) + strings.Repeat("]", js.MaxDepth))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := s.Scan(body); err != nil {
			panic(err)
		}
		if _, err := s.Scan(deep); err != nil {
			panic(err)
		}
	}))
}

func FuzzScan(f *testing.F) {
	for _, c := range bodies {
		f.Add([]byte(c.text))
	}
	f.Add([]byte(message))
	var s js.Scanner
	f.Fuzz(func(t *testing.T, body []byte) {
		ascii, err := s.Scan(body)
		require.Equal(t, json.Valid(body), err == nil, "%q: %v", body, err)
		clean := js.AppendClean(nil, body)
		_, cleanErr := s.Scan(clean)
		require.Equal(t, err == nil, cleanErr == nil, "cleaned: %v", cleanErr)
		if err != nil {
			return
		}
		if ascii {
			require.Equal(t, body, clean)
		}
		text := js.AppendStringified(nil, js.Value(clean))
		_, err = s.Scan(text)
		require.NoError(t, err)
		require.Equal(t, text, js.AppendStringified(nil, text))
	})
}

func BenchmarkScan(b *testing.B) {
	cases := []struct {
		name string
		body string
	}{
		{"message", message},
		{"text 64KiB", `{"data":"` + strings.Repeat("0123456789abcdef", 4096) + `"}`},
		{"numbers 64KiB", `[` + strings.Repeat("123456.5,", 7280) + `0]`},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			var s js.Scanner
			body := []byte(c.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Scan(body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+" encoding/json", func(b *testing.B) {
			body := []byte(c.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if !json.Valid(body) {
					b.Fatal("invalid")
				}
			}
		})
	}
}
