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

// What cannot run fails at once with what is wrong, and is not tried again.
func TestBadCommands(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	plain := file("plain", "#!/bin/sh\n", 0o644)
	for name, c := range map[string]struct {
		spec supervisor.Spec
		want string
	}{
		"no such command": {supervisor.Spec{Command: "no-such-command"},
			`command no-such-command: not found in PATH "`},
		"no such file": {supervisor.Spec{Command: "./none", Dir: dir}, "none: no such file"},
		"a folder":     {supervisor.Spec{Command: dir}, "is a directory"},
		"not executable": {supervisor.Spec{Command: plain},
			"not executable, its mode is -rw-r--r--"},
		"not executable in PATH": {supervisor.Spec{Command: "plain", Env: []string{"PATH=" + dir}},
			"not executable"},
		"no interpreter": {supervisor.Spec{Command: file("lost", "#!/no/such/sh\n", 0o755)},
			"interpreter"},
		"no program": {supervisor.Spec{Command: file("text", "hello\n", 0o755)}, "no script"},
		"no dir":     {supervisor.Spec{Command: "sh", Dir: dir + "/none"}, "dir: stat " + dir},
		"dir is a file": {supervisor.Spec{Command: "sh", Dir: plain},
			"dir " + plain + ": not a directory"},
		"too many arguments": {supervisor.Spec{Command: "sh",
			Args: []string{strings.Repeat("x", 1<<20)}}, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Name = "bad"
			r := start(t, supervisor.Options{}, c.spec)
			err := r.Start(r.ctx())
			require.ErrorContains(t, err, "supervisor: bad#0: failed: ")
			require.ErrorContains(t, err, c.want)
			require.Error(t, r.Wait(r.ctx()))
			require.Zero(t, r.status("bad", 0).Restarts)
			require.NoError(t, r.end())
		})
	}
}

func TestBadSpecs(t *testing.T) {
	// with returns a Spec that is right but for what change does.
	with := func(change func(s *supervisor.Spec)) []supervisor.Spec {
		s := sh("a", "true")
		change(&s)
		return []supervisor.Spec{s}
	}
	list := func(specs ...supervisor.Spec) []supervisor.Spec { return specs }
	for name, c := range map[string]struct {
		specs []supervisor.Spec
		want  string
	}{
		"no name": {with(func(s *supervisor.Spec) { s.Name = "" }),
			`process "": name, want 1 to 128 letters`},
		"no command": {with(func(s *supervisor.Spec) { s.Command = "" }),
			`process "a": no command`},
		"zero byte": {with(func(s *supervisor.Spec) { s.Command = "x\x00" }), "a zero byte"},
		"env":       {with(func(s *supervisor.Spec) { s.Env = []string{"Y"} }), `env "Y"`},
		"scale":     {with(func(s *supervisor.Spec) { s.Scale = -2 }), "scale -2, want 1 to"},
		"time": {with(func(s *supervisor.Spec) { s.Stop.Window = -1 }),
			"stop: a time of -1ns"},
		"after": {with(func(s *supervisor.Spec) {
			s.Ready.Window, s.Ready.After = time.Second, time.Minute
		}), "ready after 1m0s, longer than its window, 1s"},
		"log size": {with(func(s *supervisor.Spec) { s.Log.MaxSize = 5 }),
			"log size 5, want 1048576"},
		"mode":   {with(func(s *supervisor.Spec) { s.Restart.Mode = 9 }), "restart mode 9"},
		"limits": {with(func(s *supervisor.Spec) { s.Limits.CPU = -1 }), "none may be below 0"},
		"twice":  {list(sh("a", ""), sh("a", "")), `two processes with the name "a"`},
		"unknown": {list(needing("web", "bd"), sh("cache", ""), sh("db", "")),
			`"web" depends on "bd", which does not exist, there are: db, web, cache`},
		"cycle": {list(needing("a", "b"), needing("b", "c"), needing("c", "a")),
			"a -> b -> c -> a"},
		"on itself": {list(needing("a", "a")), "a -> a"},
		"order": {list(needing("a", "b"), supervisor.Spec{Name: "b", Command: "x", Order: 1}),
			"which starts later"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := supervisor.New(supervisor.Options{}, c.specs...)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func needing(name, other string) supervisor.Spec {
	s := sh(name, "true")
	s.DependsOn = []supervisor.Dependency{{Name: other}}
	return s
}

// What a child is given.
func TestEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "of another")
	t.Setenv("PITHOS_SERVICES", "of another")
	t.Setenv("INHERITED", "yes")
	file := filepath.Join(t.TempDir(), "env")
	spec := once("web", "env >"+file+"; pwd >>"+file+"; cat")
	spec.Env = []string{"A=1", "B=2", "A=3"}
	spec.Services = `{"rpc":{"port":1}}`
	spec.Dir = t.TempDir()
	r := start(t, supervisor.Options{}, spec)
	require.NoError(t, r.Wait(r.ctx()))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	for _, want := range []string{"A=3", "B=2", "INHERITED=yes", "PITHOS_PROCESS=web",
		"PITHOS_INSTANCE=0", `PITHOS_SERVICES={"rpc":{"port":1}}`, spec.Dir} {
		require.Contains(t, lines, want)
	}
	require.NotContains(t, lines, "A=1")
	require.NotContains(t, string(text), "of another")
	require.NotContains(t, string(text), "PITHOS_WARDEN")
}
