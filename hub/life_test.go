package hub

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/balancer"
)

const invoke = `{"remote":{"appName":"b"},"needReply":true,"timeout":%s}`

func TestTimeoutOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCore()
		a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
		a.up(fmt.Sprintf(invoke, `"240"`))
		time.Sleep(240*time.Millisecond + callerFirst - 1)
		synctest.Wait()
		require.Empty(t, a.take())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, `{"action":"response_callback_1","data":{"success":false,"error":{`+
			`"stack":"MessengerRequestTimeoutError: target no response in 240ms",`+
			`"message":"target no response in 240ms","name":"MessengerRequestTimeoutError"}}}`,
			a.one().body)
		b.reply(b.one(), `"late"`)
		require.Empty(t, a.take())
		s := c.snapshot()
		require.EqualValues(t, 1, s.TimedOut)
		require.EqualValues(t, 1, s.LateReplies)
		require.Zero(t, s.Pending)
		c.close()
	})
}

func TestTimeoutsInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCore()
		a := connect(t, c)
		connect(t, c).online(`{"appName":"b"}`)
		for _, wait := range []string{`null`, `900`, `-1`, `300`, `600.5`, `1e300`, `300`} {
			a.up(fmt.Sprintf(invoke, wait))
		}
		start := time.Now()
		var got []string
		for range 30000 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			for _, f := range a.take() {
				at := (time.Since(start) - callerFirst).Round(10 * time.Millisecond)
				got = append(got, fmt.Sprint(strings.TrimPrefix(f.action, replyPrefix), " ", at))
			}
		}
		require.Equal(t, []string{"3 0s", "4 300ms", "7 300ms", "5 600ms", "2 900ms", "1 20s"}, got)
		require.Equal(t, 1, c.snapshot().Pending, "the huge one waits")
		c.close()
		require.Contains(t, a.one().body, `"response_callback_6"`)
	})
}

func TestTimeoutInABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCore()
		a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
		connect(t, c).online(`{"appName":"b"}`)
		a.up(`{"remote":{"appName":"b"},"needReply":true,"broadcast":true,"timeout":100}`)
		b.reply(b.one(), `{"success":true}`)
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, `{"success":true,"batchReply":[{"success":true},{"success":false,"error":{`+
			`"stack":"MessengerRequestTimeoutError: target no response in 100ms",`+
			`"message":"target no response in 100ms","name":"MessengerRequestTimeoutError"}}]}`,
			string(a.one().data))
		c.close()
	})
}

func TestTheDeathOfAProviderAnswersItsCallsAtOnce(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
	d := connect(t, c).online(`{"appName":"d"}`)
	both := connect(t, c).online(`{"appName":"b"}`)
	a.up(`{"remote":{"appName":"b"},"needReply":true}`)
	d.up(`{"remote":{"appName":"b"},"needReply":true,"broadcast":true}`)
	c.leave(b.peer)
	require.Equal(t, "target disconnected before it answered", message(t, string(a.one().data)))
	require.Empty(t, d.take())
	both.reply(both.one(), `1`)
	var batch struct{ BatchReply []json.RawMessage }
	require.NoError(t, json.Unmarshal(d.one().data, &batch))
	require.Len(t, batch.BatchReply, 2)
	require.Equal(t, "target disconnected before it answered",
		message(t, string(batch.BatchReply[0])))
	c.leave(b.peer)
	require.Zero(t, c.snapshot().Pending)
	require.EqualValues(t, 2, c.snapshot().Lost)
}

func TestTheDeathOfACallerForgetsItsCalls(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
	connect(t, c).online(`{"appName":"b"}`)
	a.up(`{"remote":{"appName":"b"},"needReply":true}`)
	a.up(`{"remote":{"appName":"b"},"needReply":true,"broadcast":true}`)
	require.Equal(t, 3, c.snapshot().Pending)
	c.leave(a.peer)
	require.Zero(t, c.snapshot().Pending)
	for _, f := range b.take() {
		b.reply(f, `1`)
	}
	require.Empty(t, a.take())
	require.EqualValues(t, 2, c.snapshot().LateReplies)
}

func TestInvalidJSONCutsOffOnlyItsSender(t *testing.T) {
	for _, body := range []string{`{`, `nope`, `{"action":"x",}`, "\x00\x01", `{} {}`,
		`{"action":"PANDORA_HUB_ACTION_MSG_UP"`, `{'a':1}`, strings.Repeat("[", 20000)} {
		c := newTestCore()
		a, b := connect(t, c).online(`{"appName":"a"}`), connect(t, c).online(`{"appName":"b"}`)
		a.up(`{"remote":{"appName":"b"},"needReply":true}`)
		require.Error(t, c.frame(b.peer, 7, []byte(body)))
		require.Error(t, b.ended)
		require.Contains(t, message(t, string(a.one().data)), "disconnected")
		got := a.ask(`{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{"remote":{"appName":"b"},` +
			`"needReply":true}}`)
		require.Contains(t, message(t, got), "Cannot found any clients")
		require.NoError(t, a.ended)
		b.up(`{"broadcast":true}`)
		require.Empty(t, a.take(), "nothing is taken from it any more")
		require.EqualValues(t, 1, c.snapshot().Invalid)
	}
}

