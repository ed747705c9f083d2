package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/daemon"
)

// command runs the command as a process of its own, and waits for it.
func command(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := process(t, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	timer := time.AfterFunc(60*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// succeeds runs a command that has to, and returns what it printed.
func succeeds(t *testing.T, args ...string) string {
	t.Helper()
	r := command(t, args...)
	require.Zero(t, r.code, "%v: %s%s", args, r.stdout, r.stderr)
	return r.stdout
}

// background writes a process file, and sees to it that no daemon is left at the end of the test.
func background(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = application(t, text)
	t.Cleanup(func() {
		r := command(t, "exit")
		if r.code != 0 && !strings.Contains(r.stderr, "no daemon is running") {
			t.Errorf("exit: %s", r.stderr)
		}
	})
	return dir
}

// status asks for all there is to know.
func status(t *testing.T) (apps []daemon.App) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(succeeds(t, "ps", "--json")), &apps))
	return apps
}

// pids are those of all instances.
func pids(apps []daemon.App) (all []string) {
	each(apps, func(i daemon.Instance) {
		if i.PID > 0 {
			all = append(all, strconv.Itoa(i.PID))
		}
	})
	return all
}

const backgroundShop = `
name: shop
processes:
  api: {command: [sh, -c, 'echo started $WORD; exec sleep 1000'], scale: 2}
  loop: {command: [sh, -c, 'echo last words; exit 3'], restart: {delay: 1ms, burst: 3}, order: 1}
`

func TestDaemon(t *testing.T) {
	dir := background(t, strings.Replace(backgroundShop, "exit 3", "exec sleep 1000", 1))
	t.Setenv("WORD", "here")
	require.Regexp(t, `^shop is running: 4 of 4 ready in .*s\n$`, succeeds(t, "start", dir))
	require.Zero(t, pithos("", "ping", "-c", "1").code, "the hub is at the usual place")
	require.Regexp(t, `^APP   STATE  READY  UPTIME  FILE\nshop  ready  4/4    \d+s +`+
		regexp.QuoteMeta(dir)+`/pithos.yaml\n$`, succeeds(t, "list"))
	require.Regexp(t, `(?m)^│  ├─ api#0  ready +\d+  0  `, succeeds(t, "ps"))
	await(t, func() bool { // it is ready before it says so
		return strings.Contains(succeeds(t, "log", "shop/api"), "api#1 | started here\n")
	})

	require.Equal(t, "shop/api: 3\n", succeeds(t, "scale", "shop/api", "3"))
	require.Len(t, pids(status(t)), 5)
	require.Equal(t, "stopped shop/api\n", succeeds(t, "stop", "shop/api"))
	require.Equal(t, "started shop/api\n", succeeds(t, "start", "shop/api"))
	require.JSONEq(t, `{"done": "restarted", "targets": ["shop"]}`,
		succeeds(t, "restart", "--json", "shop"))
	t.Setenv("WORD", "there")
	require.Equal(t, "reloaded shop/api: added none, changed api loop, removed none, replaced "+
		"api\n", succeeds(t, "reload", "shop/api"))
	await(t, func() bool {
		return strings.Contains(succeeds(t, "log", "-n", "1", "shop/api"), "started there\n")
	})

	all := pids(status(t))
	require.Len(t, all, 5)
	require.Equal(t, "stopped shop\n", succeeds(t, "stop", "shop"))
	requireDead(t, all...)
	require.Equal(t, "[]\n", succeeds(t, "list", "--json"))
	require.Contains(t, succeeds(t, "log", "shop/api"), "started there\n", "the log is left")
	require.Equal(t, "the daemon has ended\n", succeeds(t, "exit"))
	for _, socket := range []string{"daemon.sock", "hub.sock"} {
		requireGone(t, filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "pithos", socket))
	}
	requireGone(t, filepath.Join(os.Getenv("XDG_STATE_HOME"), "pithos", "daemon.json"))
}

