package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/wire"
)

// hubProcess is a hub in a process of its own.
type hubProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// startHub starts a hub and reads the lines that say where it listens.
func startHub(t *testing.T, env []string, listening []string, args ...string) *hubProcess {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	h := &hubProcess{t: t, cmd: process(t, append([]string{"hub"}, args...)...)}
	h.cmd.Env = append(os.Environ(), env...)
	h.cmd.Stderr = &h.stderr
	out, err := h.cmd.StdoutPipe()
	require.NoError(t, err)
	h.stdout = bufio.NewReader(out)
	require.NoError(t, h.cmd.Start())
	stop := context.AfterFunc(ctx, func() { h.cmd.Process.Kill() })
	t.Cleanup(func() {
		stop()
		cancel()
		if h.cmd.ProcessState == nil {
			h.cmd.Process.Kill()
			h.cmd.Wait()
		}
	})
	for _, want := range listening {
		line, err := h.stdout.ReadString('\n')
		require.NoError(t, err, "%s", &h.stderr)
		require.Equal(t, "listening at "+want+"\n", line)
	}
	return h
}

// stop sends signals and returns the exit code.
func (h *hubProcess) stop(signals ...os.Signal) int {
	h.t.Helper()
	for _, s := range signals {
		require.NoError(h.t, h.cmd.Process.Signal(s))
	}
	_, err := io.Copy(io.Discard, h.stdout)
	require.NoError(h.t, err)
	_ = h.cmd.Wait()
	return h.cmd.ProcessState.ExitCode()
}

func requireGone(t *testing.T, path string) {
	t.Helper()
	_, err := os.Lstat(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestHub(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hub.sock")
			h := startHub(t, nil, []string{path}, "--socket", path, "--busy-poll", "0")
			st, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o600), st.Mode().Perm())
			r := pithos("", "ping", "--socket", path, "-c", "1")
			require.Zero(t, r.code, r.stderr)
			require.Zero(t, h.stop(s))
			requireGone(t, path)
			require.Contains(t, h.stderr.String(), "level=INFO msg=stopping signal="+s.String())
		})
	}
}

// TestHubPandora listens at Pandora's path and at its own, and routes there.
func TestHubPandora(t *testing.T) {
	dir := t.TempDir()
	path, own := filepath.Join(dir, "pandorajs_pandora_msg_hub.sock"), filepath.Join(dir, "own")
	env := []string{"PANDORA_TMP_DIR=" + dir, socketVariable + "=" + own}
	h := startHub(t, env, []string{path, own}, "--pandora", "--log", "json", "--verbose")
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer c.Close()
	body := `{"action":"PANDORA_HUB_ACTION_ONLINE_UP","data":` +
		`{"host":{"clientId":"a"},"needReply":true}}`
	_, err = c.Write(wire.Frame{Header: wire.Header{ID: 1}, Body: []byte(body)}.AppendTo(nil))
	require.NoError(t, err)
	b := make([]byte, 1024)
	n, err := c.Read(b)
	require.NoError(t, err)
	f, _, err := wire.ParseFrame(b[:n], 1024)
	require.NoError(t, err)
	require.JSONEq(t, `{"action":"response_callback_1","data":{"success":true}}`, string(f.Body))

	require.Zero(t, h.stop(syscall.SIGTERM))
	requireGone(t, path)
	requireGone(t, own)
	for line := range bytes.Lines(h.stderr.Bytes()) {
		require.True(t, json.Valid(line), "log line %q", line)
	}
}

// R16: the hub is found without naming a socket, in the folder of its user. A second one may be
// there for Pandora's clients of another folder.
func TestR16HubUsualPlace(t *testing.T) {
	run, tmp := t.TempDir(), t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", run)
	t.Setenv("PANDORA_TMP_DIR", tmp)
	t.Setenv(socketVariable, "")
	path := filepath.Join(run, "pithos", "hub.sock")
	node := filepath.Join(tmp, "pandorajs_pandora_msg_hub.sock")
	first := startHub(t, nil, []string{path})
	second := startHub(t, nil, []string{node}, "--pandora")
	require.Zero(t, pithos("", "ping", "-c", "1").code)
	require.Zero(t, pithos("", "ping", "-c", "1", "--socket", node).code)
	require.Zero(t, second.stop(syscall.SIGTERM))
	require.Contains(t, second.stderr.String(), "another hub is at the usual socket")
	require.Zero(t, first.stop(syscall.SIGTERM))
}

// TestHubAbstract listens under a name that is no file.
func TestHubAbstract(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // there are none
	}
	name := fmt.Sprintf("@pithos-test-%d", os.Getpid())
	h := startHub(t, nil, []string{name}, "--socket", name)
	require.Zero(t, pithos("", "ping", "-c", "1", "--socket", name).code)
	require.Zero(t, h.stop(syscall.SIGTERM))
}

