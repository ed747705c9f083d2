package supervisor_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/supervisor"
)

// A mark is an argument that only the processes of one test have.
func mark(t testing.TB) string {
	return fmt.Sprintf("1000.%d%d", os.Getpid(), time.Now().UnixNano()%1e9)
}

// marked returns the living processes with an argument that ends in the mark.
func marked(mark string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(text, []byte(mark)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// A supervising is a Supervisor in a process of its own.
type supervising struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func superviseSpecs(t testing.TB, specs ...supervisor.Spec) *supervising {
	t.Helper()
	text, err := json.Marshal(specs)
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleEnv+"=supervise", "SPECS="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	s := &supervising{t, cmd, bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return s
}

func (s *supervising) line() string {
	s.t.Helper()
	require.True(s.t, s.lines.Scan(), "the supervisor ended")
	return s.lines.Text()
}

// interrupt tells it to end, and waits until it has heard.
func (s *supervising) interrupt() {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(unix.SIGTERM))
	require.Equal(s.t, "interrupted", s.line())
}

func (s *supervising) kill() {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Kill())
	_ = s.cmd.Wait()
}

// nasty are scripts that leave processes in all ways there are. MARK is replaced.
var nasty = map[string]string{
	"child":        "exec sleep MARK",
	"under sh":     "sleep MARK; true",
	"fork":         "sleep MARK & sleep MARK & wait",
	"double fork":  "(sleep MARK & sleep MARK &) ; exec sleep MARK",
	"setsid":       "setsid sleep MARK & exec sleep MARK",
	"daemon":       "(setsid sh -c '(setsid sleep MARK &) ; sleep MARK' &) ; exec sleep MARK",
	"no env":       "env -i setsid sleep MARK & (env -i sleep MARK &) ; exec sleep MARK",
	"no signal":    "trap '' TERM INT HUP; sleep MARK & sleep MARK; sleep MARK",
	"no group":     "setsid setsid sh -c 'sleep MARK & exec sleep MARK' & exec sleep MARK",
	"stopped":      "sleep MARK & kill -STOP $!; exec sleep MARK",
	"orphans only": "(setsid sleep MARK &) ; (sleep MARK &) ; exec sleep MARK",
}

// nastySpecs are those scripts as processes.
func nastySpecs(mark string) []supervisor.Spec {
	var specs []supervisor.Spec
	for name, script := range nasty {
		spec := sh(strings.ReplaceAll(name, " ", "-"), strings.ReplaceAll(script, "MARK", mark))
		spec.Stop.Window = 200 * time.Millisecond
		specs = append(specs, spec)
	}
	return specs
}

// R23: when the supervisor is killed with -9 nothing is left after 1 s (here 20), whatever the
// children did: fork, setsid, fork twice, run under sh, drop their environment.
func TestR23SupervisorKilled(t *testing.T) {
	mark := mark(t)
	s := superviseSpecs(t, nastySpecs(mark)...)
	require.Equal(t, "started <nil>", s.line())
	require.Eventually(t, func() bool { return len(marked(mark)) > 20 }, patience,
		5*time.Millisecond, "all of them run")
	killed := time.Now()
	s.kill()
	require.Eventually(t, func() bool { return len(marked(mark)) == 0 }, 20*time.Second,
		5*time.Millisecond, "nothing is left")
	t.Logf("nothing was left after %v", time.Since(killed))
}

// R23: the same while they are being started, at any moment.
func TestR23KilledWhileStarting(t *testing.T) {
	for i := range 10 {
		mark := mark(t)
		s := superviseSpecs(t, nastySpecs(mark)...)
		time.Sleep(time.Duration(i) * 10 * time.Millisecond) // any moment is right
		s.kill()
		require.Eventually(t, func() bool { return len(marked(mark)) == 0 }, 20*time.Second,
			5*time.Millisecond, "nothing is left")
	}
}

// R23: a stop leaves nothing either.
func TestR23Stopped(t *testing.T) {
	mark := mark(t)
	s := superviseSpecs(t, nastySpecs(mark)...)
	require.Equal(t, "started <nil>", s.line())
	s.interrupt()
	require.Equal(t, "ended <nil>", s.line())
	require.Empty(t, marked(mark))
}

// When the warden is killed all that it had is ended, and started again by a new one.
func TestWardenKilled(t *testing.T) {
	mark := mark(t)
	var specs []supervisor.Spec
	for _, s := range nastySpecs(mark) {
		if s.Name != "no-env" { // says who it is by nothing when its warden is gone
			specs = append(specs, s)
		}
	}
	r := start(t, supervisor.Options{}, specs...)
	require.NoError(t, r.Start(r.ctx()))
	old := marked(mark)
	e, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.status("child", 0).PID))
	require.NoError(t, err)
	warden, err := strconv.Atoi(strings.Fields(string(e))[3])
	require.NoError(t, err)
	require.NoError(t, unix.Kill(warden, unix.SIGKILL))
	require.Eventually(t, func() bool { return r.status("child", 0).Restarts == 1 }, patience,
		5*time.Millisecond)
	for _, s := range specs {
		r.eventually(s.Name, 0, supervisor.Ready)
	}
	for _, pid := range old {
		require.NotContains(t, marked(mark), pid)
	}
	require.NoError(t, r.end())
	require.Empty(t, marked(mark))
}
