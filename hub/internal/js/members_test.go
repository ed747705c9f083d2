package js_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

func TestFields(t *testing.T) {
	keys := []string{"a", "b", "é", ""}
	cases := []struct {
		name, object string
		want         [4]string
	}{
		{"empty", `{}`, [4]string{}},
		{"empty with space", `{ }`, [4]string{}},
		{"one", `{"a":1}`, [4]string{"1"}},
		{"white space", "{ \"a\" : [ 1 , 2 ] ,\n\"b\"\t:\r\"x\" }", [4]string{"[ 1 , 2 ]", `"x"`}},
		{"last of repeated keys", `{"a":1,"b":2,"a":{"a":3}}`, [4]string{`{"a":3}`, "2"}},
		{"repeated with null", `{"a":1,"a":null}`, [4]string{"null"}},
		{"escaped key", `{"\u0061":1,"\u00e9":2}`, [4]string{"1", "", "2"}},
		{"repeated, once escaped", `{"\u0061":1,"a":2}`, [4]string{"2"}},
		{"repeated, then escaped", `{"a":1,"\u0061":2}`, [4]string{"2"}},
		{"empty key", `{"":5}`, [4]string{"", "", "", "5"}},
		{"other keys", `{"aa":1,"A":2,"a ":3,"\\u0061":4}`, [4]string{}},
		{"keys further down", `{"x":{"a":1},"y":[{"b":2}]}`, [4]string{}},
		{"brackets in strings", `{"x":"}],{\"a\":1","a":"]}","b":{"k":"}"}}`,
			[4]string{`"]}"`, `{"k":"}"}`}},
		{"backslashes before quotes", `{"x":"\\","a":"\\\"","b":"\\\\"}`,
			[4]string{`"\\\""`, `"\\\\"`}},
		{"literals", `{"a":true,"b":false,"":null}`, [4]string{"true", "false", "", "null"}},
		{"numbers", `{"a":-1.5e+3,"b":0 }`, [4]string{"-1.5e+3", "0"}},
		{"array", `["a",1]`, [4]string{}},
		{"string", `"a"`, [4]string{}},
		{"number", `5`, [4]string{}},
		{"nothing", ``, [4]string{}},
	}
	values := make([][]byte, len(keys))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			values[3] = []byte("left over")
			js.Fields([]byte(c.object), keys, values)
			for i, want := range c.want {
				require.Equal(t, want, string(values[i]), "key %q", keys[i])
			}
		})
	}
}

func TestMembersInOrder(t *testing.T) {
	m := js.MembersOf([]byte(`{"b":1, "a":[{}], "b":"x"}`))
	var got []string
	for {
		key, value, ok := m.Next()
		if !ok {
			break
		}
		got = append(got, string(key)+"="+string(value))
	}
	require.Equal(t, []string{`"b"=1`, `"a"=[{}]`, `"b"="x"`}, got)
	_, _, ok := m.Next()
	require.False(t, ok)
}

func TestIs(t *testing.T) {
	cases := []struct {
		name, raw, want string
		is              bool
	}{
		{"same", `"action"`, "action", true},
		{"escaped", `"\u0061ction"`, "action", true},
		{"all escaped", `"\u0061\u0062"`, "ab", true},
		{"pair", `"\ud83d\ude00"`, "😀", true},
		{"half a pair", `"\ud83d"`, "\xed\xa0\xbd", true},
		{"shorter", `"act"`, "action", false},
		{"longer", `"actions"`, "action", false},
		{"escaped, longer", `"\u0061ctions"`, "action", false},
		{"escaped, shorter", `"\u0061ct"`, "action", false},
		{"as long as what is looked for", `"a\/b"`, `a\/b`, false},
		{"backslash", `"a\\b"`, `a\b`, true},
		{"number", `5`, "5", false},
		{"nothing", ``, "", false},
		{"empty", `""`, "", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.is, js.Is([]byte(c.raw), c.want))
		})
	}
}

func TestAppendQuoted(t *testing.T) {
	cases := []struct{ name, text string }{
		{"plain", "plain"},
		{"empty", ""},
		{"quotes", `a "b" \c`},
		{"control", "a\x00b\x1f\n\r\tz"},
		{"unicode", "é世界😀\u2028"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			quoted := js.AppendQuoted(nil, c.text)
			var back string
			require.NoError(t, json.Unmarshal(quoted, &back), "%s", quoted)
			require.Equal(t, c.text, back)
			require.Equal(t, quoted, js.AppendQuoted(nil, []byte(c.text)))
			require.Equal(t, c.text, string(js.AppendString(nil, quoted)))
		})
	}
}

func TestAppendClean(t *testing.T) {
	const bad = "\uFFFD"
	cases := []struct{ name, in, want string }{
		{"good", "aé世😀", "aé世😀"},
		{"stray", "a\x80b", "a" + bad + "b"},
		{"never legal", "\xc0\xaf\xff", bad + bad + bad},
		{"cut after one of three", "\xe2x", bad + "x"},
		{"cut after two of three", "\xe2\x82x", bad + "x"},
		{"cut after three of four", "\xf0\x9f\x98\"", bad + "\""},
		{"too long a form", "\xe0\x80\x80", bad + bad + bad},
		{"surrogate", "\xed\xa0\x80", bad + bad + bad},
		{"beyond the last", "\xf4\x90\x80\x80", bad + bad + bad + bad},
		{"at the end", "ok\xf1\x80", "ok" + bad},
		{"two beginnings", "\xe2\xe2\x82\xac", bad + "€"},
		{"a replacement is good", "\ufffd", "\ufffd"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, string(js.AppendClean(nil, []byte(c.in))))
		})
	}
}

func TestAllocsFields(t *testing.T) {
	keys := []string{"action", "data"}
	values := make([][]byte, 2)
	body := []byte(message)
	require.Zero(t, testing.AllocsPerRun(100, func() { js.Fields(body, keys, values) }))
	require.Equal(t, `"PANDORA_HUB_ACTION_MSG_UP"`, string(values[0]))
}

// Members are what encoding/json finds, where the two languages agree about strings.
func FuzzFields(f *testing.F) {
	f.Add([]byte(message))
	for _, c := range bodies {
		f.Add([]byte(c.text))
	}
	for _, v := range values {
		f.Add([]byte(`{"v": ` + v + ` ,"w":[` + v + `]}`))
	}
	var s js.Scanner
	f.Fuzz(func(t *testing.T, body []byte) {
		body = js.AppendClean(nil, body)
		if _, err := s.Scan(body); err != nil || bytes.Contains(body, []byte(`\u`)) {
			return
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(body, &want) != nil {
			m := js.MembersOf(bytes.TrimSpace(body))
			_, _, ok := m.Next()
			require.False(t, ok)
			return
		}
		var keys []string
		for k := range want {
			keys = append(keys, k)
		}
		values := make([][]byte, len(keys))
		js.Fields(bytes.Trim(body, " \t\r\n"), keys, values)
		for i, k := range keys {
			require.Equal(t, string(want[k]), string(values[i]), "key %q", k)
		}
	})
}

func BenchmarkFields(b *testing.B) {
	keys := []string{"remote", "broadcast", "needReply", "timeout", "host"}
	values := make([][]byte, len(keys))
	body := []byte(message[strings.Index(message, `"data":`)+7 : len(message)-1])
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		js.Fields(body, keys, values)
	}
}
