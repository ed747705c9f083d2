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

	"github.com/pithos-ipc/pithos/daemon"
	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/registry/etcd"
	"github.com/pithos-ipc/pithos/registry/etcd/etcdtest"
	"github.com/pithos-ipc/pithos/registry/hubreg"
)

// compiling bounds the first start, in which "go run" compiles three programs.
const compiling = 5 * time.Minute

// development is the application under "pithos dev", or in the background.
type development struct {
	*application
	*process // nil in the background
	program  string
	socket   string
	mark     string   // in the environment of all of its processes
	env      []string // of the command
}

func newDevelopment(t *testing.T) *development {
	t.Helper()
	d := &development{application: &application{t: t}, program: build(t, "../../cmd/pithos"),
		socket: filepath.Join(t.TempDir(), "hub.sock"), mark: rand.Text()}
	d.env = append(os.Environ(), "TRYRPC_PORT=0", "TRYRPC_TEST="+d.mark,
		"XDG_RUNTIME_DIR="+t.TempDir(), "XDG_STATE_HOME="+t.TempDir())
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	t.Cleanup(func() { // should the test have failed half-way
		for _, pid := range d.left() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return d
}

var asked = regexp.MustCompile(`curl '(http://127\.0\.0\.1:\d+)/`)

// dev runs "pithos dev" on the example, and waits until it answers.
func dev(t *testing.T, args ...string) *development {
	t.Helper()
	d := newDevelopment(t)
	args = append([]string{"dev", "--socket", d.socket}, append(args, ".")...)
	cmd := exec.Command(d.program, args...)
	cmd.Env = d.env
	d.process = run(t, cmd)
	require.Eventually(t, func() bool {
		found := asked.FindStringSubmatch(d.output())
		if found != nil {
			d.web = found[1]
		}
		return found != nil
	}, compiling, 50*time.Millisecond)
	return d
}

// pithos runs a command that has to succeed, and returns what it printed.
func (d *development) pithos(args ...string) string {
	t := d.application.t
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), compiling)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.program, args...)
	cmd.Env = d.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%v: %s%s", args, out, &stderr)
	return string(out)
}

// join is a client at the hub of the application, through which names are seen.
func (d *development) join() *hub.Client {
	t := d.application.t
	t.Helper()
	c, err := hub.Join(t.Context(), d.socket, hub.JoinOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) }) // there is no hub at the end
	d.names = hubreg.New(c)
	return c
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
	c := d.join()
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
	d.killHub(c)
	stop()
	d.interrupt()
}

// killHub kills the hub: it is back, with all names, and nothing else was restarted.
func (d *development) killHub(c *hub.Client) {
	t := d.application.t
	t.Helper()
	providers, web := pids(t, c, "provider"), pids(t, c, "web")
	require.Len(t, web, 1)
	killed := hubPID(t, c)
	require.NoError(t, syscall.Kill(killed, syscall.SIGKILL))
	time.Sleep(hubreg.Grace) // longer than who does not come back is shown
	d.await(2)
	require.NotEqual(t, killed, hubPID(t, c))
	require.ElementsMatch(t, providers, pids(t, c, "provider"), "nothing else was restarted")
	require.Equal(t, web, pids(t, c, "web"), "nothing else was restarted")
	d.inTurns()
}

func hubPID(t *testing.T, c *hub.Client) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen, err := c.Inspect(ctx, hub.InspectOptions{})
	require.NoError(t, err)
	return seen.Hub.PID
}

// TestStart runs the example in the background, kills a provider and the hub under load, and has ps
// tell the story.
func TestStart(t *testing.T) {
	d := newDevelopment(t)
	d.pithos("start", "--socket", d.socket, ".")
	found := asked.FindStringSubmatch(d.pithos("log", "tryrpc/web"))
	require.NotNil(t, found)
	d.web = found[1]
	c := d.join()
	d.await(2)
	require.Equal(t, []string{"", ""}, d.exits("provider"))

	stop := d.load()
	killed := pids(t, c, "provider")[0]
	require.NoError(t, syscall.Kill(killed, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		now := pids(t, c, "provider")
		return len(now) == 2 && !slices.Contains(now, killed)
	}, compiling, 10*time.Millisecond)
	d.await(2)
	d.killHub(c)
	stop()

	// What was killed ran under "go run", which says so and ends with 1.
	require.ElementsMatch(t, []string{"", "1 restart: exit status 1"}, d.exits("provider"))
	require.Contains(t, d.pithos("log", "tryrpc/provider"), "signal: killed")
	require.Equal(t, []string{"1 restart: killed by SIGKILL"}, d.exits("hub"))
	require.Equal(t, []string{""}, d.exits("web"))
	story := d.pithos("ps")
	require.Regexp(t, `(?m)hub +ready +\d+ +1 .* killed by SIGKILL, \d+s ago$`, story)
	require.Regexp(t, `(?m)provider#\d +ready +\d+ +1 .* exit status 1, \d+s ago$`, story)
	require.Regexp(t, `(?m)provider#\d +ready +\d+ +0 .* -$`, story)
	require.Regexp(t, `(?m)web +ready +\d+ +0 .* -$`, story)

	d.pithos("exit")
	require.Empty(t, d.left())
	_, err := os.Lstat(d.socket)
	require.ErrorIs(t, err, os.ErrNotExist, "the hub's socket")
}

// exits are how the instances of a process, which are all ready, ended and started again.
func (d *development) exits(process string) (exits []string) {
	t := d.application.t
	t.Helper()
	var apps []daemon.App
	require.NoError(t, json.Unmarshal([]byte(d.pithos("ps", "--json", "tryrpc/"+process)), &apps))
	require.Len(t, apps, 1)
	for _, p := range apps[0].Processes {
		for _, i := range p.Instances {
			require.Equal(t, "ready", i.State)
			exit := ""
			if i.Restarts > 0 || i.LastExit != "" {
				exit = fmt.Sprintf("%d restart: %s", i.Restarts, i.LastExit)
			}
			exits = append(exits, exit)
		}
	}
	return exits
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
