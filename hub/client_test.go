package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// join is a client of the hub at path until the end of the test.
func join(t testing.TB, path, app string) *hub.Client {
	t.Helper()
	return joinWith(t, path, hub.JoinOptions{Location: hub.Location{AppName: app}})
}

func joinWith(t testing.TB, path string, o hub.JoinOptions) *hub.Client {
	t.Helper()
	c, err := hub.Join(soon(t), path, o)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(soon(t)) })
	return c
}

// publish has c serve an object.
func publish(t testing.TB, c *hub.Client, name, tag string, f transport.HandlerFunc,
) *hub.Publication {
	t.Helper()
	p, err := c.Publish(soon(t), hub.Object{Name: name, Tag: tag, Handler: f})
	require.NoError(t, err)
	return p
}

// echo answers with the payload, on the loop.
func echo(t testing.TB, c *hub.Client, name string) {
	t.Helper()
	_, err := c.Publish(soon(t), hub.Object{Name: name, OnLoop: true,
		Handler: transport.HandlerFunc(func(r *transport.Request) { _ = r.Reply(r.Body()) })})
	require.NoError(t, err)
}

// calculator answers sum, and shows what it is told.
func calculator(r *transport.Request) {
	switch string(r.Method()) {
	case "sum":
		var n [2]float64
		if err := json.Unmarshal(r.Body(), &n); err != nil {
			_ = r.Fail(wire.CodeInvalid, err.Error())
			return
		}
		_ = r.Reply(strconv.AppendFloat(nil, n[0]+n[1], 'g', -1, 64))
	case "caller":
		_ = r.Reply(strconv.AppendUint(nil, r.Caller(), 10))
	case "trace":
		_ = r.Reply(r.Trace())
	case "action":
		_ = r.Reply(r.Action())
	case "panic":
		panic("oh")
	default:
		_ = r.Fail(wire.CodeNoMethod, "no method "+string(r.Method()))
	}
}

func object(name, tag string) hub.Selector {
	return hub.Selector{ObjectName: name, ObjectTag: tag}
}

// eventually waits until ok is true.
func eventually(t testing.TB, ok func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "not in time: %s", what)
	}
}

func TestClientsCallEachOther(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		_, path := start(t, hub.Options{Transport: o})
		a, b := join(t, path, "a"), join(t, path, "b")
		publish(t, b, "calc", "", calculator)
		calc := a.Object("calc")
		got, err := calc.Call(soon(t), "sum", []byte(`[2,40.5]`), nil)
		require.NoError(t, err)
		require.Equal(t, "42.5", string(got))
		got, err = a.Route(object("calc", "v7")).Call(soon(t), "caller", nil, nil)
		require.NoError(t, err, "no tag stands in for one that nobody has")
		require.Equal(t, strconv.FormatUint(a.Peer(), 10), string(got))
		got, err = calc.Do(soon(t), hub.Message{Method: "trace", Trace: []byte("00-12")}, nil)
		require.NoError(t, err)
		require.Equal(t, "00-12", string(got))
		got, err = calc.Do(soon(t), hub.Message{Method: "action", Action: "custom"}, nil)
		require.NoError(t, err)
		require.Equal(t, "custom", string(got))
		got, err = calc.Do(soon(t), hub.Message{Action: hub.ActionEcho, Payload: []byte("1")}, nil)
		require.NoError(t, err)
		require.Equal(t, `{"echo":1}`, string(got))

		_, err = calc.Call(soon(t), "panic", nil, nil)
		require.ErrorContains(t, err, "oh")
		var remote *hub.RemoteError
		_, err = calc.Call(soon(t), "none", nil, nil)
		require.ErrorAs(t, err, &remote)
		require.Equal(t, wire.CodeNoMethod, remote.Code)
		_, err = a.Object("till").Call(soon(t), "sum", nil, nil)
		require.ErrorAs(t, err, &remote)
		require.Equal(t, wire.CodeNoRoute, remote.Code)
		require.Contains(t, err.Error(), `{"objectName":"till"}`)
	})
}

