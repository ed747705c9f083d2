package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/transport"
)

// application writes a process file into a folder of its own, and sees to it that the hub and the
// daemon of the test are nobody else's.
func application(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv(socketVariable, "")
	putFile(t, text, dir, "pithos.yaml")
	return dir
}

func putFile(t *testing.T, text string, elem ...string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(elem...), []byte(text), 0o600))
}

// running is a command that is running, and all that it has written so far.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan struct{} // its output has ended

	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

// startDev runs "pithos dev" in a pipe.
func startDev(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: process(t, append([]string{"dev"}, args...)...)}
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	r.collect(out)
	return r
}

// startDevTerminal runs "pithos dev" on a terminal, which has 100 columns.
func startDevTerminal(t *testing.T, args ...string) (*running, *os.File) {
	t.Helper()
	r := &running{t: t, cmd: process(t, append([]string{"dev"}, args...)...)}
	terminal, err := pty.StartWithSize(r.cmd, &pty.Winsize{Rows: 24, Cols: 100})
	require.NoError(t, err)
	t.Cleanup(func() { terminal.Close() })
	r.collect(terminal)
	return r, terminal
}

func (r *running) collect(out io.Reader) {
	r.ended = make(chan struct{})
	go func() {
		defer close(r.ended)
		b := bufio.NewReader(out)
		for {
			chunk := make([]byte, 4096)
			n, err := b.Read(chunk)
			r.mu.Lock()
			r.text.Write(chunk[:n])
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	r.t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			r.cmd.Process.Kill()
			r.wait()
		}
	})
}

func (r *running) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// sees waits until the output matches, and returns what the groups of the pattern did.
func (r *running) sees(pattern string) []string {
	r.t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if m := re.FindStringSubmatch(r.output()); m != nil {
			return m[1:]
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s is not seen in:\n%s\n%s", pattern, r.output(), &r.stderr)
		}
	}
}

// wait waits for the end and returns the exit code.
func (r *running) wait() int {
	<-r.ended
	_ = r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

func (r *running) signal(s os.Signal) {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(s))
}

// requireDead wants no process of these numbers to be there.
func requireDead(t *testing.T, pids ...string) {
	t.Helper()
	for _, pid := range pids {
		n, err := strconv.Atoi(pid)
		require.NoError(t, err)
		await(t, func() bool {
			p, err := os.FindProcess(n)
			if err != nil {
				return true
			}
			defer p.Release()
			return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
		})
	}
}

const sleeper = `echo pid $$; exec sleep 1000`

func TestDev(t *testing.T) {
	dir := application(t, `
name: shop
processes:
  api:
    command: [sh, -c, '`+sleeper+`']
    depends_on: db
    scale: 2
  db:
    command: [sh, -c, 'echo to stderr >&2; trap "" TERM; echo pid $$;
      until test -f go; do sleep 0.05; done']
    stop: {window: 1m}
`)
	r := startDev(t, dir)
	r.sees(`\| started in `)
	require.NotContains(t, r.output(), "\x1b", "a pipe is no terminal")
	api0, api1 := r.sees(`(?m)^api#0 \| pid (\d+)$`), r.sees(`(?m)^api#1 \| pid (\d+)$`)
	db := r.sees(`(?m)^db    \| pid (\d+)$`)
	r.sees(`(?m)^db    \| to stderr$`)
	hub := r.sees(`\| hub: ready, pid (\d+)`)
	order := regexp.MustCompile(`(?s)hub: ready.*db: ready.*api#\d: ready`)
	require.Regexp(t, order, r.output())
	require.Zero(t, pithos("", "ping", "-c", "1").code, "the hub is at the usual place")

	r.signal(syscall.SIGTERM)
	r.sees(`terminated: stopping; once more kills what is left`)
	r.sees(`stopping: waiting for db`)
	putFile(t, "", dir, "go")
	require.Zero(t, r.wait(), r.stderr.String())
	require.Empty(t, r.stderr.String())
	requireDead(t, api0[0], api1[0], db[0], hub[0])
	requireGone(t, filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "pithos", "hub.sock"))
}

