package hub_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
)

// usedRoutes are the selectors that clients hold a handle of, as the hub says.
func usedRoutes(t *testing.T, c *hub.Client) (all []string) {
	t.Helper()
	in, err := c.Inspect(soon(t), hub.InspectOptions{Routes: true})
	require.NoError(t, err)
	for _, r := range in.Routes {
		require.GreaterOrEqual(t, r.Users, 0)
		for range r.Users {
			all = append(all, string(r.Selector))
		}
	}
	return all
}

// A route is forgotten, here and by the hub, when all who have asked for it have released it, and
// not before.
func TestRouteRelease(t *testing.T) {
	_, path := start(t, hub.Options{Limits: hub.Limits{MaxRoutes: 10}})
	a := join(t, path, "a")
	echo(t, a, "here")
	call := func(r *hub.Route) {
		t.Helper()
		_, err := r.Call(soon(t), "echo", []byte("[]"), nil)
		require.NoError(t, err)
	}
	kept := a.Object("here")
	call(kept)
	for i := range 100 { // of which the hub lets 10 be there
		r := a.Route(hub.Selector{ObjectName: "here",
			Location: hub.Location{ClientID: a.Location().ClientID}})
		call(r)
		r.Release()
		other := a.Object("here")
		require.Same(t, kept, other)
		other.Release()
		require.LessOrEqual(t, hub.Routes(a), 1, i)
	}
	call(kept)
	require.Equal(t, []string{`{"objectName":"here"}`}, usedRoutes(t, a))
	kept.Release()
	require.Empty(t, usedRoutes(t, a))
	require.Zero(t, hub.Routes(a))
	again := a.Object("here")
	require.NotSame(t, kept, again)
	call(again)
}

// A handle of a hub that is gone is no handle of the next one.
func TestRouteReleaseAfterRejoin(t *testing.T) {
	h, path := start(t, hub.Options{})
	a := join(t, path, "a")
	echo(t, a, "here")
	var routes []*hub.Route
	for i := range 3 {
		r := a.Route(hub.Selector{ObjectName: "here", ObjectTag: fmt.Sprint(i)})
		require.NoError(t, r.Resolve(soon(t)))
		routes = append(routes, r)
	}
	require.NoError(t, h.Close(soon(t)))
	again, err := listenAgain(t, path)
	require.NoError(t, err)
	defer again.Close(soon(t))
	eventually(t, func() bool { return a.Stats().Rejoins == 1 }, "it is back")
	require.NoError(t, a.Object("here").Resolve(soon(t))) // the first handle of this hub
	for _, r := range routes {
		r.Release()
	}
	require.Equal(t, []string{`{"objectName":"here"}`}, usedRoutes(t, a))
}

// listenAgain starts another hub at path.
func listenAgain(t *testing.T, path string) (*hub.Hub, error) {
	t.Helper()
	h := hub.New(hub.Options{})
	return h, h.Listen(path)
}
