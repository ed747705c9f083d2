package supervisor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/supervisor"
)

func itoa(n int) string { return strconv.Itoa(n) }

// R22: a stranger that has taken the pid of a leader which ended is not signalled, neither by the
// stop of what that leader left nor when it is killed.
func TestR22ReusedPid(t *testing.T) {
	mark := mark(t)
	// The leader ends and leaves a process that takes no notice of SIGTERM.
	left := "trap \"\" TERM; sleep " + mark + " & wait; sleep " + mark
	leave := filepath.Join(t.TempDir(), "leave")
	spec := once("web", "setsid sh -c '"+left+"' & while ! test -f "+leave+"; do sleep 0.02; done")
	spec.Stop.Window = 2 * time.Second
	r := start(t, supervisor.Options{}, spec)
	require.NoError(t, r.Start(r.ctx()))
	pid := r.status("web", 0).PID
	require.NoError(t, os.WriteFile(leave, nil, 0o600))
	r.eventually("web", 0, supervisor.Stopping) // it is ended and reaped, its rest not
	stranger := takePid(t, pid)
	if stranger == nil {
		t.Logf("this system does not let us choose pids: %d was not taken", pid)
	}
	r.eventually("web", 0, supervisor.Exited)
	require.Empty(t, marked(mark))
	if stranger != nil {
		require.NoError(t, stranger.Process.Signal(unix.Signal(0)), "the stranger lives")
		require.NoError(t, stranger.Process.Kill())
		_ = stranger.Wait()
	}
}

// takePid returns a process of that pid, or nil where it cannot be had.
func takePid(t *testing.T, pid int) *exec.Cmd {
	for range 20 {
		if os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(itoa(pid-1)), 0o200) != nil {
			return nil
		}
		cmd := exec.Command("sleep", "1000")
		require.NoError(t, cmd.Start())
		if cmd.Process.Pid == pid {
			return cmd
		}
		require.NoError(t, cmd.Process.Kill()) // another was faster
		_ = cmd.Wait()
	}
	return nil
}

// R24: after its window the whole group gets SIGKILL, and so does what has left the group.
func TestR24KillsTheGroup(t *testing.T) {
	mark := mark(t)
	stubborn := as("stubborn", "stubborn", mark)
	stubborn.Ready.Notify = true // when it is stubborn
	group := sh("group", "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep "+mark+" & sleep "+mark+
		"; sleep "+mark+"' & sleep "+mark+" & wait; sleep "+mark)
	stubborn.Stop.Window, group.Stop.Window = 200*time.Millisecond, 200*time.Millisecond
	r := start(t, supervisor.Options{}, stubborn, group)
	require.NoError(t, r.Start(r.ctx()))
	require.Eventually(t, func() bool { return len(marked(mark)) >= 6 }, patience, time.Millisecond)
	require.NoError(t, r.Stop(r.ctx()))
	require.Empty(t, marked(mark))
	s := r.status("stubborn", 0)
	require.Equal(t, "SIGKILL", s.Exit.Signal)
	require.Contains(t, s.Reason, "SIGKILL")
}

// R24: the second interrupt ends at once what the first one would have waited for.
func TestR24SecondInterrupt(t *testing.T) {
	mark := mark(t)
	stubborn := as("stubborn", "stubborn", mark)
	stubborn.Ready.Notify = true // when it is stubborn
	stubborn.Stop.Window = time.Hour
	s := superviseSpecs(t, stubborn)
	require.Equal(t, "started <nil>", s.line())
	s.interrupt()
	require.Never(t, func() bool { return len(marked(mark)) == 0 }, 100*time.Millisecond,
		10*time.Millisecond)
	require.NoError(t, s.cmd.Process.Signal(unix.SIGTERM))
	require.Equal(t, "ended <nil>", s.line())
	require.Empty(t, marked(mark))
}

// R25: a crash loop of a real process shows its last exit and its last lines.
func TestR25CrashLoopTellsWhy(t *testing.T) {
	spec := sh("web", "echo starting; echo 'no port' >&2; exit 3")
	spec.Restart.Delay = time.Millisecond
	spec.Ready.After = time.Minute
	r := start(t, supervisor.Options{}, spec)
	require.ErrorContains(t, r.Start(r.ctx()), "web#0: crash-loop: exit status 3")
	s := r.status("web", 0)
	require.Equal(t, supervisor.CrashLoop, s.State)
	require.Equal(t, 3, s.Exit.Code)
	require.Equal(t, 4, s.Restarts)
	require.Len(t, s.Tail, 10)
	last := []string{s.Tail[8].Text, s.Tail[9].Text}
	require.ElementsMatch(t, []string{"starting", "no port"}, last)
	require.False(t, s.Retry.IsZero())
}

// R27: while a process is reloaded again and again, one who asks always finds somebody ready.
func TestR27NoGap(t *testing.T) {
	dir := t.TempDir()
	web := sh("web", `trap 'rm -f '"$PITHOS_DIR"'/$$; exit 0' TERM; : >"$PITHOS_DIR"/$$; `+
		`sleep 1000 & wait`)
	web.Env = []string{"PITHOS_DIR=" + dir}
	web.Scale = 2
	web.Ready.Probe = supervisor.ExecProbe("sh", "-c", `test $(ls "$PITHOS_DIR" | wc -l) -ge 2`)
	web.Ready.Interval = 5 * time.Millisecond
	r := start(t, supervisor.Options{}, web)
	require.NoError(t, r.Start(r.ctx()))
	stop, fewest := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 100
		for {
			select {
			case <-stop:
				fewest <- n
				return
			default:
				files, _ := filepath.Glob(dir + "/*")
				n = min(n, len(files))
			}
		}
	}()
	for range 3 {
		require.NoError(t, r.Reload(r.ctx(), "web"))
	}
	close(stop)
	require.GreaterOrEqual(t, <-fewest, 1)
}

// What processes use is in the snapshot, of all that they started.
func TestUsage(t *testing.T) {
	r := start(t, supervisor.Options{}, sh("busy", "sh -c 'while :; do :; done' & wait"))
	require.NoError(t, r.Start(r.ctx()))
	require.Eventually(t, func() bool { return r.status("busy", 0).CPU > 50*time.Millisecond },
		patience, 10*time.Millisecond)
	s := r.status("busy", 0)
	require.Greater(t, s.Memory, int64(100<<10))
	require.Equal(t, 2, s.Threads)
}

// A probe that takes too long is killed with all that it started, and one that is not there is
// told.
func TestExecProbeEnds(t *testing.T) {
	mark := mark(t)
	web := sh("web", "exec sleep 1000")
	web.Ready.Probe = supervisor.ExecProbe("sh", "-c", "setsid sleep "+mark+" & sleep "+mark)
	web.Ready.Timeout = 50 * time.Millisecond
	lost := sh("lost", "exec sleep 1000")
	lost.Ready.Probe = supervisor.ExecProbe("no-such-command")
	lost.Ready.Window = 2 * time.Second
	lost.Restart.Mode = supervisor.RestartNever
	r := start(t, supervisor.Options{}, web, lost)
	require.ErrorContains(t, r.Start(r.ctx(), "lost"), "no-such-command: not found")
	require.NoError(t, r.end())
	require.Empty(t, marked(mark))
}