func TestClientGo(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	publish(t, b, "calc", "", calculator)
	calc := a.Object("calc")
	done := make(chan string, 10)
	for i := range 10 {
		err := calc.Go(hub.Message{Method: "sum", Payload: []byte(`[1,2]`)}, nil,
			func(reply []byte, err error) {
				done <- string(reply)
			})
		require.NoError(t, err, i)
	}
	for range 10 {
		require.Equal(t, "3", <-done)
	}
}

func TestClientSendsToOneToAllAndToEverybody(t *testing.T) {
	_, path := start(t, hub.Options{})
	got := make(chan string, 20)
	hear := func(name string) transport.HandlerFunc {
		return func(r *transport.Request) {
			got <- name + ":" + string(r.Method()) + ":" + string(r.Body())
			_ = r.Reply([]byte(name))
		}
	}
	a := join(t, path, "a")
	for _, name := range []string{"b", "c"} {
		c := joinWith(t, path, hub.JoinOptions{Location: hub.Location{AppName: name},
			Handler: hear(name + " itself")})
		publish(t, c, "ear", "", hear(name))
	}
	ear := a.Object("ear")
	m := hub.Message{Method: "m", Payload: []byte("1")}
	require.NoError(t, ear.Send(soon(t), m))
	require.NoError(t, ear.Send(soon(t), m))
	require.ElementsMatch(t, []string{"b:m:1", "c:m:1"}, []string{<-got, <-got}, "in turn")
	require.NoError(t, ear.SendAll(soon(t), m))
	require.ElementsMatch(t, []string{"b:m:1", "c:m:1"}, []string{<-got, <-got})
	require.NoError(t, a.Broadcast(soon(t), m))
	require.ElementsMatch(t, []string{"b itself:m:1", "c itself:m:1"}, []string{<-got, <-got})
	replies, err := ear.CallAll(soon(t), m)
	require.NoError(t, err)
	require.Len(t, replies, 2)
	require.ElementsMatch(t, []string{"b", "c"},
		[]string{string(replies[0].Payload), string(replies[1].Payload)})
	replies, err = a.Object("nobody").CallAll(soon(t), m)
	require.NoError(t, err)
	require.Empty(t, replies)
	reply, err := a.Route(hub.Selector{Location: hub.Location{AppName: "c"}}).Do(soon(t), m, nil)
	require.NoError(t, err)
	require.Contains(t, string(reply), "c")
}

func TestClientLooksUp(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	_, err := b.Publish(soon(t), hub.Object{Name: "calc", Tag: "v1", Info: []byte(`{"port":1}`),
		Handler: transport.HandlerFunc(calculator)})
	require.NoError(t, err)
	found, err := a.Lookup(soon(t), hub.Selector{ObjectName: "calc"})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, hub.Selector{Location: b.Location(), ObjectName: "calc", ObjectTag: "v1"},
		found[0].Selector)
	require.Equal(t, b.Peer(), found[0].Peer)
	require.JSONEq(t, `{"port":1}`, string(found[0].Info))
	all, err := a.List(soon(t))
	require.NoError(t, err)
	require.Len(t, all, 3, "two locations and an object")
}

// log collects the events of a watch.
type log struct {
	mu     sync.Mutex
	events []string
}

func (l *log) add(e hub.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sign := "-"
	if e.Up {
		sign = "+"
	}
	l.events = append(l.events, sign+e.Provider.Selector.AppName+"/"+e.Provider.Selector.ObjectTag)
}

func (l *log) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.events...)
}

func (l *log) want(t *testing.T, events ...string) {
	t.Helper()
	eventually(t, func() bool { return len(l.take()) >= len(events) }, "events")
	require.Equal(t, events, l.take())
}

func TestClientWatches(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	one := publish(t, b, "calc", "1", calculator)
	var l log
	w, err := a.Watch(soon(t), hub.Selector{ObjectName: "calc"}, l.add)
	require.NoError(t, err)
	require.Equal(t, []string{"+b/1"}, l.take(), "what was there is told before Watch returns")
	publish(t, b, "calc", "2", calculator)
	publish(t, b, "other", "", calculator)
	require.NoError(t, one.Unpublish(soon(t)))
	l.want(t, "+b/1", "+b/2", "-b/1")
	require.NoError(t, b.Close(soon(t)))
	l.want(t, "+b/1", "+b/2", "-b/1", "-b/2")
	require.NoError(t, w.Stop(soon(t)))
	publish(t, a, "calc", "", calculator)
	l.want(t, "+b/1", "+b/2", "-b/1", "-b/2")
}

