package supervisor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/supervisor"
)

// writableCgroup returns a cgroup v2 made for the test, or "" where none can be made.
func writableCgroup(t *testing.T) string {
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			dir, err := os.MkdirTemp(f[1], "pithos-test-")
			if err == nil {
				t.Cleanup(func() { require.NoError(t, os.Remove(dir)) })
				return dir
			}
		}
	}
	return ""
}

// Where a cgroup v2 can be written each run has its own, and it is gone afterwards; where limits
// cannot be set a warning says why, and the process runs.
func TestCgroups(t *testing.T) {
	web := sh("web", "setsid sleep 1000 & exec sleep 1000")
	web.Limits = supervisor.Limits{Memory: 1 << 28, CPU: 0.5, Processes: 20}
	free := sh("free", "setsid sleep 1000 & exec sleep 1000")
	o := supervisor.Options{Cgroup: writableCgroup(t)}
	sup, err := supervisor.New(o, web, free)
	require.NoError(t, err)
	events := sup.Subscribe(supervisor.Filter{Events: true})
	r := run(t, sup)
	require.NoError(t, r.Start(r.ctx()))
	t.Logf("cgroup %q", o.Cgroup)
	folders := func(process string) string {
		s := r.status(process, 0)
		text, err := os.ReadFile(filepath.Join("/proc", itoa(s.PID), "cgroup"))
		require.NoError(t, err)
		return string(text)
	}
	switch limited := folders("web"); {
	case strings.Contains(limited, "/pithos-test-"):
		_, path, _ := strings.Cut(limited, "0::")
		path = strings.TrimSpace(path)
		root, _, _ := strings.Cut(o.Cgroup, "/pithos-test-")
		text, err := os.ReadFile(filepath.Join(root, path, "memory.max"))
		require.NoError(t, err)
		require.Equal(t, "268435456\n", string(text))
	default:
		require.Contains(t, warning(t, events), "runs without limits: ")
	}
	if o.Cgroup != "" {
		require.Contains(t, folders("free"), "/pithos-test-")
	}
	require.NoError(t, r.end())
	if o.Cgroup != "" {
		left, err := filepath.Glob(filepath.Join(o.Cgroup, "pithos-*"))
		require.NoError(t, err)
		for _, l := range left {
			require.Equal(t, "pithos-leaf", filepath.Base(l), "the supervisor is there")
		}
	}
}

// R23: a supervisor with cgroups that is killed leaves neither a process nor a cgroup.
func TestR23KilledWithCgroups(t *testing.T) {
	cgroup := writableCgroup(t)
	if cgroup == "" {
		cgroup = "none"
	}
	t.Logf("cgroup %q", cgroup)
	t.Setenv("CGROUP", cgroup)
	mark := mark(t)
	s := superviseSpecs(t, nastySpecs(mark)...)
	require.Equal(t, "started <nil>", s.line())
	s.kill()
	require.Eventually(t, func() bool {
		folders, _ := filepath.Glob(filepath.Join(cgroup, "pithos-*"))
		return len(marked(mark)) == 0 && len(folders) == 0
	}, patience, 5*time.Millisecond)
}

func TestBadCgroup(t *testing.T) {
	sup, err := supervisor.New(supervisor.Options{Cgroup: t.TempDir()})
	require.NoError(t, err)
	require.ErrorContains(t, sup.Run(t.Context()), "not of a cgroup v2")
}
