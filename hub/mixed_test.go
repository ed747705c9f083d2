package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// works are the calls of "wait" that have come to jobs, and what has ended them.
type works struct {
	inside chan struct{}
	ends   chan error
}

func newWorks() works {
	return works{make(chan struct{}, 16), make(chan error, 16)}
}

// serve answers by the method.
func (w works) serve(r *transport.Request) {
	switch string(r.Method()) {
	case "wait":
		w.inside <- struct{}{}
		<-r.Context().Done()
		w.ends <- context.Cause(r.Context())
	case "nothing":
		_ = r.Reply(nil)
	case "fail":
		_ = r.Fail(wire.CodeFailed, "no \"luck\"")
	case "mute":
		_ = r.Fail(wire.CodeFailed, "")
	case "own":
		_ = r.Fail(wire.CodeFailed, `{"message":"mine","code":5}`)
	case "false":
		_ = r.Reply([]byte(" false "))
	case "bytes":
		_ = r.Reply([]byte("\x00\xff"))
	default:
		_ = r.Reply(r.Body())
	}
}

const forJob = `{"remote":{"objectName":"job"},"action":"OBJECT_ACTION_INVOKE",` +
	`"propertyName":"%s","data":[1.0],"needReply":true,"host":{"pid":"7"}%s}`

// clientID is what differs from run to run in a location.
var clientID = regexp.MustCompile(`,"pid":"\d+","clientId":"[^"]*"`)

// What a native provider says, comes to Pandora's callers as one of Pandora's would have said it.
func TestPandoraHearsNativeProviders(t *testing.T) {
	_, path := start(t, hub.Options{})
	publish(t, join(t, path, "go"), "job", "", newWorks().serve)
	a := dial(t, path)
	const head = `{"host":{"appName":"go"},"remote":{"pid":"7"},"success":`
	failed := func(class, text, more string) string {
		return head + fmt.Sprintf(`false,"error":{"stack":"%s: %s","message":"%[2]s"%s}}`, class,
			text, more)
	}
	late := func(text string) string {
		const class = "MessengerRequestTimeoutError"
		return failed(class, "target no response in "+text+"ms", `,"name":"`+class+`"`)
	}
	for _, c := range []struct{ method, more, want string }{
		{"nothing", "", head + `true}`},
		{"echo", "", head + `true,"data":[1.0]}`},
		{"false", "", head + `true,"data":false}`},
		{"fail", "", failed("Error", `no \"luck\"`, "")},
		{"mute", "", failed("Error", "failed", "")},
		{"own", "", head + `false,"error":{"message":"mine","code":5}}`},
		{"bytes", "", failed("Error", "reply is not JSON: js: value expected at byte 0", "")},
		{"wait", `,"timeout":30`, late("30")},
		{"wait", `,"timeout":"2e1"`, late("2e1")},
		{"wait", `,"timeout":-7.5`, late("-7.5")},
		{"wait", `,"timeout":["x"]`, late("x")},
	} {
		t.Run(c.method+c.more, func(t *testing.T) {
			got := a.reply(a.up(fmt.Sprintf(forJob, c.method, c.more)))
			require.Equal(t, c.want, clientID.ReplaceAllString(got, ""))
			got = a.reply(a.up(fmt.Sprintf(forJob, c.method, `,"broadcast":1`+c.more)))
			want := `{"success":true,"remote":{"pid":"7"},"batchReply":[` + c.want + `]}`
			require.Equal(t, want, clientID.ReplaceAllString(got, ""))
		})
	}
}

// When a caller of Pandora's goes away, native providers hear that nobody waits any more.
func TestTheDeathOfPandorasCallerEndsItsCalls(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		h, path := start(t, hub.Options{Transport: o, Limits: hub.Limits{MaxPending: 4}})
		w := newWorks()
		publish(t, join(t, path, "one"), "job", "", w.serve)
		publish(t, join(t, path, "two"), "job", "", w.serve)
		node := dial(t, path).online(`{"appName":"node"}`)
		for how, more := range map[string]string{"": ``, "{{{": `,"broadcast":true`} {
			a := dial(t, path).online(`{"appName":"a"}`)
			a.up(fmt.Sprintf(forJob, "wait", more))
			a.up(fmt.Sprintf(forJob, "wait", more))
			n := 2
			if more != "" {
				n = 4
				require.Contains(t, a.reply(a.up(fmt.Sprintf(forJob, "wait", more))), "limit 4")
			}
			for range n {
				<-w.inside
			}
			require.Equal(t, n, peerNamed(t, h, "a").Asking)
			if how != "" {
				a.send("%s", how)
				a.ends()
			}
			a.conn.Close()
			for range n {
				require.ErrorIs(t, <-w.ends, context.Canceled)
			}
		}
		eventually(t, func() bool { return h.Stats().Pending == 0 }, "nothing is under way")
		require.Contains(t, node.reply(node.up(fmt.Sprintf(forJob, "echo", ""))), `[1.0]`)
	})
}

// A batch that natives and Pandora's have got has an entry of each, however it ends there.
func TestABatchOfBothKinds(t *testing.T) {
	_, path := start(t, hub.Options{})
	w := newWorks()
	publish(t, join(t, path, "well"), "job", "", func(r *transport.Request) { _ = r.Reply(nil) })
	publish(t, join(t, path, "late"), "job", "", w.serve)
	dies := join(t, path, "dies")
	publish(t, dies, "job", "", w.serve)
	node, lost := dial(t, path).online(`{"appName":"node"}`), dial(t, path)
	node.publishes("job")
	lost.publishes("job")
	a := dial(t, path)
	id := a.up(fmt.Sprintf(forJob, "wait", `,"broadcast":true,"timeout":2000`))
	<-w.inside
	<-w.inside
	down, _ := node.next()
	node.send(`{"action":"response_callback_%d","data":null}`, down)
	lost.next()
	lost.conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = dies.Close(ctx)
	var got struct {
		Success    bool
		BatchReply []*struct {
			Success bool
			Error   struct{ Message string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(a.reply(id)), &got))
	require.True(t, got.Success)
	ended := map[string]int{}
	for _, r := range got.BatchReply {
		switch {
		case r == nil:
			ended["null"]++
		case r.Success:
			ended["well"]++
		default:
			ended[r.Error.Message]++
		}
	}
	require.Equal(t, map[string]int{"null": 1, "well": 1, "target no response in 2000ms": 1,
		"target disconnected before it answered": 2}, ended)
}

// The name of a member is what JavaScript makes of the value.
func TestNamesOfMembersForNativeProviders(t *testing.T) {
	_, path := start(t, hub.Options{})
	publish(t, join(t, path, "go"), "job", "", func(r *transport.Request) {
		_ = r.Reply(fmt.Appendf(nil, "%q", r.Method()))
	})
	a := dial(t, path)
	for name, want := range map[string]string{`"x"`: "x", `"\u0061"`: "a", `5`: "5", `5.0`: "5",
		`-0`: "0", `1e21`: "1e+21", `null`: "null", `true`: "true", `["a",[1]]`: "a,1",
		`{}`: "[object Object]"} {
		for _, m := range []string{`"action":"OBJECT_ACTION_INVOKE","propertyName":`,
			`"action":"OBJECT_ACTION_SUBSCRIBE","register":`} {
			m = `{"remote":{"objectName":"job"},"needReply":true,` + m + name + `}`
			got := a.reply(a.up(m))
			require.Contains(t, got, fmt.Sprintf(`"data":"%s"`, want), m)
		}
	}
}