// TestReloadKeepsHub moves the hub in the file: those who are reloaded go on at the one that runs.
func TestReloadKeepsHub(t *testing.T) {
	const file = "name: a\nprocesses: {x: {command: sleep 1000}}\n"
	dir := background(t, file)
	succeeds(t, "start", dir)
	at := status(t)[0].Hub
	require.Equal(t, filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "pithos", "hub.sock"), at)
	putFile(t, file+"hub: other.sock\n", dir, "pithos.yaml")
	r := command(t, "reload", "a")
	require.Equal(t, result{0, "reloaded a: added none, changed none, removed none, replaced x\n",
		"the hub of a stays at " + at + " until that is stopped; " + dir + "/pithos.yaml wants " +
			"it at " + dir + "/other.sock\n"}, r)
	require.Equal(t, at, status(t)[0].Hub)
	r = command(t, "start", dir)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, `application "a" runs already, since `)
}

// TestReloadKeepsRegistry reloads an application that was started with a registry other than its
// file's: it keeps that until another is chosen.
func TestReloadKeepsRegistry(t *testing.T) {
	dir := background(t, `
name: a
registry: etcd://127.0.0.1:1
processes: {x: {command: [sh, -c, 'echo "$PITHOS_SERVICES" >out; exec sleep 1000']}}
`)
	told := func(registry string) {
		t.Helper()
		await(t, func() bool {
			text, err := os.ReadFile(filepath.Join(dir, "out"))
			return err == nil && strings.HasSuffix(string(text), "\n") &&
				strings.Contains(string(text), `"registry":"`+registry+`"`)
		})
		require.NoError(t, os.Remove(filepath.Join(dir, "out")))
	}
	succeeds(t, "start", "--registry", "etcd://127.0.0.1:2", dir)
	told("etcd://127.0.0.1:2")
	succeeds(t, "reload", "a")
	told("etcd://127.0.0.1:2")
	succeeds(t, "reload", "a/x")
	told("etcd://127.0.0.1:2")
	require.Equal(t, 1, command(t, "reload", "--registry", "consul://x", "a").code)
	succeeds(t, "reload", "--registry", "embedded", "a")
	told("hub:")
	succeeds(t, "reload", "a")
	told("hub:")
	succeeds(t, "stop", "a")
	succeeds(t, "start", dir)
	told("etcd://127.0.0.1:1")
	succeeds(t, "reload", "a")
	told("etcd://127.0.0.1:1")
}

// TestDaemonFar has the daemon at a path that is longer than an address of the system, and what
// its verbs say go to a full disk.
func TestDaemonFar(t *testing.T) {
	far := filepath.Join(t.TempDir(), strings.Repeat("far/", 40))
	require.NoError(t, os.MkdirAll(far, 0o700))
	t.Setenv(daemonVariable, filepath.Join(far, "daemon.sock"))
	dir := background(t, "name: a\nprocesses: {x: {command: sleep 1000}}\n")
	succeeds(t, "start", dir)
	for _, line := range []string{"list", "list --json", "ps", "ps --json", "scale a/x 1",
		"restart a/x --json", "reload a", "stop a/x", "start a/x"} {
		requireHeard(t, strings.Fields(line)...)
	}
}

// TestDaemonCrashLoop has a process that ends at once: start says so, and ps tells its last words.
func TestDaemonCrashLoop(t *testing.T) {
	dir := background(t, backgroundShop)
	r := command(t, "start", dir)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "loop#0: crash-loop: exit status 3")
	require.Contains(t, r.stderr, "the rest of shop runs on: see pithos ps shop")
	text := succeeds(t, "ps", "shop")
	require.Regexp(t, `shop +crash-loop, 3/4`, text)
	require.Regexp(t, `└─ loop +crash-loop +- +\d+ +- +- +- +exit status 3, \d+s ago`, text)
	require.Regexp(t, `loop wrote last:\n(  last words\n)+`, text)
}