// R29: calls in flight fail with a typed error and none is repeated; what was published and watched
// comes back exactly once; oneways are buffered, within a bound, and what is lost is reported.
func TestR29Rejoin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	h := hub.New(hub.Options{})
	require.NoError(t, h.Listen(path))
	lost, back := make(chan error, 5), make(chan struct{}, 5)
	a := joinWith(t, path, hub.JoinOptions{Location: hub.Location{AppName: "a"}, Buffer: 1000,
		OnLost: func(err error) { lost <- err }, OnRejoin: func() { back <- struct{}{} }})
	b := join(t, path, "b")
	begun, oneways := make(chan struct{}, 5), make(chan string, 50)
	publish(t, b, "calc", "", func(r *transport.Request) {
		switch {
		case r.Oneway():
			oneways <- string(r.Body())
		case string(r.Method()) == "wait":
			begun <- struct{}{}
			<-r.Context().Done()
		default:
			calculator(r)
		}
	})
	gone := publish(t, b, "gone", "", calculator)
	require.NoError(t, gone.Unpublish(soon(t)))
	var l log
	_, err := a.Watch(soon(t), hub.Selector{ObjectName: "calc"}, l.add)
	require.NoError(t, err)
	calc := a.Object("calc")
	ended := make(chan error, 1)
	go func() {
		_, err := calc.Call(soon(t), "wait", nil, nil)
		ended <- err
	}()
	<-begun
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = h.Close(ctx)
	require.Error(t, <-ended)
	require.Error(t, <-lost)
	require.Empty(t, begun, "nothing is repeated")

	require.NoError(t, calc.Send(soon(t), hub.Message{Payload: []byte("1")}))
	require.NoError(t, calc.Send(soon(t), hub.Message{Payload: []byte("2")}))
	err = calc.Send(soon(t), hub.Message{Payload: make([]byte, 2000)})
	require.ErrorIs(t, err, transport.ErrFull)
	require.ErrorIs(t, err, hub.ErrAway)
	require.Equal(t, hub.ClientStats{Buffered: 2, Dropped: 1}, a.Stats())
	require.ErrorIs(t, calc.Go(hub.Message{}, nil, nil), hub.ErrAway)

	h = hub.New(hub.Options{})
	require.NoError(t, h.Listen(path))
	defer func() { h.Close(soon(t)) }()
	<-back
	eventually(t, func() bool { return b.Peer() != 0 }, "b is back")
	got, err := calc.Call(soon(t), "sum", []byte("[1,2]"), nil)
	require.NoError(t, err)
	require.Equal(t, "3", string(got))
	found, err := a.Lookup(soon(t), hub.Selector{ObjectName: "calc"})
	require.NoError(t, err)
	require.Len(t, found, 1, "published exactly once")
	found, err = a.Lookup(soon(t), hub.Selector{ObjectName: "gone"})
	require.NoError(t, err)
	require.Empty(t, found)
	require.Equal(t, uint64(1), a.Stats().Rejoins)
	require.Zero(t, a.Stats().Buffered)
}

func TestClientReportsWhatItLost(t *testing.T) {
	h, path := start(t, hub.Options{})
	lost := make(chan error, 1)
	c, err := hub.Join(soon(t), path, hub.JoinOptions{OnLost: func(err error) { lost <- err }})
	require.NoError(t, err)
	require.NoError(t, h.Close(soon(t)))
	<-lost
	require.NoError(t, c.Object("x").Send(soon(t), hub.Message{Payload: []byte("12345")}))
	var e *hub.LostError
	require.ErrorAs(t, c.Close(soon(t)), &e)
	require.Equal(t, 1, e.Oneways)
	require.ErrorIs(t, c.Object("x").Send(soon(t), hub.Message{}), hub.ErrLeft)
	_, err = c.Object("x").Call(soon(t), "m", nil, nil)
	require.ErrorIs(t, err, hub.ErrLeft)
	require.NoError(t, c.Close(soon(t)), "again")
}

