package supervisor_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/supervisor"
)

func notifying(name string, messages ...string) supervisor.Spec {
	s := as(name, "notify", messages...)
	s.Ready.Notify = true
	return s
}

func TestNotifyReadyAndStatus(t *testing.T) {
	r := start(t, supervisor.Options{},
		notifying("web", "STATUS=warming up\nX_UNKNOWN=1", "wait", "READY=1\nSTATUS=serving"))
	require.Eventually(t, func() bool {
		s := r.status("web", 0)
		return s.Text == "warming up" && s.PID != 0
	}, patience, time.Millisecond)
	s := r.status("web", 0)
	require.Equal(t, supervisor.Starting, s.State)
	require.NoError(t, unix.Kill(s.PID, unix.SIGUSR1))
	require.NoError(t, r.Start(r.ctx()))
	require.Equal(t, "serving", r.status("web", 0).Text)
}

func TestNotifyLate(t *testing.T) {
	web := notifying("web")
	web.Ready.Window = 50 * time.Millisecond
	web.Restart.Mode = supervisor.RestartNever
	r := start(t, supervisor.Options{}, web)
	err := r.Start(r.ctx())
	require.ErrorContains(t, err, "web#0: failed: not ready within 50ms")
}

func TestNotifyWatchdog(t *testing.T) {
	web := notifying("web", "READY=1", "WATCHDOG=1")
	web.Ready.Watchdog = 100 * time.Millisecond
	web.Restart.Mode = supervisor.RestartNever
	r := start(t, supervisor.Options{}, web)
	require.ErrorContains(t, r.Wait(r.ctx()), "no WATCHDOG=1 within 100ms")
	require.Equal(t, "SIGKILL", r.status("web", 0).Exit.Signal)

	trigger := notifying("trigger", "READY=1", "wait", "WATCHDOG=trigger")
	trigger.Restart.Mode = supervisor.RestartNever
	require.NoError(t, r.Apply(r.ctx(), trigger))
	require.NoError(t, r.Start(r.ctx(), "trigger"))
	require.NoError(t, unix.Kill(r.status("trigger", 0).PID, unix.SIGUSR1))
	require.Equal(t, "WATCHDOG=trigger", r.eventually("trigger", 0, supervisor.Failed).Exit.Reason)
}

func TestNotifyStopping(t *testing.T) {
	web := notifying("web", "READY=1", "wait", "STOPPING=1")
	web.Stop.Window = 100 * time.Millisecond
	web.Restart.Mode = supervisor.RestartNever
	r := start(t, supervisor.Options{}, web)
	require.NoError(t, r.Start(r.ctx()))
	require.NoError(t, unix.Kill(r.status("web", 0).PID, unix.SIGUSR1))
	s := r.eventually("web", 0, supervisor.Failed) // it said so, and did not
	require.Equal(t, "SIGKILL", s.Exit.Signal)
}

// The leader of a daemon ends when it has started the real process, which it named.
func TestNotifyMainPID(t *testing.T) {
	inner := notifying("daemon", "MAINPID=ITSELF\nREADY=1")
	leave := filepath.Join(t.TempDir(), "leave")
	daemon := sh("daemon", "setsid "+inner.Command+" '"+inner.Args[0]+"' & "+
		"while ! test -f "+leave+"; do sleep 0.02; done")
	daemon.Env, daemon.Ready = inner.Env, inner.Ready
	daemon.Restart.Mode = supervisor.RestartNever
	r := start(t, supervisor.Options{}, daemon)
	require.NoError(t, r.Start(r.ctx()))
	leader := r.status("daemon", 0).PID
	require.NoError(t, os.WriteFile(leave, nil, 0o600))
	require.Eventually(t, func() bool { return r.status("daemon", 0).PID != leader }, patience,
		time.Millisecond)
	s := r.status("daemon", 0)
	require.Equal(t, supervisor.Ready, s.State)
	require.NoError(t, unix.Kill(s.PID, unix.SIGKILL))
	s = r.eventually("daemon", 0, supervisor.Failed)
	require.Equal(t, "killed by SIGKILL", s.Exit.Reason)

	require.NoError(t, os.Remove(leave))
	require.NoError(t, r.Start(r.ctx()))
	require.NoError(t, r.Stop(r.ctx()))
	require.Equal(t, "SIGTERM", r.status("daemon", 0).Exit.Signal, "it needs no SIGKILL")
	require.Equal(t, supervisor.Stopped, r.status("daemon", 0).State)
}
