package hub_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// TestPandorasOwnClients plays testdata/node/cases.js with the packages from npm: each line of the
// clients alone, and both mixed.
func TestPandorasOwnClients(t *testing.T) {
	if testing.Short() {
		t.Skip("the Node clients take some seconds, and -short wants none of that")
	}
	clients := install(t)
	for _, mode := range []string{"1", "2", "mixed"} {
		t.Run("clients "+mode, func(t *testing.T) { drive(t, clients, mode) })
	}
}

// missing ends the test because something is not on this machine: a failure where CI is set.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, and CI=true wants it", what)
	}
	t.Skip(what)
}

// install returns a folder with the packages of testdata/node/package-lock.json. It is kept in the
// user's cache, by the sum of that file.
func install(t *testing.T) string {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool+" is not on PATH")
		}
	}
	lock, err := os.ReadFile("testdata/node/package-lock.json")
	require.NoError(t, err)
	sum := sha256.Sum256(lock)
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "pithos-test")
	dir := filepath.Join(cache, "node-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	require.NoError(t, os.MkdirAll(cache, 0o700))
	fresh, err := os.MkdirTemp(cache, "new-")
	require.NoError(t, err)
	defer os.RemoveAll(fresh)
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join("testdata/node", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(fresh, name), text, 0o600))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = fresh
	npm.WaitDelay = time.Second
	if out, err := npm.CombinedOutput(); err != nil {
		missing(t, "npm ci: "+err.Error()+"\n"+string(out))
	}
	if err := os.Rename(fresh, dir); err != nil { // another run may have been the first
		_, err = os.Stat(dir)
		require.NoError(t, err)
	}
	return dir
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

// report is a line of the driver.
type report struct {
	Case, Why, Hub string
	Ms             int
}

// drive runs the driver against a hub, which it may have restarted.
func drive(t *testing.T, clients, mode string) {
	dir := t.TempDir()
	t.Setenv("PANDORA_TMP_DIR", dir)
	h := hub.New(hub.Options{})
	require.NoError(t, h.Listen(hub.PandoraPath()))
	defer func() { h.Close(soon(t)) }()
	gopher(t, hub.PandoraPath())

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	driver := exec.CommandContext(ctx, "node", "testdata/node/driver.js", mode)
	driver.Env = append(os.Environ(), "CLIENTS="+clients, "NODE_NO_WARNINGS=1")
	driver.Stderr = os.Stderr
	driver.WaitDelay = time.Second
	in, err := driver.StdinPipe()
	require.NoError(t, err)
	out, err := driver.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, driver.Start())
	played := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var r report
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r), "%s", lines.Text())
		if r.Hub == "restart" {
			require.NoError(t, h.Close(soon(t)))
			h = hub.New(hub.Options{})
			require.NoError(t, h.Listen(hub.PandoraPath()))
			_, err := io.WriteString(in, "done\n")
			require.NoError(t, err)
			continue
		}
		played++
		t.Run(r.Case, func(t *testing.T) {
			if t.Logf("%d ms", r.Ms); r.Why != "" {
				t.Error(r.Why)
			}
		})
	}
	require.NoError(t, driver.Wait())
	require.Greater(t, played, 15, "cases played")
}