func TestJoinWithoutAHub(t *testing.T) {
	_, err := hub.Join(soon(t), filepath.Join(t.TempDir(), "none.sock"), hub.JoinOptions{})
	var op *transport.OpError
	require.True(t, errors.As(err, &op), "%v", err)
}

// A provider that takes an object back finishes the calls inside, and gets no new one.
func TestUnpublishDrains(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b, c := join(t, path, "a"), join(t, path, "b"), join(t, path, "c")
	inside, finish := make(chan struct{}), make(chan struct{})
	p := publish(t, b, "job", "", func(r *transport.Request) {
		inside <- struct{}{}
		<-finish
		_ = r.Reply([]byte("b"))
	})
	job := a.Object("job")
	first := make(chan string, 1)
	go func() {
		got, err := job.Call(context.Background(), "m", nil, nil)
		first <- string(got) + errText(err)
	}()
	<-inside
	publish(t, c, "job", "", func(r *transport.Request) { _ = r.Reply([]byte("c")) })
	unpublished := make(chan error, 1)
	go func() { unpublished <- p.Unpublish(context.Background()) }()
	eventually(t, func() bool {
		found, err := a.Lookup(soon(t), hub.Selector{ObjectName: "job"})
		require.NoError(t, err)
		return len(found) == 1
	}, "b is not found any more")
	for range 5 {
		got, err := job.Call(soon(t), "m", nil, nil)
		require.NoError(t, err)
		require.Equal(t, "c", string(got))
	}
	require.Empty(t, unpublished, "a call is inside")
	finish <- struct{}{}
	require.Equal(t, "b", <-first)
	require.NoError(t, <-unpublished)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A provider that dies fails its calls at once.
func TestProviderDies(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	inside := make(chan struct{}, 1)
	publish(t, b, "job", "", func(r *transport.Request) {
		inside <- struct{}{}
		<-r.Context().Done()
	})
	go func() {
		<-inside
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		b.Close(ctx)
	}()
	_, err := a.Object("job").Call(soon(t), "m", nil, nil)
	var remote *hub.RemoteError
	require.ErrorAs(t, err, &remote)
	require.Equal(t, wire.CodePeerLost, remote.Code)
}

// Cancel and deadline reach the provider.
func TestCancelGoesThrough(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	inside, ends := make(chan struct{}, 1), make(chan error, 1)
	publish(t, b, "job", "", func(r *transport.Request) {
		inside <- struct{}{}
		<-r.Context().Done()
		ends <- r.Context().Err()
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-inside
		cancel()
	}()
	_, err := a.Object("job").Call(ctx, "m", nil, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, <-ends, context.Canceled)
	for wait := 20 * time.Millisecond; ; wait *= 2 { // until it is enough to get inside
		_, err = a.Object("job").Do(soon(t), hub.Message{Timeout: wait}, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		select {
		case <-inside:
			require.Error(t, <-ends)
			return
		default:
		}
	}
}

// What ends a call to many ends it with each provider that is still at work, and for one of
// Pandora's, which cannot be told, at the hub.
func TestCancelOfManyGoesThrough(t *testing.T) {
	h, path := start(t, hub.Options{})
	a, b, c := join(t, path, "a"), join(t, path, "b"), join(t, path, "c")
	inside, ends := make(chan string, 100), make(chan error, 100)
	for _, p := range []*hub.Client{b, c} {
		publish(t, p, "job", "", func(r *transport.Request) {
			inside <- string(r.Method())
			<-r.Context().Done()
			ends <- context.Cause(r.Context())
		})
	}
	publish(t, join(t, path, "quick"), "job", "",
		func(r *transport.Request) { _ = r.Reply(nil) })
	node := dial(t, path).online(`{"appName":"node"}`)
	require.Equal(t, success, node.reply(node.send(`{"action":"PANDORA_HUB_ACTION_PUBLISH_UP",`+
		`"data":{"data":{"selector":{"objectName":"job"}}}}`)))
	began := func(method string) { // by all of them
		for n := 0; n < 2; {
			if <-inside == method {
				n++
			}
		}
		heard(node, method)
	}

	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		began("canceled")
		cancel()
	}()
	_, err := a.Object("job").CallAll(ctx, hub.Message{Method: "canceled"})
	require.ErrorIs(t, err, context.Canceled)
	for range 2 {
		require.ErrorIs(t, <-ends, context.Canceled)
	}
	eventually(t, func() bool { return h.Stats().Pending == 0 }, "nothing is under way")

	heard(node, timesOut(t, a.Object("job"), inside))
	for range 2 {
		require.Error(t, <-ends)
	}
	eventually(t, func() bool { return h.Stats().Pending == 0 }, "nothing is under way")

	lost, err := hub.Join(soon(t), path, hub.JoinOptions{})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := lost.Object("job").CallAll(context.Background(), hub.Message{Method: "lost"})
		ended <- err
	}()
	began("lost")
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	_ = lost.Close(ctx)
	require.Error(t, <-ended)
	for range 2 {
		require.Error(t, <-ends)
	}
	eventually(t, func() bool { return h.Stats().Pending == 0 }, "its end ends them, too")
}

// timesOut calls all of a route, with more and more time until it is enough for two to get inside,
// and returns the method of that call.
func timesOut(t *testing.T, r *hub.Route, inside <-chan string) string {
	t.Helper()
	for wait := 200 * time.Millisecond; ; wait *= 2 {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		_, err := r.CallAll(ctx, hub.Message{Method: wait.String()})
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		n := 0
		for len(inside) > 0 {
			if <-inside == wait.String() {
				n++
			}
		}
		if n == 2 {
			return wait.String()
		}
		require.Less(t, wait, patience)
	}
}

// heard reads what comes to a peer until it is a call of that method.
func heard(r *raw, method string) {
	for body := ""; !strings.Contains(body, `"propertyName":"`+method+`"`); {
		_, body = r.next()
	}
}

// Calls of a call to many that wait for their provider's credit are taken back, too.
func TestCancelOfManyThatWait(t *testing.T) {
	h, path := start(t, hub.Options{})
	s, a := newStuck(t, path), join(t, path, "a")
	for range 8 {
		require.NoError(t, a.Object("slow").Go(hub.Message{}, nil, func([]byte, error) {}))
	}
	eventually(t, func() bool { return peerNamed(t, h, "sluggard").Inside == 8 }, "it is full")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := a.Object("slow").CallAll(ctx, hub.Message{Method: "late"})
		ended <- err
	}()
	eventually(t, func() bool { return peerNamed(t, h, "sluggard").Queued == 1 }, "it waits")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	eventually(t, func() bool { return peerNamed(t, h, "sluggard").Queued == 0 }, "it has gone")
	s.release()
	eventually(t, func() bool { return h.Stats().Pending == 0 }, "the others end")
	for range 8 {
		require.Empty(t, <-s.seen)
	}
	require.Empty(t, s.seen)
}