// TestDevTerminal is what a person sees: colours, a status, and Ctrl-C.
func TestDevTerminal(t *testing.T) {
	dir := application(t, `
name: shop
processes:
  api:
    command: [sh, -c, 'trap "" TERM; echo pid $$; while :; do sleep 0.05; done']
    ready: {exec: 'test -f go'}
    stop: {window: 3s}
`)
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	r, terminal := startDevTerminal(t, dir)
	pid := r.sees(`\x1b\[\d+mapi \|\x1b\[0m pid (\d+)`)
	r.sees(`\r\x1b\[K\x1b\[1mstarting: 1 of 2 ready, waiting for api \(\ds\)\x1b\[0m`)
	putFile(t, "", dir, "go")
	r.sees(`\x1b\[32mapi: ready`)
	_, err := terminal.Write([]byte{3})
	require.NoError(t, err)
	r.sees(`interrupt: stopping; once more kills what is left`)
	r.sees(`\x1b\[1mstopping: waiting for api \(\ds\)`)
	require.Zero(t, r.wait(), r.output())
	requireDead(t, pid[0])
}

// TestDevHangup is told that its terminal is closed: everything stops in good order, as at Ctrl-C,
// and does not care to be told again.
func TestDevHangup(t *testing.T) {
	dir := application(t, `
name: shop
processes:
  api:
    command: [sh, -c, 'trap "echo > told; exit" TERM; echo pid $$; while :; do sleep 0.05; done']
`)
	t.Setenv("TERM", "dumb")
	r, _ := startDevTerminal(t, dir)
	pid := r.sees(`(?m)^api \| pid (\d+)`)
	r.sees(`\| started in `)
	r.signal(syscall.SIGHUP)
	_ = r.cmd.Process.Signal(syscall.SIGHUP) // it may have ended
	require.Zero(t, r.wait(), r.output())
	requireDead(t, pid[0])
	require.FileExists(t, filepath.Join(dir, "told"))
}

func TestDevNoColor(t *testing.T) {
	dir := application(t, "name: a\nprocesses: {x: {command: [sh, -c, 'echo hi'], restart: never}}")
	t.Setenv("NO_COLOR", "1")
	t.Setenv("TERM", "xterm")
	r, _ := startDevTerminal(t, dir)
	require.Zero(t, r.wait())
	require.Contains(t, r.output(), "x   | hi\r\n")
	require.NotRegexp(t, `\x1b\[[0-9;]*m[^\x1b]*x   \|`, r.output())
}

// R24: a second signal kills what does not end.
func TestR24DevForced(t *testing.T) {
	dir := application(t, `
name: shop
processes:
  api:
    command: [sh, -c, 'trap "" TERM INT; echo pid $$; while :; do sleep 0.05; done']
    stop: {window: 1h}
`)
	r := startDev(t, dir)
	pid := r.sees(`api \| pid (\d+)`)
	r.sees(`started in`)
	r.signal(os.Interrupt)
	r.sees(`waiting for api`)
	r.signal(os.Interrupt)
	require.Equal(t, 130, r.wait())
	require.Equal(t, "pithos: forced to stop by a second signal\n", r.stderr.String())
	requireDead(t, pid[0])
}

func TestDevExitCode(t *testing.T) {
	for code, text := range map[int]string{
		0: "a: {command: 'true', restart: never}",
		7: "a: {command: [sh, -c, 'exit 7'], restart: never}",
		1: "a: {command: ./nosuch, restart: never}",
	} {
		dir := application(t, "name: x\nprocesses: {"+text+"}")
		r := startDev(t, dir)
		require.Equal(t, code, r.wait(), r.output())
		if code == 0 {
			require.Empty(t, r.stderr.String())
			continue
		}
		require.Equal(t, fmt.Sprintf("pithos: the application ended with exit code %d\n", code),
			r.stderr.String())
	}
}

