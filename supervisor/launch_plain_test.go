package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The launcher of other systems works on this one, too: start, crash, stop, SIGKILL after the
// window.
func TestPlainLauncher(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	sh := func(name, script string) Spec {
		return Spec{Name: name, Command: "sh", Args: []string{"-c", script}}
	}
	web, crash := sh("web", "echo hello; exec sleep 1000"), sh("crash", "exit 3")
	web.Log.File, web.Limits.CPU = file, 1
	crash.Restart.Mode = RestartNever
	web.Stop.Window = time.Minute // no SIGKILL
	deaf := filepath.Join(t.TempDir(), "deaf")
	stubborn := sh("stubborn", "trap '' TERM; : >"+deaf+"; while :; do sleep 0.01; done")
	stubborn.Stop.Window = 100 * time.Millisecond
	stubborn.Ready.Interval = 5 * time.Millisecond
	stubborn.Ready.Probe = func(context.Context) error { _, err := os.Stat(deaf); return err }
	s, err := New(Options{launcher: &host{launcher: newPlainLauncher()}}, web, crash, stubborn)
	require.NoError(t, err)
	events := s.Subscribe(Filter{Events: true})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	require.NoError(t, s.Start(context.Background(), "web", "stubborn"))
	require.Eventually(t, func() bool {
		err := s.Start(context.Background(), "crash")
		return err != nil && err.Error() == "supervisor: crash#0: failed: exit status 3"
	}, time.Minute, time.Millisecond)
	require.NoError(t, s.Restart(context.Background(), "web"))
	cancel()
	require.NoError(t, <-ended)
	procs, err := s.Snapshot(context.Background())
	require.NoError(t, err)
	exits := make(map[string]string)
	for _, p := range procs {
		require.Equal(t, Stopped, p.State)
		exits[p.Name] = p.Instances[0].Exit.Reason
	}
	require.Equal(t, map[string]string{"web": "killed by SIGTERM", "crash": "exit status 3",
		"stubborn": "killed by SIGKILL"}, exits)
	warnings := 0
	for m := range events.C() {
		if m.Event.Warning == "runs without limits: they need Linux" {
			warnings++
		}
	}
	require.Equal(t, 2, warnings, "one a start of web")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), "web#0 out hello")
}
