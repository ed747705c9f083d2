//go:build !portable

package hub_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
)

// The portable loop loses what is queued when the peer's end comes, so this is for the other one.
func TestWhatIsWrittenBeforeTheEndIsAnswered(t *testing.T) {
	_, path := start(t, hub.Options{})
	for range 50 {
		a := dial(t, path)
		var all []byte
		for id := range uint32(20) {
			all = append(all, packet(0, id, `{"action":"PANDORA_HUB_ACTION_OFFLINE_UP"}`)...)
		}
		_, err := a.conn.Write(all)
		require.NoError(t, err)
		require.NoError(t, a.conn.(*net.UnixConn).CloseWrite())
		for id := range uint32(20) {
			require.Equal(t, success, a.reply(id))
		}
		a.ends()
	}
}
