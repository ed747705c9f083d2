package transport_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// TestLocal has handlers of two connections of one loop count in the place that they have in
// common, without a lock: the race detector watches.
func TestLocal(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g, err := transport.NewGroup(1, 0)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		serve := transport.HandlerFunc(func(r *transport.Request) {
			p := r.Conn().Local()
			if p == nil {
				_ = r.Reply(nil)
				return
			}
			n, _ := (*p).(byte)
			*p = n + 1
			_ = r.Reply([]byte{n + 1})
		})
		var callers []*transport.Conn
		for range 2 {
			c, _ := e.pair(t, transport.Options{}, transport.Options{Group: g, Handler: serve})
			callers = append(callers, c)
		}
		for i := range 10 {
			reply, err := callers[i%2].Call(patient(t), nil, nil)
			require.NoError(t, err)
			if callers[0].Local() == nil {
				require.Equal(t, "portable", e.name, "only there no loop is shared")
				require.Empty(t, reply)
				continue
			}
			require.Equal(t, []byte{byte(i + 1)}, reply)
		}
	})
}
