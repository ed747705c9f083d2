//go:build race

package transport_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// slowdown is by how much everything may take longer in this build.
const slowdown = 5

// Under the race detector a body is overwritten when its loan is over, so that whoever keeps it
// without Detach finds out.
func TestBorrowedBodyIsSpoilt(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for _, size := range []int{8, 1000, 100 << 10, 1 << 20} {
			var kept []byte
			var copied *transport.Request
			_, cli := e.pair(t, handler(func(r *transport.Request) {
				switch {
				case kept == nil:
					kept = r.Body()
					_ = r.Reply(nil)
				case copied == nil:
					copied = r.Detach()
					_ = copied.Reply(nil)
				default:
					_ = r.Gather([][]byte{kept, copied.Body()})
				}
			}), transport.Options{})
			sent := [2][]byte{body(1, size), body(2, size)}
			for _, b := range sent {
				_, err := cli.Call(patient(t), b, nil)
				require.NoError(t, err)
			}
			got, err := cli.Call(patient(t), []byte("x"), nil)
			require.NoError(t, err)
			require.False(t, bytes.Equal(sent[0], got[:size]), "%d bytes, borrowed", size)
			require.True(t, bytes.Equal(sent[1], got[size:]), "%d bytes, detached", size)
		}
	})
}
