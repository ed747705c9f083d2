package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
	"github.com/pithos-ipc/pithos/transport"
)

// R29: the hub is a process, and is killed with -9. Calls in flight fail with a typed error and are
// not repeated; oneways are kept up to the limit, and counted; when there is a hub again what was
// published and subscribed to is there once.
func TestR29HubKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	h := startHub(t, nil, []string{path}, "--socket", path)
	t.Setenv(socketVariable, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	join := func(app string) *hub.Client {
		c, err := hub.Join(ctx, path, hub.JoinOptions{Location: hub.Location{AppName: app},
			Buffer: 1000})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
		return c
	}
	a, b := join("a"), join("b")
	var begun atomic.Int32
	feed, err := object.Publish(ctx, b, "feed", object.Map{
		"wait": func(ctx context.Context) error {
			begun.Add(1)
			<-ctx.Done()
			return ctx.Err()
		},
	}, object.Options{})
	require.NoError(t, err)
	l := object.Listen(a, "feed", "", nil)
	defer l.Close(ctx)
	heard := make(chan int, 100)
	_, err = l.Subscribe(ctx, "n", func(args *object.Args) {
		var n int
		if args.Decode(0, &n) == nil {
			heard <- n
		}
	})
	require.NoError(t, err)
	feedRoute := a.Object("feed")
	ended := make(chan error, 1)
	go func() {
		_, err := feedRoute.Call(ctx, "wait", nil, nil)
		ended <- err
	}()
	for n := range 3 {
		await(t, func() bool { return begun.Load() == 1 })
		require.NoError(t, feed.Emit(ctx, "n", n))
		require.Equal(t, n, <-heard)
	}

	require.Equal(t, -1, h.stop(os.Kill))
	require.ErrorIs(t, <-ended, transport.ErrConnLost)
	none := a.Object("none")
	require.NoError(t, none.Send(ctx, hub.Message{Payload: make([]byte, 100)}))
	require.ErrorIs(t, none.Send(ctx, hub.Message{Payload: make([]byte, 1000)}), transport.ErrFull)
	require.Equal(t, hub.ClientStats{Buffered: 1, Dropped: 1}, a.Stats())

	startHub(t, nil, []string{path}, "--socket", path)
	await(t, func() bool { return a.Stats().Rejoins == 1 && b.Stats().Rejoins == 1 })
	var objects []hub.ObjectInfo
	await(t, func() bool {
		r := pithos("", "ls", "objects", "--json")
		require.Zero(t, r.code, r.stderr)
		objects = nil
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &objects))
		return len(objects) == 2
	})
	for _, o := range objects {
		require.Len(t, o.Peers, 1, "%s is published once", o.Name)
	}
	for n := range 3 { // each is heard, and once
		require.NoError(t, feed.Emit(ctx, "n", n))
		require.Equal(t, n, <-heard)
	}
	require.Empty(t, heard)
	require.EqualValues(t, 1, begun.Load(), "nothing is repeated")
	require.Zero(t, a.Stats().Buffered)
	var in hub.Inspection
	require.NoError(t, json.Unmarshal([]byte(pithos("", "ls", "hub", "--json").stdout), &in))
	require.EqualValues(t, 1, in.Stats.NotFound, "the oneway that was kept was sent once")
}
