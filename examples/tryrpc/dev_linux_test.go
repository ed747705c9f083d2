package tryrpc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/registry/etcd"
	"github.com/pithos-ipc/pithos/registry/etcd/etcdtest"
	"github.com/pithos-ipc/pithos/registry/hubreg"
)

// compiling bounds the first start, in which "go run" compiles three programs.
const compiling = 5 * time.Minute

// development is the application under "pithos dev".
type development struct {
	*application
	*process
	socket string
	mark   string // in the environment of all of its processes
}

// dev runs "pithos dev" on the example, and waits until it answers.
func dev(t *testing.T, args ...string) *development {
	t.Helper()
	d := &development{socket: filepath.Join(t.TempDir(), "hub.sock"), mark: rand.Text()}
	args = append([]string{"dev", "--socket", d.socket}, append(args, ".")...)
	cmd := exec.Command(build(t, "../../cmd/pithos"), args...)
	cmd.Env = append(os.Environ(), "TRYRPC_PORT=0", "TRYRPC_TEST="+d.mark)
	d.process = run(t, cmd)
	url := regexp.MustCompile(`curl '(http://127\.0\.0\.1:\d+)/`)
	d.application = &application{t: t}
	require.Eventually(t, func() bool {
		found := url.FindStringSubmatch(d.output())
		if found != nil {
			d.web = found[1]
		}
		return found != nil
	}, compiling, 50*time.Millisecond)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	t.Cleanup(func() { // should the test have failed half-way
		for _, pid := range d.left() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return d
}

// left returns the processes that there are of the application.
func (d *development) left() []int {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	var left []int
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err == nil && bytes.Contains(text, []byte("TRYRPC_TEST="+d.mark)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			left = append(left, pid)
		}
	}
	return left
}

// interrupt is Ctrl-C, after which nothing may be left.
func (d *development) interrupt() {
	t := d.application.t
	t.Helper()
	d.end(syscall.SIGINT)
	require.Empty(t, d.left(), "%s", d.output())
	_, err := os.Lstat(d.socket)
	require.ErrorIs(t, err, os.ErrNotExist, "the hub's socket")
}

// pids returns the processes of that name at the hub.
func pids(t *testing.T, c *hub.Client, name string) []int {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen, err := c.Inspect(ctx, hub.InspectOptions{Peers: true})
	require.NoError(t, err)
	var found []int
	for _, p := range seen.Peers {
		var l hub.Location
		if json.Unmarshal(p.Location, &l) == nil && l.AppName == "tryrpc" && l.ProcessName == name {
			found = append(found, p.PID)
		}
	}
	return found
}

// TestDev runs the example as its README says: it answers, lets providers and the hub be killed
// under load without a failed request, and leaves nothing behind.
func TestDev(t *testing.T) {
	d := dev(t, "--no-watch")
	c, err := hub.Join(t.Context(), d.socket, hub.JoinOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) }) // there is no hub at the end
	d.names = hubreg.New(c)
	d.await(2)
	answers(t, d.application)
	d.inTurns()

	stop := d.load()
	require.Len(t, pids(t, c, "provider"), 2)
	for range 2 {
		killed := pids(t, c, "provider")[0]
		require.NoError(t, syscall.Kill(killed, syscall.SIGKILL))
		require.Eventually(t, func() bool {
			now := pids(t, c, "provider")
			return len(now) == 2 && !slices.Contains(now, killed)
		}, compiling, 10*time.Millisecond)
		d.await(2)
		d.inTurns()
	}
	before := pids(t, c, "provider")
	seen, err := c.Inspect(t.Context(), hub.InspectOptions{})
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(seen.Hub.PID, syscall.SIGKILL))
	time.Sleep(hubreg.Grace) // longer than who does not come back is shown
	d.await(2)
	require.ElementsMatch(t, before, pids(t, c, "provider"), "nothing else was restarted")
	stop()
	d.interrupt()
}

// TestDevWithEtcd does it with the names in etcd.
func TestDevWithEtcd(t *testing.T) {
	s := etcdtest.Start(t)
	d := dev(t, "--no-watch", "--registry", fmt.Sprintf("etcd://%s?ttl=2s", s.Endpoint()))
	names, err := etcd.Open(etcd.Options{Endpoints: []string{s.Endpoint()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, names.Close(context.Background())) })
	d.names = names
	d.await(2)
	answers(t, d.application)
	d.interrupt()
	entries, err := names.Lookup(t.Context(), "tryrpc")
	require.NoError(t, err)
	require.Empty(t, entries)
}