// TestHubInUse starts a second hub where one is.
func TestHubInUse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hub.sock")
	first := startHub(t, nil, []string{path}, "--socket", path)
	second := startHub(t, nil, nil, "--socket", path)
	require.Equal(t, 1, second.stop())
	require.Equal(t, fmt.Sprintf("pithos: transport: listen %s: transport: address in use by a "+
		"live server\n", path), second.stderr.String())
	require.Zero(t, pithos("", "ping", "--socket", path, "-c", "1").code, "the first one lives")

	node := filepath.Join(dir, "pandorajs_pandora_msg_hub.sock")
	third := startHub(t, []string{"PANDORA_TMP_DIR=" + dir}, []string{node}, "--pandora",
		"--socket", path)
	require.Equal(t, 1, third.stop(), "a socket that was asked for has to be had")
	requireGone(t, node)
	require.Zero(t, first.stop(syscall.SIGTERM))
}

// TestHubRestart starts a hub where one was killed.
func TestHubRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	h := startHub(t, nil, []string{path}, "--socket", path)
	require.Equal(t, -1, h.stop(os.Kill))
	h = startHub(t, nil, []string{path}, "--socket", path)
	require.Zero(t, pithos("", "ping", "--socket", path, "-c", "1").code)
	require.Zero(t, h.stop(syscall.SIGTERM))
}

// TestHubPandoraFile starts a hub where a file lies at Pandora's path: it is removed, but nowhere
// else, and nothing but a file.
func TestHubPandoraFile(t *testing.T) {
	dir := t.TempDir()
	path, own := filepath.Join(dir, "pandorajs_pandora_msg_hub.sock"), filepath.Join(dir, "own")
	env := []string{"PANDORA_TMP_DIR=" + dir, socketVariable + "=" + own}
	file := filepath.Join(dir, "file")
	for _, put := range []func() error{
		func() error { return os.WriteFile(path, []byte("x"), 0o600) },
		func() error { return os.Symlink("nowhere", path) },
		func() error {
			return errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Symlink(file, path))
		},
	} {
		require.NoError(t, put())
		h := startHub(t, env, []string{path, own}, "--pandora")
		require.Zero(t, pithos("", "ping", "--socket", path, "-c", "1").code)
		require.Zero(t, h.stop(syscall.SIGTERM))
		require.Contains(t, h.stderr.String(), "removed a file from where the socket has to be")
	}
	require.FileExists(t, file)

	require.NoError(t, os.WriteFile(own, []byte("x"), 0o600))
	h := startHub(t, env, []string{path}, "--pandora")
	require.Equal(t, 1, h.stop())
	require.Contains(t, h.stderr.String(), "exists and is not a socket")
	require.FileExists(t, own)

	for _, at := range []string{path, filepath.Join(dir, "folder")} { // itself, and behind a link
		require.NoError(t, os.Mkdir(at, 0o700))
		if at != path {
			require.NoError(t, os.Symlink(at, path))
		}
		h = startHub(t, env, nil, "--pandora")
		require.Equal(t, 1, h.stop())
		require.NoError(t, os.Remove(path), "it has stayed")
	}
}

// TestHubPandoraAfterAnother starts a hub where another one is about to end, and where one stays.
func TestHubPandoraAfterAnother(t *testing.T) {
	dir := t.TempDir()
	path, own := filepath.Join(dir, "pandorajs_pandora_msg_hub.sock"), filepath.Join(dir, "own")
	env := []string{"PANDORA_TMP_DIR=" + dir, socketVariable + "=" + own}
	other, err := net.Listen("unix", path)
	require.NoError(t, err)
	h := startHub(t, env, nil, "--pandora")
	require.Equal(t, 1, h.stop())
	require.Contains(t, h.stderr.String(), "address in use by a live server")
	time.AfterFunc(dying/20, func() { other.Close() })
	h = startHub(t, env, []string{path, own}, "--pandora")
	require.Zero(t, h.stop(syscall.SIGTERM))
}

// TestHubWithoutUsualPlace starts a hub where its usual place cannot be: Pandora's clients do not
// need it, others do.
func TestHubWithoutUsualPlace(t *testing.T) {
	dir := t.TempDir()
	node := filepath.Join(dir, "pandorajs_pandora_msg_hub.sock")
	env := []string{"XDG_RUNTIME_DIR=" + filepath.Join(dir, "none"), "PANDORA_TMP_DIR=" + dir,
		socketVariable + "="}
	h := startHub(t, env, []string{node}, "--pandora")
	require.Zero(t, pithos("", "ping", "--socket", node, "-c", "1").code)
	require.Zero(t, h.stop(syscall.SIGTERM))
	require.Contains(t, h.stderr.String(), "the usual socket cannot be had")
	h = startHub(t, env, nil)
	require.Equal(t, 1, h.stop())
	require.Contains(t, h.stderr.String(), "no such file or directory")
}

