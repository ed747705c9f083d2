package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// join is a client of the hub at path until the end of the test.
func join(t testing.TB, path, app string) *hub.Client {
	t.Helper()
	c, err := hub.Dial(soon(t), path, hub.Location{AppName: app})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(soon(t)) })
	return c
}

// calculator answers sum and who.
func calculator(_ context.Context, m hub.Message) (any, error) {
	switch m.Property {
	case "sum":
		var a, b float64
		err := m.Args(&a, &b)
		return a + b, err
	case "who":
		return m.Host.AppName, nil
	case "panic":
		panic("oh")
	}
	return nil, errors.New("no method " + m.Property)
}

func object(name, tag string) hub.Selector {
	return hub.Selector{ObjectName: name, ObjectTag: tag}
}

func TestClientsCallEachOther(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		_, path := start(t, hub.Options{Transport: o})
		a, b := join(t, path, "a"), join(t, path, "b")
		require.NoError(t, b.Publish(soon(t), "calc", "", calculator))
		got, err := a.Invoke(soon(t), object("calc", ""),
			hub.Message{Property: "sum", Data: []any{2, 40.5}})
		require.NoError(t, err)
		require.JSONEq(t, `42.5`, string(got))
		got, err = a.Invoke(soon(t), object("calc", "v7"), hub.Message{Property: "who"})
		require.NoError(t, err, "no tag stands in for one that nobody has")
		require.JSONEq(t, `"a"`, string(got))

		to := hub.Selector{Location: b.Location()}
		got, err = a.Invoke(soon(t), to, hub.Message{Action: hub.ActionEcho, Data: "é\u2028"})
		require.NoError(t, err)
		var echo struct{ Echo struct{ Data, Action string } }
		require.NoError(t, json.Unmarshal(got, &echo))
		require.Equal(t, "é\u2028", echo.Echo.Data)
		require.Equal(t, hub.ActionEcho, echo.Echo.Action)
	})
}

func TestErrorsOfClients(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	require.NoError(t, b.Publish(soon(t), "calc", "v1", calculator))
	require.ErrorContains(t, b.Publish(soon(t), "calc", "v1", calculator), "already")
	const notFound = "Cannot found any clients by selector"
	for name, c := range map[string]struct {
		to   hub.Selector
		m    hub.Message
		want string
	}{
		"handler's": {object("calc", ""), hub.Message{Property: "x"}, "no method x"},
		"panic":     {object("calc", "v1"), hub.Message{Property: "panic"}, "panicked: oh"},
		"arguments": {object("calc", ""), hub.Message{Property: "sum", Data: "x"}, "arguments"},
		"argument": {object("calc", ""), hub.Message{Property: "sum", Data: []any{1, "x"}},
			"argument 1"},
		"action":        {object("calc", ""), hub.Message{Action: "dance"}, `the action "dance"`},
		"nobody":        {object("none", ""), hub.Message{}, notFound},
		"other tag":     {object("calc", "v2"), hub.Message{}, notFound},
		"not an object": {hub.Selector{Location: b.Location()}, hub.Message{}, `the object ""`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.Invoke(soon(t), c.to, c.m)
			var remote *hub.RemoteError
			require.ErrorAs(t, err, &remote)
			require.Contains(t, remote.Message, c.want)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
		})
	}
	_, err := a.Invoke(soon(t), object("calc", ""), hub.Message{Data: func() {}})
	require.ErrorContains(t, err, "encode")
	_, err = hub.Dial(soon(t), path+".none", hub.Location{})
	require.ErrorContains(t, err, "no such file")
}

func TestTagsAtOneClient(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	for _, tag := range []string{"v1", "v2"} {
		require.NoError(t, b.Publish(soon(t), "o", tag,
			func(context.Context, hub.Message) (any, error) { return tag, nil }))
	}
	for tag, want := range map[string]string{"v1": `"v1"`, "v2": `"v2"`, "": `"v1"`} {
		got, err := a.Invoke(soon(t), object("o", tag), hub.Message{})
		require.NoError(t, err)
		require.JSONEq(t, want, string(got))
	}
}