// TestDevHubKilled kills the hub: it is back, and nothing else was restarted.
func TestDevHubKilled(t *testing.T) {
	dir := application(t, "name: a\nprocesses: {x: {command: [sh, -c, '"+sleeper+"'], scale: 2}}")
	r := startDev(t, dir)
	first := r.sees(`hub: ready, pid (\d+)`)
	r.sees(`started in`)
	await(t, func() bool { return strings.Count(r.output(), "| pid ") == 2 }) // later than ready
	pid, err := strconv.Atoi(first[0])
	require.NoError(t, err)
	require.NoError(t, syscallKill(pid))
	r.sees(`hub: ended, starts again: (signal: )?(killed|SIGKILL)`)
	await(t, func() bool { return strings.Count(r.output(), "hub: ready") == 2 })
	require.Zero(t, pithos("", "ping", "-c", "1").code)
	require.Equal(t, 2, strings.Count(r.output(), "| pid "), "nothing else was restarted")
	r.signal(os.Interrupt)
	require.Zero(t, r.wait())
}

func syscallKill(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return errors.Join(p.Kill(), p.Release())
}

// TestDevSocket chooses the hub's socket: by the environment, by the file, by the flag; the later
// ones win.
func TestDevSocket(t *testing.T) {
	const text = "name: a\nprocesses: {x: {command: 'true', restart: never}}"
	dir := application(t, text)
	here := t.TempDir()
	t.Chdir(here)
	t.Setenv(socketVariable, "env.sock")
	listens := func(path string, args ...string) {
		t.Helper()
		r := startDev(t, append(args, dir)...)
		require.Zero(t, r.wait(), r.stderr.String())
		require.Contains(t, r.output(), "listening at "+path+"\n")
	}
	listens(filepath.Join(here, "env.sock"))
	putFile(t, text+"\nhub: file.sock", dir, "pithos.yaml")
	listens(filepath.Join(dir, "file.sock"))
	listens(filepath.Join(here, "flag.sock"), "--socket", "flag.sock")
}

func TestDevHubTaken(t *testing.T) {
	dir := application(t, "name: a\nprocesses: {x: {command: sleep 1000}}")
	path := filepath.Join(dir, "taken.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	r := startDev(t, dir, "--socket", path)
	require.Equal(t, 1, r.wait())
	require.Contains(t, r.stderr.String(), "the hub's socket is taken: somebody listens at "+path)
	require.NotContains(t, r.output(), "ready")
}

// TestDevPortTaken has a process whose port is taken: its own words are seen, and that it is tried
// again; another one is not concerned.
func TestDevPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := application(t, fmt.Sprintf(`
name: a
processes:
  x:
    command: [%q, -test.run, TestListenHelper]
    env: {PITHOS_TEST_LISTEN: %q}
    restart: {delay: 10ms, max_delay: 20ms, burst: 2}
  y: {command: [sh, -c, '%s']}
`, self, l.Addr(), sleeper))
	r := startDev(t, dir)
	r.sees(`x   \| .*address already in use`)
	r.sees(`x: crash-loop: exit status 3`)
	r.sees(`y   \| pid \d+`)
	r.signal(os.Interrupt)
	require.Zero(t, r.wait())
}