func TestBodiesWithoutAnActionAreIgnored(t *testing.T) {
	c := newTestCore()
	a := connect(t, c)
	for _, body := range []string{``, `5`, `"text"`, `[]`, `null`, `true`, `{}`, `{"action":7}`,
		`{"action":null,"data":1}`, `{"action":"connected","data":{}}`, `{"action":"error"}`,
		`{"action":"close"}`, `{"action":"response_callback_1","data":1}`, ` {"data":{}} `} {
		require.NoError(t, c.frame(a.peer, 1, []byte(body)))
	}
	for _, data := range []string{`null`, `5`, `"text"`, `[]`, `true`, `{}`} {
		a.up(data)
	}
	a.send(`{"action":"PANDORA_HUB_ACTION_MSG_UP"}`)
	require.Empty(t, a.take())
	a.online(`{"appName":"a"}`)
}

func TestSelectorsThatAreMissing(t *testing.T) {
	cases := []struct{ name, action, pkg, want string }{
		{"no package", "ONLINE", ``, "Cannot read properties of undefined (reading 'host')"},
		{"null", "ONLINE", `,"data":null`, "Cannot read properties of null (reading 'host')"},
		{"no host", "ONLINE", `,"data":{}`, "Selector is required, but got undefined"},
		{"a number", "ONLINE", `,"data":5`, "Selector is required, but got undefined"},
		{"host null", "ONLINE", `,"data":{"host":null}`, "Selector is required, but got null"},
		{"host 0", "ONLINE", `,"data":{"host":-0.0}`, "Selector is required, but got 0"},
		{"host empty", "ONLINE", `,"data":{"host":""}`, `Selector is required, but got ""`},
		{"no package", "PUBLISH", ``, "Cannot read properties of undefined (reading 'data')"},
		{"no data", "PUBLISH", `,"data":{}`,
			"Cannot read properties of undefined (reading 'selector')"},
		{"no selector", "PUBLISH", `,"data":{"data":{}}`,
			"Selector is required, but got undefined"},
		{"data null", "UNPUBLISH", `,"data":{"data":null}`,
			"Cannot read properties of null (reading 'selector')"},
		{"no selector", "UNPUBLISH", `,"data":{"data":{}}`,
			"Cannot read properties of undefined (reading 'clientId')"},
	}
	c := newTestCore()
	a := connect(t, c)
	for _, s := range cases {
		t.Run(s.action+" "+s.name, func(t *testing.T) {
			got := a.ask(`{"action":"PANDORA_HUB_ACTION_%s_UP"%s}`, s.action, s.pkg)
			require.Equal(t, s.want, message(t, got))
		})
	}
}

func TestUnpublish(t *testing.T) {
	const unpublish = `{"action":"PANDORA_HUB_ACTION_UNPUBLISH_UP","data":{"data":{"selector":%s}}}`
	c := newTestCore()
	a := connect(t, c).online(`{"appName":"a"}`)
	a.publish(`{"objectName":"o","objectTag":"v1"}`).publish(`{"objectName":"o","objectTag":"v2"}`)
	finds := func(remote string) bool {
		a.up(`{"remote":` + remote + `}`)
		return len(a.take()) == 1
	}
	require.Equal(t, success, a.ask(unpublish, `{"objectName":"none"}`))
	require.Equal(t, success, a.ask(unpublish, `{"objectName":"o","objectTag":"v1"}`))
	require.False(t, finds(`{"objectName":"o","objectTag":"v1"}`))
	require.True(t, finds(`{"objectName":"o","objectTag":"v2"}`))
	require.True(t, finds(`{"appName":"a"}`))
	require.Equal(t, success, a.ask(unpublish, `{"appName":"a"}`))
	require.False(t, finds(`{"appName":"a"}`))
	require.True(t, finds(`{"objectName":"o"}`))
	require.Equal(t, success, a.ask(unpublish, `{}`))
	require.False(t, finds(`{}`))
	require.Equal(t, "Can not found client when forgetRelation()",
		message(t, a.ask(unpublish, `{}`)))
	a.publish(`{"objectName":"o"}`)
	require.True(t, finds(`{}`))
	require.Equal(t, success, a.ask(unpublish, `""`), "no keys, so everything")
	require.False(t, finds(`{}`))
	require.Zero(t, a.peer.publishing)
}

func TestOfflineAndBack(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
	for range 2 {
		require.Equal(t, success, b.ask(`{"action":"PANDORA_HUB_ACTION_OFFLINE_UP","data":null}`))
		a.up(`{"remote":{"appName":"b"},"needReply":true}`)
		require.Contains(t, message(t, string(a.one().data)), "Cannot found")
	}
	b.online(`{"appName":"b"}`)
	a.up(`{"remote":{"appName":"b"}}`)
	b.one()
}