// R23: the daemon is killed. Its processes are gone, and the next start says what had happened.
func TestR23DaemonKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // there are no wardens
	}
	dir := background(t, "name: shop\nprocesses: {x: {command: [sh, -c, 'sleep 1000 & wait']}}")
	succeeds(t, "start", dir)
	all := pids(status(t))
	killDaemon(t)
	requireDead(t, all...)
	r := command(t, "list")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "pithos: no daemon is running; \"pithos start\" starts one")

	r = command(t, "start", dir)
	require.Zero(t, r.code, r.stderr)
	require.Regexp(t, `the daemon before \(pid \d+, started .*\) was killed while it ran shop: `+
		`start them again`, r.stderr)
	require.Len(t, pids(status(t)), 2)
}

func killDaemon(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(os.Getenv("XDG_STATE_HOME"), "pithos", "daemon.json"))
	require.NoError(t, err)
	var state struct{ PID int }
	require.NoError(t, json.Unmarshal(text, &state))
	require.NoError(t, syscallKill(state.PID))
	requireDead(t, strconv.Itoa(state.PID))
}

// TestDaemonLogRotates starts a daemon whose log is about to be full. Old ones are kept, but not
// all, and its last words go where it writes.
func TestDaemonLogRotates(t *testing.T) {
	dir := background(t, "name: a\nprocesses: {x: {command: sleep 1000}}")
	folder := filepath.Join(os.Getenv("XDG_STATE_HOME"), "pithos")
	path := filepath.Join(folder, "daemon.log")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	full := strings.Repeat("a line of old\n", 10<<20/14)
	putFile(t, full, path)
	for i := range 7 {
		putFile(t, "", folder, fmt.Sprintf("daemon-2026-01-0%dT00-00-00.000-size.log", i+1))
	}
	succeeds(t, "start", dir)
	await(t, func() bool {
		old, err := filepath.Glob(filepath.Join(folder, "daemon-*.log"))
		require.NoError(t, err)
		return len(old) == 5
	})
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Less(t, len(text), 1<<20)
	require.Contains(t, string(text), "msg=started app=a")
	old, err := filepath.Glob(filepath.Join(folder, "daemon-*.log"))
	require.NoError(t, err)
	kept, err := os.ReadFile(slices.Max(old))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(kept), full), "nothing is lost")
	if runtime.GOOS != "linux" {
		return
	}
	c, err := daemon.Dial(t.Context(), filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "pithos",
		"daemon.sock"))
	require.NoError(t, err)
	hello, err := c.Hello(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Close())
	stderr, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", hello.PID))
	require.NoError(t, err)
	require.Equal(t, path, stderr)
}

// TestDaemonSecond wants a second daemon to refuse, and one in the foreground to end by a signal.
func TestDaemonSecond(t *testing.T) {
	application(t, "")
	path := filepath.Join(t.TempDir(), "d.sock")
	t.Setenv(daemonVariable, path)
	first := process(t, "daemon")
	var stderr bytes.Buffer
	first.Stderr = &stderr
	require.NoError(t, first.Start())
	await(t, func() bool { return daemon.Alive(path) })
	require.Equal(t, result{1, "", "pithos: a daemon is running already, at " + path + "\n"},
		command(t, "daemon"))
	require.Equal(t, "[]\n", succeeds(t, "list", "--json"))
	require.NoError(t, first.Process.Signal(syscall.SIGTERM))
	require.NoError(t, first.Wait(), stderr.String())
	require.Contains(t, stderr.String(), "msg=stopping signal=terminated")
	requireGone(t, path)
}

// TestDaemonHubTaken starts an application whose hub's socket is somebody else's.
func TestDaemonHubTaken(t *testing.T) {
	dir := background(t, "name: a\nprocesses: {x: {command: sleep 1000}}")
	path := filepath.Join(dir, "taken.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	r := command(t, "start", "--socket", path, dir)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "the hub's socket is taken: somebody listens at "+path)
	require.Equal(t, "[]\n", succeeds(t, "list", "--json"), "nothing was started")
}

// TestDaemonCannotStart has a folder for its state that cannot be one.
func TestDaemonCannotStart(t *testing.T) {
	dir := background(t, "name: a\nprocesses: {x: {command: sleep 1000}}")
	putFile(t, "", dir, "file")
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "file"))
	r := command(t, "start", dir)
	require.Equal(t, 1, r.code)
	require.Regexp(t, `^pithos: mkdir .*/file: not a directory\n$`, r.stderr)
}