func TestTimeoutsOfClients(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	ended := make(chan error, 3)
	require.NoError(t, b.Publish(soon(t), "o", "",
		func(ctx context.Context, _ hub.Message) (any, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}))
	_, err := a.Invoke(context.Background(), object("o", ""),
		hub.Message{Timeout: 20 * time.Millisecond})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, <-ended, context.DeadlineExceeded, "the handler is told")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err = a.Invoke(ctx, object("o", ""), hub.Message{Timeout: time.Hour})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	_, err = a.Invoke(ctx, object("o", ""), hub.Message{})
	require.ErrorIs(t, err, context.DeadlineExceeded, "it was over before")
	ctx, cancel = context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = a.Invoke(ctx, object("o", ""), hub.Message{Timeout: 50 * time.Millisecond})
	require.ErrorIs(t, err, context.Canceled)
	<-ended
	hubs := &hub.RemoteError{Name: "MessengerRequestTimeoutError"}
	require.ErrorIs(t, hubs, context.DeadlineExceeded)
	require.ErrorIs(t, hubs, transport.ErrDeadline)
}

func TestSendOfClients(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	got := make(chan hub.Message, 1)
	require.NoError(t, b.Publish(soon(t), "o", "",
		func(_ context.Context, m hub.Message) (any, error) {
			got <- m
			return nil, errors.New("nobody hears this")
		}))
	require.NoError(t, a.Send(object("none", ""), hub.Message{}))
	require.NoError(t, a.Send(object("o", ""), hub.Message{Property: "p", Data: []int{1}}))
	select {
	case m := <-got:
		require.Equal(t, hub.Message{Action: hub.ActionInvoke, Property: "p", Host: a.Location(),
			Remote: object("o", ""), Data: json.RawMessage(`[1]`)}, m)
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
}

// The death of the hub, here a socket that answers once, ends what waits on it.
func TestTheDeathOfTheHubFailsCalls(t *testing.T) {
	const calls = 10
	path := filepath.Join(t.TempDir(), "dies")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		r := &raw{t: t, conn: conn}
		id, _ := r.next()
		r.send(`{"action":"response_callback_%d","data":{"success":true}}`, id)
		for range calls {
			r.next()
		}
		conn.Close()
	}()
	c := join(t, path, "a")
	failed := make(chan error, calls)
	for range calls {
		go func() {
			_, err := c.Invoke(context.Background(), object("o", ""),
				hub.Message{Timeout: time.Minute})
			failed <- err
		}()
	}
	for range calls {
		select {
		case err := <-failed:
			require.ErrorIs(t, err, transport.ErrConnLost)
		case <-time.After(10 * time.Second):
			t.Fatal("a call still waits")
		}
	}
	<-c.Done()
	_, err = c.Invoke(soon(t), object("o", ""), hub.Message{})
	require.ErrorIs(t, err, transport.ErrConnLost)
	require.ErrorIs(t, c.Publish(soon(t), "x", "", nil), transport.ErrConnLost)
	require.NoError(t, c.Close(soon(t)))
}

// A hub that closes answers what waits, and ends the clients.
func TestTheEndOfTheHubFailsCalls(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		h, path := start(t, hub.Options{Transport: o})
		a, b := join(t, path, "a"), join(t, path, "b")
		called := make(chan struct{}, 1)
		require.NoError(t, b.Publish(soon(t), "o", "",
			func(ctx context.Context, _ hub.Message) (any, error) {
				called <- struct{}{}
				<-ctx.Done() // ends with the connection
				return nil, ctx.Err()
			}))
		failed := make(chan error, 1)
		go func() {
			_, err := a.Invoke(context.Background(), object("o", ""),
				hub.Message{Timeout: time.Minute})
			failed <- err
		}()
		<-called
		require.NoError(t, h.Close(soon(t)))
		require.ErrorContains(t, <-failed, "hub is closing")
		<-a.Done()
		<-b.Done()
	})
}

func TestCloseOfClients(t *testing.T) {
	h, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	began, release := make(chan struct{}), make(chan struct{})
	require.NoError(t, b.Publish(soon(t), "o", "",
		func(context.Context, hub.Message) (any, error) {
			close(began)
			<-release
			return "done", nil
		}))
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := a.Invoke(soon(t), object("o", ""), hub.Message{})
		require.NoError(t, err)
		require.JSONEq(t, `"done"`, string(got), "what runs is finished")
	})
	<-began
	wg.Go(func() { require.NoError(t, b.Close(soon(t))) })
	require.Eventually(t, func() bool {
		_, err := a.Invoke(soon(t), object("o", ""), hub.Message{})
		return err != nil && strings.Contains(err.Error(), "Cannot found")
	}, 5*time.Second, time.Millisecond, "offline")
	close(release)
	wg.Wait()
	require.NoError(t, b.Close(soon(t)))
	_, err := b.Invoke(soon(t), object("o", ""), hub.Message{})
	require.ErrorIs(t, err, transport.ErrClosed)
	require.Eventually(t, func() bool { return h.Stats().Peers == 1 }, 5*time.Second,
		time.Millisecond)
}
