package supervisor_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/supervisor"
)

// patience is how long a test waits for what takes milliseconds.
const patience = 20 * time.Second

// sh is a Spec of a script.
func sh(name, script string) supervisor.Spec {
	return supervisor.Spec{Name: name, Command: "sh", Args: []string{"-c", script}}
}

// A running is a Supervisor whose Run runs.
type running struct {
	*supervisor.Supervisor
	t      testing.TB
	cancel context.CancelFunc
	ended  chan error
}

// start runs a Supervisor of specs until the test ends.
func start(t testing.TB, o supervisor.Options, specs ...supervisor.Spec) *running {
	t.Helper()
	s, err := supervisor.New(o, specs...)
	require.NoError(t, err)
	return run(t, s)
}

// run lets s run until the test ends.
func run(t testing.TB, s *supervisor.Supervisor) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{s, t, cancel, make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if r.ended != nil {
			<-r.ended
		}
	})
	return r
}

// end stops all and returns what Run does.
func (r *running) end() error {
	r.cancel()
	err := <-r.ended
	r.ended = nil
	return err
}

func (r *running) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// status returns that of one instance.
func (r *running) status(name string, index int) supervisor.Status {
	r.t.Helper()
	procs, err := r.Snapshot(r.ctx())
	require.NoError(r.t, err)
	for _, p := range procs {
		for _, i := range p.Instances {
			if p.Name == name && i.Index == index {
				return i
			}
		}
	}
	return supervisor.Status{State: -1}
}

// eventually waits until the instance is in the state.
func (r *running) eventually(name string, index int, state supervisor.State) supervisor.Status {
	r.t.Helper()
	var s supervisor.Status
	require.Eventually(r.t, func() bool {
		s = r.status(name, index)
		return s.State == state
	}, patience, 5*time.Millisecond, "%s#%d becomes %v", name, index, state)
	return s
}

func TestStartAndStop(t *testing.T) {
	r := start(t, supervisor.Options{}, sh("web", "exec sleep 1000"))
	require.NoError(t, r.Start(r.ctx()))
	s := r.status("web", 0)
	require.Equal(t, supervisor.Ready, s.State)
	require.NotZero(t, s.PID)
	require.NoError(t, r.Stop(r.ctx(), "web"))
	s = r.status("web", 0)
	require.Equal(t, supervisor.Stopped, s.State)
	require.Equal(t, "SIGTERM", s.Exit.Signal)
	require.NoError(t, r.Start(r.ctx(), "web"))
	require.NoError(t, r.Restart(r.ctx(), "web"))
	require.Equal(t, supervisor.Ready, r.status("web", 0).State)
	require.NoError(t, r.end())
}

// once is a Spec of a script that runs once.
func once(name, script string) supervisor.Spec {
	s := sh(name, script)
	s.Restart.Mode = supervisor.RestartNever
	return s
}