func TestLogFollow(t *testing.T) {
	dir := background(t, "name: a\nprocesses: {x: {command: [sh, -c, "+
		"'echo one; while ! test -f go; do sleep 0.02; done; echo two; exec sleep 1000']}}")
	succeeds(t, "start", dir)
	r := &running{t: t, cmd: process(t, "log", "-f", "--json", "a/x")}
	out, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	r.collect(out)
	r.sees(`"text":"one"`)
	putFile(t, "", dir, "go")
	r.sees(`"process":"x","index":0,"stream":"out","text":"two"`)
	r.signal(os.Interrupt)
	require.Zero(t, r.wait())
}

// TestSilentDaemon has somebody at the daemon's socket who says nothing, and does not wait for him.
func TestSilentDaemon(t *testing.T) {
	application(t, "")
	release, come := make(chan struct{}), make(chan struct{}, 2)
	path := fake(t, func(net.Conn) {
		come <- struct{}{}
		<-release
	})
	cmd := process(t, "list", "--daemon", path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	<-come // whether somebody listens
	release <- struct{}{}
	<-come
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	close(release)
	require.Equal(t, "pithos: interrupted\n", stderr.String())
	require.Equal(t, 130, cmd.ProcessState.ExitCode())
}

// TestExplainDial wants the time that there was, which is not always that of the flag.
func TestExplainDial(t *testing.T) {
	for timeout, want := range map[time.Duration]string{time.Second: "1s", time.Minute: "5s"} {
		require.EqualError(t, explainDial("x", timeout, context.DeadlineExceeded),
			"no server answered at x within "+want+": context deadline exceeded")
	}
}

// TestNoDaemon wants the same words from every verb, and nothing started.
func TestNoDaemon(t *testing.T) {
	application(t, "")
	for _, args := range [][]string{{"stop", "a"}, {"restart", "a"}, {"reload", "a"},
		{"scale", "a/b", "2"}, {"list"}, {"ps"}, {"exit"}} {
		r := pithos("", args...)
		require.Equal(t, 1, r.code)
		require.Empty(t, r.stdout)
		require.Contains(t, r.stderr, "pithos: no daemon is running; \"pithos start\" starts one")
	}
	r := pithos("", "log", "a")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "no log of a: there is none in ")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"scale", "a/b", "none"}, `"none": want a number of 1 or more, or auto`},
		{[]string{"log", "-n", "-1", "a"}, "-n -1: want 0 or more"},
		{[]string{"list", "--socket", "x"}, "--socket is the hub's; the daemon's is chosen by " +
			"--daemon"},
		{[]string{"list", "--daemon", "@x"}, "--daemon @x: want a path, beside which its state " +
			"is kept"},
		{[]string{"stop"}, "requires at least 1 arg(s), only received 0"},
		{[]string{"daemon", "--log", "xml"}, `--log "xml": want text or json`},
	} {
		pithos("", c.args...).requireFails(t, "", "pithos: "+c.want+"\n")
	}
	r = pithos("", "start", "nosuch")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, `nosuch; "pithos init" writes a process file`)
}

func TestUptime(t *testing.T) {
	now := time.Now()
	for want, d := range map[string]time.Duration{
		"0s": 0, "59s": 59 * time.Second, "1m05s": 65 * time.Second, "2h03m": 123 * time.Minute,
		"3d04h": 76*time.Hour + time.Minute,
	} {
		require.Equal(t, want, uptime(now.Add(-d), now))
	}
	require.Equal(t, "-", uptime(time.Time{}, now))
}