func TestAPeerThatTakesNothingIsCutOff(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
	d := connect(t, c).online(`{"appName":"d"}`)
	d.up(`{"remote":{"appName":"b"},"needReply":true}`)
	b.full, d.full = true, true
	a.up(`{"remote":{"appName":"b"},"needReply":true}`)
	require.Equal(t, errFull, b.ended)
	require.Equal(t, errFull, d.ended, "its answer could not be written, either")
	require.Contains(t, message(t, string(a.one().data)), "disconnected")
	s := c.snapshot()
	require.Equal(t, 1, s.Peers)
	require.Zero(t, s.Pending)
}

func TestLimitsOfAPeer(t *testing.T) {
	c := newCore(Limits{MaxPending: 2, MaxPublishing: 3 * selectorSize},
		func() balancer.Picker { return new(balancer.RoundRobin) })
	a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
	for range 2 {
		a.up(`{"remote":{"appName":"b"},"needReply":true}`)
	}
	got := a.ask(`{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{"remote":{"appName":"b"},` +
		`"needReply":true}}`)
	require.Equal(t, "calls without a reply: 3, limit 2", message(t, got))
	a.up(`{"remote":{"appName":"b"}}`)
	require.Len(t, b.take(), 3, "without a reply there is no call")

	a.publish(`{"objectName":"o"}`).publish(`{"objectName":"o"}`)
	got = a.ask(`{"action":"PANDORA_HUB_ACTION_PUBLISH_UP","data":{"data":{"selector":{"pid":"1"}}}}`)
	require.Contains(t, message(t, got), "limit 960")
	require.Equal(t, success, a.ask(`{"action":"PANDORA_HUB_ACTION_OFFLINE_UP"}`))
	a.publish(`{"pid":"1"}`)
	require.EqualValues(t, 2, c.snapshot().Refused)
}

func TestIDsBeginAgain(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
	b.peer.lastID.Store(1<<30 - 3)
	var ids []uint32
	a.up(`{"remote":{"appName":"b"},"needReply":true}`)
	for range 3 {
		a.up(`{"remote":{"appName":"b"}}`)
	}
	for _, f := range b.take() {
		ids = append(ids, f.id)
	}
	require.Equal(t, []uint32{1<<30 - 2, 1<<30 - 1, 1, 2}, ids)
	b.peer.lastID.Store(1<<30 - 3)
	a.up(`{"remote":{"appName":"b"}}`)
	require.EqualValues(t, 1<<30-1, b.one().id, "the id of a call under way is passed over")
}

func TestBodiesAreCleaned(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), connect(t, c).online("{\"appName\":\"\xff\"}")
	a.up("{\"remote\":{\"appName\":\"\ufffd\"},\"x\":\"\xe2\x82\",\"needReply\":1}")
	f := b.one()
	require.Contains(t, string(f.data), "\"x\":\"\ufffd\"")
	b.reply(f, "\"\x80\"")
	require.Equal(t, "\"\ufffd\"", string(a.one().data))
}

func TestCloseAnswersEverything(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
	a.up(`{"remote":{"appName":"b"},"needReply":true}`)
	a.up(`{"remote":{"appName":"b"},"needReply":true,"broadcast":true}`)
	c.close()
	got := a.take()
	require.Len(t, got, 2)
	require.Equal(t, "hub is closing", message(t, string(got[0].data)))
	require.False(t, c.open(newPeer(&fake{t: t})))
	b.take()
	a.up(`{"remote":{"appName":"b"}}`)
	require.Empty(t, b.take())
}

// Many callers, providers that answer, stall, leave: every call is answered exactly once.
func TestManyAtOnce(t *testing.T) {
	c := newTestCore()
	const callers, calls = 4, 300
	rng := newRand(t)
	var providers []*client
	for range 6 {
		providers = append(providers, connect(t, c).online(`{"appName":"p"}`))
	}
	stop := make(chan struct{})
	var serving, asking sync.WaitGroup
	for i, p := range providers {
		leaves := rng.IntN(100) + 50
		serving.Go(func() {
			for {
				for _, f := range p.take() {
					if i > 2 {
						leaves--
					}
					if leaves == 0 {
						c.leave(p.peer)
						return
					}
					p.reply(f, string(f.data))
				}
				select {
				case <-stop:
					return
				case <-p.wake:
				}
			}
		})
	}
	var all []*client
	for range callers {
		a := connect(t, c).online(`{"appName":"caller"}`)
		all = append(all, a)
		asking.Go(func() {
			for n := range calls {
				a.up(fmt.Sprintf(`{"remote":{"appName":"p"},"needReply":true,"timeout":50,`+
					`"broadcast":%v,"n":%d}`, n%7 == 0, n))
			}
		})
	}
	asking.Wait()
	require.Eventually(t, func() bool { return c.snapshot().Pending == 0 }, 20*time.Second,
		time.Millisecond)
	close(stop)
	serving.Wait()
	c.close()
	for _, a := range all {
		seen := map[string]int{}
		for _, f := range a.take() {
			seen[f.action]++
		}
		require.Len(t, seen, calls)
		for action, n := range seen {
			require.Equal(t, 1, n, action)
		}
	}
}
