package hub

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseAction(t *testing.T) {
	cases := []struct {
		name, raw string
		want      action
		id        uint32
	}{
		{"message", `"PANDORA_HUB_ACTION_MSG_UP"`, actionMessage, 0},
		{"online", `"PANDORA_HUB_ACTION_ONLINE_UP"`, actionOnline, 0},
		{"offline", `"PANDORA_HUB_ACTION_OFFLINE_UP"`, actionOffline, 0},
		{"publish", `"PANDORA_HUB_ACTION_PUBLISH_UP"`, actionPublish, 0},
		{"unpublish", `"PANDORA_HUB_ACTION_UNPUBLISH_UP"`, actionUnpublish, 0},
		{"escaped", `"PANDORA\u005fHUB_ACTION_MSG_UP"`, actionMessage, 0},
		{"downwards", `"PANDORA_HUB_ACTION_MSG_DOWN"`, actionNone, 0},
		{"other case", `"pandora_hub_action_msg_up"`, actionNone, 0},
		{"an event of the hub's own", `"connected"`, actionNone, 0},
		{"empty", `""`, actionNone, 0},
		{"number", `7`, actionNone, 0},
		{"null", `null`, actionNone, 0},
		{"object", `{}`, actionNone, 0},
		{"absent", ``, actionNone, 0},
		{"reply", `"response_callback_7"`, actionReply, 7},
		{"reply, escaped", `"response\u005fcallback_\u0037"`, actionReply, 7},
		{"reply to 0", `"response_callback_0"`, actionReply, 0},
		{"reply to the largest", `"response_callback_4294967295"`, actionReply, 1<<32 - 1},
		{"reply to one more", `"response_callback_4294967296"`, actionNone, 0},
		{"reply to far too much", `"response_callback_99999999999"`, actionNone, 0},
		{"reply with a zero in front", `"response_callback_07"`, actionNone, 0},
		{"reply with two zeros", `"response_callback_00"`, actionNone, 0},
		{"reply with a sign", `"response_callback_+7"`, actionNone, 0},
		{"reply to a negative", `"response_callback_-7"`, actionNone, 0},
		{"reply with a fraction", `"response_callback_7.0"`, actionNone, 0},
		{"reply in hexadecimal", `"response_callback_0x7"`, actionNone, 0},
		{"reply with a space", `"response_callback_7 "`, actionNone, 0},
		{"reply to nothing", `"response_callback_"`, actionNone, 0},
		{"long with escapes", `"\u0061` + strings.Repeat("x", 9000) + `"`, actionNone, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, id := parseAction([]byte(c.raw))
			require.Equal(t, c.want, got)
			require.Equal(t, c.id, id)
		})
	}
}

func TestReplies(t *testing.T) {
	turn := new(turn)
	join := func(pieces [][]byte) string {
		var all []byte
		for _, p := range pieces {
			all = append(all, p...)
		}
		return string(all)
	}
	require.Equal(t, `{"action":"response_callback_1","data":{"success":true}}`,
		string(appendSuccess(nil, 1)))
	require.Equal(t, `{"action":"response_callback_4294967295","data":[1, 2]}`,
		join(turn.reply(1<<32-1, []byte(`[1, 2]`))))
	require.Equal(t, `{"action":"response_callback_2","data":null}`,
		join(turn.reply(2, []byte("null"))))
	require.Equal(t, `{"action":"response_callback_2"}`, join(turn.reply(2, nil)), "undefined")
	require.Equal(t, `{"action":"PANDORA_HUB_ACTION_MSG_DOWN","data":{"a" : 1.0}}`,
		join(turn.framed(downHead, []byte(`{"a" : 1.0}`))))
	require.Equal(t, `{"action":"response_callback_4","data":{"success":false,"error":{`+
		`"stack":"Error: no \"x\"","message":"no \"x\""}}}`,
		string(appendFailure(nil, 4, &failure{class: "Error", text: []byte(`no "x"`)})))
	require.Equal(t, `{"action":"response_callback_4","data":{"success":false,"error":{`+
		`"stack":"Late: 5","message":"5","name":"Late"}}}`,
		string(appendFailure(nil, 4, &failure{class: "Late", named: true, text: []byte("5")})))
}

func TestNotFoundShowsTheSelector(t *testing.T) {
	long := `[` + strings.Repeat("1.0 ,", 1000) + `1]`
	cases := []struct{ name, remote, want string }{
		{"object", `{"appName":"nobody"}`, `{"appName":"nobody"}`},
		{"white space goes", "{ \"a\" : [ 1,\n2 ] }", `{"a":[1,2]}`},
		{"one form", `{"b":"\u00e9 x","a":1e2,"b":"\\"}`, `{"b":"\\","a":100}`},
		{"null", `null`, `null`},
		{"absent", ``, `undefined`},
		{"long", long, long},
		{"too long", `"` + strings.Repeat("é", 40000) + `"`,
			`"` + strings.Repeat("é", 32767) + `...`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := appendNotFound(nil, []byte(c.remote))
			require.Equal(t, "Cannot found any clients by selector: "+c.want, string(text))
			pkg := (&failure{class: "Error", text: text}).appendPackage(nil)
			var back struct {
				Error struct{ Message, Stack string }
			}
			require.NoError(t, json.Unmarshal(pkg, &back))
			require.Equal(t, string(text), back.Error.Message)
			require.Equal(t, "Error: "+string(text), back.Error.Stack)
		})
	}
}