// long says whether the tests run in full.
func long() bool { return os.Getenv("PITHOS_LONG") == "1" }

// A hub that closes answers the calls that are under way.
func TestHubClosesUnderCalls(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		h, path := start(t, hub.Options{Transport: o})
		a, b := join(t, path, "a"), join(t, path, "b")
		inside, ended := make(chan struct{}, 1), make(chan error, 1)
		publish(t, b, "job", "", func(r *transport.Request) {
			inside <- struct{}{}
			<-r.Context().Done()
		})
		go func() {
			_, err := a.Object("job").Call(context.Background(), "m", nil, nil)
			ended <- err
		}()
		<-inside
		require.Equal(t, 1, h.Stats().Pending)
		require.NoError(t, h.Close(soon(t)))
		require.ErrorContains(t, <-ended, "hub is closing")
	})
}

// TestWatchOfAClosingHub closes a hub: nobody is told that those have gone who only lost it, too.
func TestWatchOfAClosingHub(t *testing.T) {
	for range 20 {
		h, path := start(t, hub.Options{})
		var gone atomic.Int64
		for i := range 8 {
			c := join(t, path, fmt.Sprint("app", i))
			echo(t, c, "calc")
			_, err := c.Watch(soon(t), hub.Selector{ObjectName: "calc"}, func(e hub.Event) {
				if !e.Up {
					gone.Add(1)
				}
			})
			require.NoError(t, err)
		}
		require.NoError(t, h.Close(soon(t)))
		require.Zero(t, gone.Load())
	}
}
