package hub

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

// provide connects a peer with an object of its own.
func provide(t testing.TB, c *core, name string) *client {
	return connect(t, c).online(`{"appName":"shop"}`).publish(`{"objectName":"` + name + `"}`)
}

// An inspection lets go of the lock again and again. Whatever comes and goes meanwhile, those who
// stay are in it, and once.
func TestInspectWhilePeersComeAndGo(t *testing.T) {
	c := newTestCore()
	const stay = 10 * inspectSlice
	for i := range stay {
		provide(t, c, fmt.Sprint("stays-", i))
		c.leave(provide(t, c, "goes").peer)
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for k := range 2 {
		churn.Go(func() {
			var there []*client
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					runtime.Gosched() // or one processor is never let go before its time is over
				}
				there = append(there, provide(t, c, fmt.Sprint("goes-", k, n%100)))
				if len(there) > 50 {
					c.leave(there[n%50].peer)
					there[n%50] = there[50]
					there = there[:50]
				}
				if _, err := c.lookUp(fmt.Appendf(nil, `{"objectName":"goes-%d"}`, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		in := c.inspect(InspectOptions{Peers: true, Objects: true, Routes: true, Methods: true})
		seen := make(map[uint64]int)
		for _, p := range in.Peers {
			seen[p.ID]++
			require.Equal(t, 1, seen[p.ID], "peer %d", p.ID)
		}
		stays := 0
		for _, o := range in.Objects {
			if len(o.Name) > 6 && o.Name[:6] == "stays-" {
				require.Len(t, o.Peers, 1)
				require.Equal(t, 1, seen[o.Peers[0]])
				stays++
			}
		}
		require.Equal(t, stay, stays)
	}
	close(stop)
	churn.Wait()
	require.Len(t, c.inspect(InspectOptions{Peers: true, Limit: 100}).Peers, 100)
}

// What a peer is answered is what json.Marshal makes of it.
func TestInspectionAsJSON(t *testing.T) {
	c := newTestCore()
	a := provide(t, c, "o")
	b := connect(t, c)
	b.up(`{"remote":{"objectName":"o"},"propertyName":"m","needReply":true}`)
	a.reply(a.one(), `1`)
	for _, o := range []InspectOptions{{}, {Peers: true},
		{Peers: true, Objects: true, Routes: true, Methods: true, Buckets: true}} {
		in := c.inspect(o)
		want, err := json.Marshal(in)
		require.NoError(t, err)
		got, err := in.appendJSON(nil)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

// R31: what one of Pandora's providers answers with success false is a failure, in the statistics
// of the method and to a tap.
func TestR31PandoraFailures(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), provide(t, c, "cart")
	tap := openTap(t, &c.taps, TapOptions{})
	for _, pkg := range []string{
		`{"success":true,"data":1}`, `{"success":false,"error":{"message":"no"}}`, `{"data":1}`,
		`{"success":false,"error":{"name":"` + timeoutClass + `"}}`,
	} {
		id := a.up(`{"remote":{"objectName":"cart"},"needReply":true,"propertyName":"add"}`)
		b.reply(b.one(), pkg)
		require.Equal(t, fmt.Sprintf("response_callback_%d", id), a.one().action)
	}
	in := c.inspect(InspectOptions{Methods: true})
	require.Len(t, in.Methods, 1)
	require.EqualValues(t, 4, in.Methods[0].Calls)
	require.EqualValues(t, 3, in.Methods[0].Failed)
	var kinds []wire.TapKind
	var codes []wire.Code
	for _, r := range tapped(t, tap) {
		if r.Kind == wire.TapReply || r.Kind == wire.TapError {
			kinds, codes = append(kinds, r.Kind), append(codes, r.Code)
		}
	}
	require.Equal(t, []wire.TapKind{wire.TapReply, wire.TapError, wire.TapError, wire.TapError},
		kinds)
	require.Equal(t, []wire.Code{wire.CodeOK, wire.CodeFailed, wire.CodeFailed, wire.CodeDeadline},
		codes)
}

// What is asked of an object besides to call a method is counted under the name of the action: each
// user may have topics of his own, and a name for each would leave none for the methods.
func TestR31Actions(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), provide(t, c, "cart")
	tap := openTap(t, &c.taps, TapOptions{})
	ask := func(message string) {
		a.up(`{"remote":{"objectName":"cart"},"needReply":true,` + message + `}`)
		b.reply(b.one(), `{"success":true}`)
		a.one()
	}
	ask(`"action":"OBJECT_ACTION_INVOKE","propertyName":"add"`)
	ask(`"action":"OBJECT_ACTION_GET_PROPERTY","propertyName":"total"`)
	ask(`"action":"OBJECT_ACTION_INTROSPECT"`)
	for i := range 300 {
		ask(fmt.Sprintf(`"action":"OBJECT_ACTION_SUBSCRIBE","register":"topic-%d"`, i))
	}
	var counted []string
	for _, m := range c.inspect(InspectOptions{Methods: true}).Methods {
		counted = append(counted, fmt.Sprint(m.Method, " ", m.Calls))
	}
	require.ElementsMatch(t, []string{"add 1", ActionGetProperty + " 1", ActionIntrospect + " 1",
		ActionSubscribe + " 300"}, counted)
	var called []string
	for _, r := range tapped(t, tap)[:8] {
		if r.Kind == wire.TapCall {
			called = append(called, string(r.Method))
		}
	}
	require.Equal(t, []string{"add", "total", ActionIntrospect, "topic-0"}, called)
}

// R31: names that were asked for in vain leave room for those that are there.
func TestR31ForgetsNames(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), provide(t, c, "kept")
	call := func(name string) {
		t.Helper()
		a.up(`{"remote":{"objectName":"` + name + `"},"needReply":true,"propertyName":"m"}`)
		b.reply(b.one(), `{"success":true}`)
		a.one()
	}
	call("kept")
	for i := range maxObjects + 10 {
		a.up(fmt.Sprintf(`{"remote":{"objectName":"none-%d"}}`, i))
	}
	b.publish(`{"objectName":"late"}`)
	call("late")
	call("kept")
	require.LessOrEqual(t, len(c.objects), maxObjects)
	calls := make(map[string]uint64)
	for _, m := range c.inspect(InspectOptions{Methods: true}).Methods {
		calls[m.Object] = m.Calls
	}
	require.Equal(t, map[string]uint64{"kept": 2, "late": 1}, calls)
}

// Every counter is a metric, and has a name in JSON.
func TestStatsNames(t *testing.T) {
	var s Stats
	v := reflect.ValueOf(&s).Elem()
	counters := 0
	for i := range v.NumField() {
		require.Regexp(t, "^[a-z_]+$", v.Type().Field(i).Tag.Get("json"))
		if f := v.Field(i); f.Kind() == reflect.Uint64 {
			f.SetUint(uint64(i))
			counters++
		}
	}
	seen := make(map[uint64]bool)
	for _, n := range s.Counters() {
		seen[n] = true
	}
	require.Len(t, seen, counters)
}
