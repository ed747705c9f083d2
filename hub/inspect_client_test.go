package hub_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
)

// R31: what native clients ask of an object besides to call a method is counted under the name of
// the action, as with Pandora's.
func TestR31NativeActions(t *testing.T) {
	_, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	echo(t, b, "cart")
	for _, m := range []hub.Message{
		{Method: "add"}, {Method: "add", Action: hub.ActionInvoke},
		{Method: "total", Action: hub.ActionGetProperty}, {Action: hub.ActionIntrospect},
		{Method: "topic-1", Action: hub.ActionSubscribe},
		{Method: "topic-2", Action: hub.ActionSubscribe},
	} {
		_, err := a.Object("cart").Do(soon(t), m, nil)
		require.NoError(t, err)
	}
	in, err := a.Inspect(soon(t), hub.InspectOptions{Methods: true})
	require.NoError(t, err)
	counted := make(map[string]uint64)
	for _, m := range in.Methods {
		counted[m.Method] = m.Calls
	}
	require.Equal(t, map[string]uint64{"add": 2, hub.ActionGetProperty: 1, hub.ActionIntrospect: 1,
		hub.ActionSubscribe: 2}, counted)
}