// TestHubSignalsTogether stops a hub as timeout(1) does, by two signals at once.
func TestHubSignalsTogether(t *testing.T) {
	f := hubFlags{grace: time.Second, balancer: "round-robin", policy: "block", logs: "text",
		maxConns: 4, limits: hub.Limits{MaxBody: 1, MaxBatch: 1, MaxOutbox: 1, MaxPending: 1,
			MaxPublishing: 1, MaxQueue: 1, MaxRoutes: 1, MaxWatches: 1, MaxTotal: 1}}
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGTERM
	signals <- syscall.SIGTERM
	s := &socketFlag{path: filepath.Join(t.TempDir(), "hub.sock")}
	require.NoError(t, f.run(s, io.Discard, io.Discard, signals))
}

// TestHubStuckReader stops a hub of which a peer does not read what waits for it: within the time
// that there is by default it ends nevertheless.
func TestHubStuckReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	h := startHub(t, nil, []string{path}, "--socket", path)
	stuck, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer stuck.Close()
	body := `{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{"broadcast":true,"data":"` +
		strings.Repeat("x", 4<<20) + `"}}`
	_, err = stuck.Write(wire.Frame{Header: wire.Header{ID: 1}, Body: []byte(body)}.AppendTo(nil))
	require.NoError(t, err)
	_, err = io.ReadFull(stuck, make([]byte, 1)) // it comes
	require.NoError(t, err)
	began := time.Now()
	require.Zero(t, h.stop(syscall.SIGTERM))
	require.Less(t, time.Since(began), 40*time.Second, "2 s, where nothing disturbs")
	require.Contains(t, h.stderr.String(), "not everything was finished")
}

// TestHubForced stops a hub that waits for a peer which does not read: the second signal ends it.
func TestHubForced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	numbers := path + ".metrics"
	h := startHub(t, nil, []string{path}, "--socket", path, "--grace", "1h", "--metrics", numbers)
	await(t, func() bool { _, err := os.Stat(numbers); return err == nil })
	var conns [2]net.Conn
	for i := range conns {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		conns[i] = c
	}
	body := `{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{"broadcast":true,"data":"` +
		string(bytes.Repeat([]byte("x"), 4<<20)) + `"}}`
	_, err := conns[0].Write(wire.Frame{Header: wire.Header{ID: 1},
		Body: []byte(body)}.AppendTo(nil))
	require.NoError(t, err)
	require.NoError(t, conns[1].SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = io.ReadFull(conns[1], make([]byte, 100)) // and then nobody reads on
	require.NoError(t, err)

	require.NoError(t, h.cmd.Process.Signal(os.Interrupt))
	await(t, func() bool { // no new ones: it is stopping
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.cmd.Wait()
	}()
	await(t, func() bool { // one that comes at once with the first is the same
		_ = h.cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
			return true
		case <-time.After(20 * time.Millisecond):
			return false
		}
	})
	require.Equal(t, 1, h.cmd.ProcessState.ExitCode())
	require.Contains(t, h.stderr.String(), "pithos: forced to stop by a second signal: interrupt\n")
}

// await waits until cond holds.
func await(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}

func TestHubFlags(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "hub.sock")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--log", "xml"}, `--log "xml": want text or json`},
		{[]string{"--policy", "wait"}, `--policy: hub: unknown policy "wait", known are ` +
			"block, drop-oldest, drop-newest, disconnect"},
		{[]string{"--balancer", "best"}, `--balancer: balancer: unknown policy "best", known are ` +
			strings.Join(balancer.Names(), ", ")},
		{[]string{"--max-queue", "0"}, "--max-queue 0: want more than 0"},
		{[]string{"--max-total", "-1"}, "--max-total -1: want more than 0"},
		{[]string{"--max-body", "0"}, "--max-body 0: want more than 0"},
		{[]string{"--max-body", "4293918720"}, "--max-body 4293918720: want at most 4293918719"},
		{[]string{"--max-routes", "0"}, "--max-routes 0: want more than 0"},
		{[]string{"--max-watches", "0"}, "--max-watches 0: want more than 0"},
		{[]string{"--max-publishing", "0"}, "--max-publishing 0: want more than 0"},
		{[]string{"--max-outbox", "-5"}, "--max-outbox -5: want more than 0"},
		{[]string{"--busy-poll", "-1s"}, "--busy-poll -1s: want 0 or more"},
		{[]string{"--grace", "-1s"}, "--grace -1s: want 0 or more"},
		{[]string{"--socket", path}, "transport: listen " + path + ": open " + filepath.Dir(path) +
			": no such file or directory"},
		{[]string{"--socket", filepath.Dir(filepath.Dir(path))}, "transport: listen " +
			filepath.Dir(filepath.Dir(path)) + ": bind 001: exists and is not a socket"},
	} {
		pithos("", append([]string{"hub"}, c.args...)...).requireFails(t, "",
			"pithos: "+c.want+"\n")
	}
}