// TestListenHelper is a process of TestDevPortTaken.
func TestListenHelper(t *testing.T) {
	address := os.Getenv("PITHOS_TEST_LISTEN")
	if address == "" {
		return
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	l.Close()
}

// TestDevCommands has one command that is not there, and one that ends at once.
func TestDevCommands(t *testing.T) {
	dir := application(t, `
name: a
processes:
  gone: {command: pithos-no-such-command}
  ends: {command: [sh, -c, 'echo last words; exit 9'], restart: {delay: 1ms, burst: 2}}
  needs: {command: sleep 1000, depends_on: gone}
`)
	r := startDev(t, dir)
	r.sees(`gone: failed: .*pithos-no-such-command.*not found`)
	r.sees(`needs: failed: .*gone`)
	r.sees(`ends  \| last words`)
	r.sees(`ends: crash-loop: exit status 9`)
	r.signal(os.Interrupt)
	require.Zero(t, r.wait())
}

// TestDevWatch changes files: what they belong to is restarted, and nothing else.
func TestDevWatch(t *testing.T) {
	const text = `
name: a
processes:
  x: {command: [sh, -c, 'echo pid $$ $WORD; exec sleep 1000'], watch: x.conf, env: {WORD: one}}
  y: {command: [sh, -c, 'echo pid $$; exec sleep 1000'], watch: false}
`
	dir := application(t, text)
	putFile(t, "1", dir, "x.conf")
	r := startDev(t, dir)
	r.sees(`started in`)
	r.sees(`x   \| pid \d+ one`)
	r.sees(`y   \| pid \d+`)
	putFile(t, "2", dir, "x.conf")
	r.sees(`x.conf changed: restarting x`)
	await(t, func() bool { return strings.Count(r.output(), "x   | pid") >= 2 })

	putFile(t, strings.Replace(text, "one", "two", 1), dir, "pithos.yaml")
	r.sees(`pithos.yaml changed: added none, changed x, removed none`)
	r.sees(`x   \| pid \d+ two`)
	putFile(t, "name: a\nprocesses: {x: {comand: y}}", dir, "pithos.yaml")
	r.sees(`pithos.yaml:2:17: processes.x.comand: unknown field; did you mean "command"\?`)
	require.Equal(t, 1, strings.Count(r.output(), "y   | pid"))
	r.signal(os.Interrupt)
	require.Zero(t, r.wait())

	r = startDev(t, "--no-watch", "--json", dir)
	require.Equal(t, 1, r.wait())
	require.Contains(t, r.stderr.String(), `unknown field; did you mean "command"?`)
}

// TestDevFullDisk writes the log to a device that is always full: that is said, the process runs
// on, and its lines are shown.
func TestDevFullDisk(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // there is no such device
	}
	dir := application(t, "name: a\nprocesses: {x: {command: [sh, -c, 'echo on; "+
		"exec sleep 1000'], log: {file: full/x.log}}}")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "full"), 0o700))
	require.NoError(t, os.Symlink("/dev/full", filepath.Join(dir, "full", "x.log")))
	r := startDev(t, dir)
	r.sees(`x: warning: .*no space left on device`)
	r.sees(`(?m)^x   \| on$`)
	r.sees(`started in`)
	r.signal(os.Interrupt)
	r.wait()
	require.NotContains(t, r.output(), "x: failed")
}

// TestDevJSON wants nothing but objects.
func TestDevJSON(t *testing.T) {
	dir := application(t, "name: a\nprocesses: {x: {command: [sh, -c, 'echo hi'], restart: never}}")
	r := startDev(t, "--json", "-v", dir)
	require.Zero(t, r.wait())
	said := false
	for line := range strings.Lines(r.output()) {
		var v struct{ Process, Text string }
		require.NoError(t, json.Unmarshal([]byte(line), &v), line)
		said = said || v.Process == "x" && v.Text == "hi"
	}
	require.True(t, said)
}

// TestDevGoRun has a process behind "go run": signals reach the program, and its object is found.
func TestDevGoRun(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("a go command is missing, and CI=true wants it")
		}
		t.Skip("a go command is missing")
	}
	dir := application(t, "name: a\nprocesses: {x: {command: go run ./x, stop: {window: 30s}}}")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "x"), 0o700))
	putFile(t, "module example.com/a\n\ngo 1.26\n", dir, "go.mod")
	putFile(t, `package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("pid", os.Getpid())
	<-c
	fmt.Println("stopped in good order")
}
`, dir, "x", "main.go")
	r := startDev(t, dir)
	pid := r.sees(`x   \| pid (\d+)`)
	r.sees(`started in`)
	r.signal(os.Interrupt)
	require.Zero(t, r.wait())
	require.Contains(t, r.output(), "x   | stopped in good order")
	requireDead(t, pid[0])
}