func TestBatch(t *testing.T) {
	b := &batch{left: 3, none: true, limit: 1000, body: appendBatchHead(nil, 9, []byte(`{"p":1}`))}
	require.False(t, b.add([]byte(`{"success":true}`)))
	require.False(t, b.add(nil))
	require.True(t, b.add([]byte(`[]`)))
	require.Equal(t, `{"action":"response_callback_9","data":{"success":true,"remote":{"p":1},`+
		`"batchReply":[{"success":true},null,[]]}}`, string(b.reply(9)))

	b = &batch{left: 1, none: true, limit: 1000, body: appendBatchHead(nil, 9, nil)}
	require.True(t, b.add(nil))
	require.Equal(t, `{"action":"response_callback_9","data":{"success":true,"batchReply":[null]}}`,
		string(b.reply(9)), "a message without a host")

	const over = `{"success":false,"error":{"stack":"RangeError: bytes of a batch of replies: ` +
		`over the limit of 100","message":"bytes of a batch of replies: over the limit of 100"}}`
	b = &batch{left: 3, none: true, limit: 100, body: appendBatchHead(nil, 9, nil)}
	require.False(t, b.add([]byte("1")))
	require.False(t, b.add([]byte(strings.Repeat("1", 100))))
	require.True(t, b.add([]byte("2")))
	require.Equal(t, `{"action":"response_callback_9","data":{"success":true,"batchReply":[1,`+over+
		`,`+over+`]}}`, string(b.reply(9)), "what fits is there")

	b = &batch{left: 10000, none: true, limit: 100, body: appendBatchHead(nil, 9, nil)}
	for range 9999 {
		require.False(t, b.add([]byte("1")))
	}
	require.True(t, b.add([]byte("1")))
	require.Nil(t, b.body, "not kept")
	require.Equal(t, `{"action":"response_callback_9","data":`+over+`}`, string(b.reply(9)))
}

func TestTimeout(t *testing.T) {
	const ms = time.Millisecond
	cases := []struct {
		raw  string
		want time.Duration
		text string
	}{
		{``, 20000 * ms, "20000"},
		{`null`, 20000 * ms, "20000"},
		{`0`, 20000 * ms, "20000"},
		{`-0.0`, 20000 * ms, "20000"},
		{`""`, 20000 * ms, "20000"},
		{`false`, 20000 * ms, "20000"},
		{`240`, 240 * ms, "240"},
		{`2.4e2`, 240 * ms, "240"},
		{`240.75`, 240 * ms, "240.75"},
		{`"240"`, 240 * ms, "240"},
		{`" 2.4e2 "`, 240 * ms, " 2.4e2 "},
		{`"0x10"`, 16 * ms, "0x10"},
		{`"0"`, ms, "0"},
		{`0.5`, ms, "0.5"},
		{`-5`, ms, "-5"},
		{`-1e300`, ms, "-1e+300"},
		{`"soon"`, ms, "soon"},
		{`true`, ms, "true"},
		{`{}`, ms, "[object Object]"},
		{`2147483647`, 2147483647 * ms, "2147483647"},
		{`2147483648`, 2147483648 * ms, "2147483648"},
		{`1e21`, maxTimeout, "1e+21"},
		{`1e999`, maxTimeout, "Infinity"},
		{`"Infinity"`, maxTimeout, "Infinity"},
	}
	for _, c := range cases {
		t.Run(c.raw, func(t *testing.T) {
			raw := []byte(c.raw)
			wait := parseTimeout(raw)
			require.Equal(t, c.want, wait.duration())
			require.Equal(t, c.text, string(wait.append(nil)))
			wait.keep()
			copy(raw, "xxxxxxxxxxxxxxxxxxxxxxxx")
			require.Equal(t, c.want, wait.duration())
			require.Equal(t, c.text, string(wait.append(nil)), "when the message is gone")
		})
	}
}

func TestClockKeepsTheOrder(t *testing.T) {
	var k clock
	var calls []*call
	rng := newRand(t)
	live := map[*call]bool{}
	for range 5000 {
		if len(calls) > 0 && rng.IntN(3) == 0 {
			c := calls[rng.IntN(len(calls))]
			if live[c] {
				k.remove(c)
				delete(live, c)
			}
		} else {
			c := &call{due: time.Duration(rng.IntN(1000)), turn: uint64(len(calls))}
			calls = append(calls, c)
			live[c] = true
			k.push(c)
		}
		least := time.Duration(1 << 60)
		for c := range live {
			least = min(least, c.due)
		}
		if first := k.first(); len(live) == 0 {
			require.Nil(t, first)
		} else {
			require.Equal(t, least, first.due)
		}
		for i, c := range k {
			require.Equal(t, i, c.place)
		}
		require.Len(t, k, len(live))
		if len(calls) > 200 {
			for c := range live {
				k.remove(c)
			}
			clear(live)
			calls = calls[:0]
		}
	}
	for range 100 {
		k.push(&call{due: time.Duration(rng.IntN(50))})
	}
	last := time.Duration(0)
	for k.first() != nil {
		c := k.first()
		require.GreaterOrEqual(t, c.due, last)
		last = c.due
		k.remove(c)
	}
}
