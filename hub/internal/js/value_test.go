package js_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// disordered is an object that JSON.stringify writes otherwise.
const disordered = ` { "b" : 1.0, "2":[ 1E2 , {"x":-0}, [ ] ], "__proto__" : 1,
	"b":"\u00e9\ud83d\/", "10":1e400,"01":null,"4294967295":0, "4294967294":"\b\f\u007f",
	"\u0061":[[],{ },"\ude00\ud83d"], "1":{"":true,"\u0000":false}, "-1":0,
	"a":{"toJSON":1,"a":{"a":[{}]}},"1":{"z":1,"0":2} } `

// values are raw values of every kind, for the comparisons with Node.
var values = []string{
	`null`, `true`, `false`, `{}`, `[]`, `{"a":1}`, `[0]`, `[ 5 ]`, `["0x10"]`, `[[["7"]]]`,
	`[null]`, `[true]`, `[[],[null,[1e3,"a,\u0062"]],{"x":[","]}]`, `["\ud83d","]"]`, `[[ ],[ ]]`,
	`0`, `-0`, `0.0`, `-0.0e7`, `0e5`, `1e-400`, `-1e-400`, `5e-324`, `2e-324`, `3e-324`,
	`1`, `-1`, `5`, `5.0`, `5e0`, `50e-1`, `0.5E1`, `05e0`[1:], `1.5`, `0.1`, `100`, `1e2`, `1e3`,
	`1e6`, `1e20`, `1e21`, `1e22`, `123456789012345680000`, `1234567890123456800000`, `-1e21`,
	`0.000001`, `0.0000001`, `1e-6`, `1e-7`, `1.25e-9`, `1.5e-10`, `1e100`, `1e-100`,
	`9007199254740991`, `9007199254740992`, `9007199254740993`, `-9007199254740993`,
	`999999999`, `1000000000`, `4294967296`, `2147483647`, `2147483648`,
	`1.7976931348623157e308`, `1e308`, `1e309`, `-1e309`, `1e999`,
	`0.30000000000000004`, `0.3`, `1` + strings.Repeat("0", 40), `0.` + strings.Repeat("3", 60),
	`0.1000000000000000055511151231257827021181583404541015625`,
	`""`, `" "`, `"0"`, `"a"`, `"\u0061"`, `"A"`, `"ab"`, `"a\u0062"`, `"\u0061b"`, `"a\/b"`,
	`"a/b"`, `"\n"`, `"\u000a"`, `"\u000A"`, `"\\n"`, `"\""`, `"\u0022"`, `"null"`, `"true"`,
	`"undefined"`, `"é"`, `"\u00e9"`, `"\u00E9"`, `"e\u0301"`, `"世界"`, `"\u4e16\u754c"`,
	`"\u4e16界"`, `"😀"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"\ud83d"`, `"\ude00"`,
	`"\ude00\ud83d"`, `"\ud83d\ud83d\ude00"`, `"\ud83d😀"`, `"\ud83dx"`, `"\ud83d\n"`,
	`"\ud83d\u0041"`, `"\ufffd"`, `"�"`, `"\uffff"`, `"\u0000"`, `"\u2028"`, "\"\u2028\"",
	`"\ud800\udc00"`, `"\udbff\udfff"`, "\"\xff\"", "\"\xc3\"", "\"\xe2\x82\"",
	"\"\xed\xa0\xbd\xed\xb8\x80\"", "\"\xf0\x9f\x98\"", `"5"`, `"5.0"`, `" 5 "`, `"\t5\n"`,
	`"+5"`, `"-5"`, `"5e0"`, `"5."`, `".5"`, `"."`, `"-.5"`, `"+."`, `"1e3"`, `"1e"`, `"1e+"`,
	`"1e-3"`, `"1E3"`, `"e3"`, `"1_000"`, `"1,5"`, `"0x10"`, `"0X1f"`, `"0x"`, `"0xg"`,
	`"-0x10"`, `"0o17"`, `"0b101"`, `"0b2"`, `"0O8"`, `"Infinity"`, `"-Infinity"`,
	`"+Infinity"`, `"infinity"`, `"inf"`, `"NaN"`, `"nan"`, `"--5"`, `"5 5"`, `"5px"`,
	`"1e400"`, `"-0"`, `"007"`, `"\u00a05\u3000"`, `"\ufeff5"`, `"\u200b5"`, `"\u180e5"`,
	`"\u20285"`, `"0x1p4"`, `"200.75"`,
	`"100000000000000000000000000000000000000000000000000000000000000000000000000000"`,
}

func TestTruthy(t *testing.T) {
	for _, raw := range []string{"", "null", "false", `""`, "0", "-0", "0.0", "0e9", "1e-400"} {
		require.False(t, js.Truthy([]byte(raw)), "%q", raw)
	}
	for _, raw := range []string{"true", "1", "-1", "1e-300", `"0"`, `" "`, "[]", `"\u0000"`} {
		require.True(t, js.Truthy([]byte(raw)), "%q", raw)
	}
}

func TestEqual(t *testing.T) {
	cases := []struct {
		name, a, b string
		want       bool
	}{
		{"numbers written in other ways", "5", "5.0", true},
		{"numbers with exponents", "5e0", "50e-1", true},
		{"zeros", "0", "-0.0", true},
		{"beyond 2^53", "9007199254740992", "9007199254740993", true},
		{"infinite", "1e999", "1e400", true},
		{"number and string", "5", `"5"`, false},
		{"escapes", `"a\u0062"`, `"ab"`, true},
		{"escaped slash", `"a\/b"`, `"a/b"`, true},
		{"surrogate pair and character", `"\ud83d\ude00"`, `"😀"`, true},
		{"half a pair", `"\ud83d"`, `"😀"`, false},
		{"halves the wrong way round", `"\ude00\ud83d"`, `"😀"`, false},
		{"a prefix", `"ab"`, `"abc"`, false},
		{"a prefix, escaped", `"a\u0062"`, `"abc"`, false},
		{"null", "null", "null", true},
		{"absent", "", "", true},
		{"null and absent", "null", "", false},
		{"true and false", "true", "false", false},
		{"arrays", "[]", "[]", false},
		{"objects", "{}", "{}", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, js.Equal([]byte(c.a), []byte(c.b)))
			require.Equal(t, c.want, js.Equal([]byte(c.b), []byte(c.a)))
		})
	}
}

