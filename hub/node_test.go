package hub_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/internal/nodetest"
	"github.com/pithos-ipc/pithos/internal/npmtest"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// TestPandorasOwnClients plays the cases in testdata/node with the packages from npm: each line of
// the clients alone, and both mixed.
func TestPandorasOwnClients(t *testing.T) {
	if testing.Short() {
		t.Skip("the Node clients take some seconds, and -short wants none of that")
	}
	clients := npmtest.Install(t, nodeFolder)
	for _, mode := range []string{"1", "2", "mixed"} {
		t.Run("clients "+mode, func(t *testing.T) { drive(t, clients, mode) })
	}
}

// gopher is a Go client among those of Node, which the cases call, and have call others.
func gopher(t *testing.T, path string) {
	c := join(t, path, "go")
	publish(t, c, "gopher", "", func(r *transport.Request) {
		switch string(r.Method()) {
		case "give":
			var args []json.RawMessage
			if json.Unmarshal(r.Body(), &args) == nil && len(args) > 0 {
				_ = r.Reply(args[0])
			}
		case "call":
			var to [3]string
			args := json.RawMessage("[]")
			if err := json.Unmarshal(r.Body(), &[]any{&to[0], &to[1], &to[2], &args}); err != nil {
				_ = r.Fail(wire.CodeInvalid, err.Error())
				return
			}
			got, err := c.Route(object(to[0], to[1])).Call(r.Context(), to[2], args, nil)
			if remote, ok := errors.AsType[*hub.RemoteError](err); ok {
				if remote.Raw == nil {
					remote.Raw, _ = json.Marshal(map[string]string{"message": remote.Message})
				}
				_ = r.Gather([][]byte{[]byte(`{"error":`), remote.Raw, []byte("}")})
			} else if err != nil {
				_ = r.Fail(wire.CodeFailed, err.Error())
			} else if len(got) == 0 {
				_ = r.Reply([]byte("{}"))
			} else {
				_ = r.Gather([][]byte{[]byte(`{"data":`), got, []byte("}")})
			}
		default:
			calculator(r)
		}
	})
}

// nodeFolder has the cases, the driver and the lock file.
const nodeFolder = "testdata/node"

// drive runs the driver against a hub, which a case may have restarted.
func drive(t *testing.T, clients, mode string) {
	t.Setenv("PANDORA_TMP_DIR", t.TempDir())
	h := hub.New(hub.Options{})
	require.NoError(t, h.Listen(hub.PandoraPath()))
	defer func() { h.Close(soon(t)) }()
	gopher(t, hub.PandoraPath())
	cases := []string{"cases", "rawcases", "hostile"}
	played := nodetest.Drive(t, nodeFolder, clients, mode, cases, func(what string) {
		require.Equal(t, "restart", what)
		require.NoError(t, h.Close(soon(t)))
		h = hub.New(hub.Options{})
		require.NoError(t, h.Listen(hub.PandoraPath()))
	})
	require.Greater(t, played, 50, "cases played")
}