// TestDevHubOptions wants each policy and balancer of the hub to have its name in process files,
// and a hub to run with all options that a file has.
func TestDevHubOptions(t *testing.T) {
	const file = "name: a\nhub: {%s: %s}\nprocesses: {x: {command: y}}"
	parse := func(field, value string) error {
		_, err := procfile.Parse("/x", fmt.Appendf(nil, file, field, value), os.LookupEnv)
		return err
	}
	for _, name := range balancer.Names() {
		require.NoError(t, parse("balancer", name))
	}
	for p := hub.Block; p <= hub.Disconnect; p++ {
		require.NoError(t, parse("policy", p.String()))
		_, err := hub.ParsePolicy(p.String())
		require.NoError(t, err)
	}
	dir := application(t, `
name: a
hub: {path: h.sock, pandora: true, max_body: 1MiB, max_batch: 1MiB, max_outbox: 2MiB,
  max_pending: 100, max_queue: 1MiB, max_total: 8MiB, max_conns: 50, policy: drop-oldest,
  balancer: random}
processes: {x: {command: 'true', restart: never}}
`)
	t.Setenv("PANDORA_TMP_DIR", t.TempDir())
	r := startDev(t, dir)
	require.Zero(t, r.wait(), r.output())
	require.Contains(t, r.output(), "listening at "+filepath.Join(dir, "h.sock"))
}

// TestDevObject has a process that is ready when its object is at the hub. A shell is in between,
// and another process that has the same object does not count.
func TestDevObject(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := application(t, fmt.Sprintf(`
name: shop
env: {PITHOS_TEST_PUBLISH: greeter}
processes:
  first:
    command: [sh, -c, '%[1]s -test.run TestPublishHelper; true']
    ready: {object: greeter}
  second:
    command:
      - sh
      - -c
      - 'while ! test -f go; do sleep 0.02; done; %[1]s -test.run TestPublishHelper; true'
    ready: {object: greeter, interval: 20ms}
    depends_on: first
`, self))
	r := startDev(t, "--registry", "etcd://127.0.0.1:1", dir)
	r.sees(`first: ready, pid \d+`)
	r.sees(`first  \| published, .*"process":"first".*"registry":"etcd://127.0.0.1:1"`)
	require.NotContains(t, r.output(), "second: ready")
	putFile(t, "", dir, "go")
	r.sees(`second \| published`)
	r.sees(`second: ready, pid \d+`)
	r.signal(os.Interrupt)
	require.Zero(t, r.wait())
}

// TestPublishHelper is a process of TestDevObject.
func TestPublishHelper(t *testing.T) {
	name := os.Getenv("PITHOS_TEST_PUBLISH")
	if name == "" {
		return
	}
	ctx := context.Background()
	c, err := hub.Join(ctx, os.Getenv(socketVariable), hub.JoinOptions{})
	require.NoError(t, err)
	_, err = c.Publish(ctx, hub.Object{Name: name, Handler: &transport.Mux{}})
	require.NoError(t, err)
	fmt.Println("published,", os.Getenv("PITHOS_SERVICES"))
	select {} // until it is killed
}

func TestDevFlags(t *testing.T) {
	dir := t.TempDir()
	pithos("", "dev", dir).requireFails(t, "", "pithos: no pithos.yaml in "+dir+
		"; \"pithos init\" writes one\n")
	putFile(t, "", dir, "pithos.yaml")
	require.Contains(t, pithos("", "dev", dir).stderr, "pithos.yaml: empty; want at least a name")
	putFile(t, "name: a\nprocesses: {x: {command: y}}", dir, "pithos.yaml")
	pithos("", "dev", "--registry", "consul://x", dir).requireFails(t, "", "pithos: --registry: "+
		"want embedded, or a URL that begins with etcd:// or etcds://, not \"consul://x\"\n")
}