func TestToNumberOfOthers(t *testing.T) {
	for _, raw := range []string{"", "{}", "[5,6]", "[{}]", "[true]"} {
		require.True(t, math.IsNaN(js.ToNumber([]byte(raw))), "%q", raw)
	}
	require.Equal(t, 5.0, js.ToNumber([]byte("[[ 5 ]]")))
	require.Equal(t, "undefined", string(js.AppendToString(nil, nil)))
	require.Equal(t, "[object Object]", string(js.AppendToString(nil, []byte("{}"))))
	require.Equal(t, "NaN", string(js.AppendFloat(nil, math.NaN())))
}

func TestAllocsValues(t *testing.T) {
	raws := [][]byte{[]byte("5"), []byte("-12.75e3"), []byte(`"web\u0031"`), []byte(`"web1"`)}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, a := range raws {
			js.Truthy(a)
			js.ToNumber(a)
			for _, b := range raws {
				js.Equal(a, b)
			}
		}
	}))
}

// answers is what testdata/oracle.js prints.
type answers struct {
	Valid  []bool
	Clean  [][]byte
	Truthy []bool
	Number []string
	String []string
	Units  [][]uint16
	JSON   []string
	Equal  [][]bool
}

// askNode runs the oracle. Without Node the test is skipped, but not where CI is set.
func askNode(t *testing.T, bodies, values [][]byte) answers {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("node is not on PATH, and CI=true wants it")
		}
		t.Skip("node is not on PATH")
	}
	input, err := json.Marshal(map[string][][]byte{"bodies": bodies, "values": values})
	require.NoError(t, err)
	cmd := exec.Command(node, "testdata/oracle.js")
	cmd.Stdin = strings.NewReader(string(input))
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	require.NoError(t, err)
	var a answers
	require.NoError(t, json.Unmarshal(output, &a))
	return a
}

// mutants are bodies made from good ones by small damage.
func mutants(rng *rand.Rand, n int) [][]byte {
	const pieces = "{}[]:,\"\\ue0-+.15 \t\n\x00\x1f\x7f\x80\xbf\xc3\xe2\xed\xf0\xf4\xff/abtfn'"
	seeds := []string{message}
	for _, c := range bodies {
		if len(c.text) < 500 {
			seeds = append(seeds, c.text)
		}
	}
	for _, v := range values {
		seeds = append(seeds, `{"v":[`+v+`,1]}`)
	}
	var all [][]byte
	for range n {
		b := []byte(seeds[rng.IntN(len(seeds))])
		for range rng.IntN(4) {
			at := rng.IntN(len(b) + 1)
			c := pieces[rng.IntN(len(pieces))]
			switch rng.IntN(4) {
			case 0:
				b = slices.Insert(b, at, c)
			case 1:
				b = slices.Delete(b, at, min(len(b), at+1+rng.IntN(3)))
			case 2:
				b = append(b[:at:at], b[min(len(b), at+rng.IntN(9)):]...)
			case 3:
				if at < len(b) {
					b[at] = c
				}
			}
		}
		all = append(all, b)
	}
	return all
}

func TestAgreesWithNode(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	all := mutants(rand.New(rand.NewPCG(seed, 2)), 6000)
	for _, c := range bodies {
		all = append(all, []byte(c.text))
	}
	var raws [][]byte
	for _, v := range append(values, strings.TrimSpace(disordered)) {
		raws = append(raws, []byte(v))
	}
	want := askNode(t, all, raws)
	var s js.Scanner
	for i, body := range all {
		_, err := s.Scan(body)
		require.Equal(t, want.Valid[i], err == nil, "JSON.parse(%q): %v", body, err)
		require.Equal(t, want.Clean[i], append([]byte{}, js.AppendClean(nil, body)...), "%q", body)
	}
	for i := range raws {
		raws[i] = js.AppendClean(nil, raws[i])
	}
	for i, raw := range raws {
		require.Equal(t, want.Truthy[i], js.Truthy(raw), "Boolean(%s)", raw)
		for k, other := range raws {
			require.Equal(t, want.Equal[i][k], js.Equal(raw, other), "%s === %s", raw, other)
		}
		require.Equal(t, want.JSON[i], string(js.AppendStringified(nil, raw)), "%s", raw)
		kind := js.KindOf(raw)
		number := string(js.AppendFloat(nil, js.ToNumber(raw)))
		require.Equal(t, want.Number[i], number, "Number(%s)", raw)
		if kind != js.String {
			text := strings.ToValidUTF8(string(js.AppendToString(nil, raw)), "\ufffd")
			require.Equal(t, want.String[i], text)
			continue
		}
		text := js.AppendString(nil, raw)
		require.Equal(t, want.Units[i], units(text), "%s", raw)
		require.True(t, js.Is(raw, string(text)), "%s", raw)
		if utf8.Valid(text) {
			require.Equal(t, want.String[i], string(text))
		}
	}
}

func ExampleAppendString() {
	fmt.Println(string(js.AppendString(nil, []byte(`"caf\u00e9 \ud83d\ude00"`))))
	// Output: café 😀
}
