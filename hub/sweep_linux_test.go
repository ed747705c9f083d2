//go:build linux && !portable

package hub_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
)

// Who has connected before a broadcast is sent hears it, without having said anything.
func TestABroadcastReachesWhoHasJustConnected(t *testing.T) {
	_, path := start(t, hub.Options{})
	a := dial(t, path).online(`{"appName":"a"}`)
	for range 100 {
		silent := dial(t, path)
		a.up(`{"broadcast":true,"data":5}`)
		for _, r := range []*raw{silent, a} {
			_, body := r.next()
			require.Contains(t, body, `"data":{"broadcast":true,"data":5}`)
		}
		silent.conn.Close()
	}
}
