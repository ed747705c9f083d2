package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// benchmark runs the verb alone, without the root.
func benchmark(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := newBench()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	return out.String(), err
}

func TestBenchList(t *testing.T) {
	out, err := benchmark("--list")
	require.NoError(t, err)
	for _, name := range []string{"  pithos ", "  plain ", "  latency ", "  body-1m "} {
		require.Contains(t, out, name)
	}
}

// TestBenchAdds runs one scenario after the other into one file.
func TestBenchAdds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.json")
	run := func(scenario string) string {
		out, err := benchmark("--json", file, "--add", "--rounds", "1", "--duration", "1ms", "-q",
			"--row", "plain", "--scenario", scenario)
		require.NoError(t, err)
		return out
	}
	require.NotContains(t, run("latency"), "\nbody-64k: ")
	both := run("body-64k")
	require.Contains(t, both, "\nlatency: ")
	require.Contains(t, both, "\nbody-64k: ")
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	_, err := benchmark("--json", file, "--add", "--row", "plain", "--scenario", "latency")
	require.ErrorContains(t, err, "--add: "+file)
}

// TestBenchLeavesFile has a run that comes to nothing, over the figures of an earlier one.
func TestBenchLeavesFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.json")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	_, err := benchmark("--json", file, "--row", "nobody")
	require.Error(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
}

func TestBenchRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no rounds", []string{"--rounds", "0"}, "--rounds 0: want 1 or more"},
		{"no time", []string{"--duration", "0s"}, "--duration 0s: want more than 0"},
		{"no peers", []string{"--peers", "0"}, "--peers 0: want 1 or more"},
		{"negative busy-poll", []string{"--busy-poll", "-1us"}, "--busy-poll -1µs: want 0 or more"},
		{"unknown row", []string{"--row", "nobody"}, `unknown name "nobody", there are: `},
		{"unknown scenario", []string{"--scenario", "x"}, `unknown name "x", there are: latency, `},
		{"add to nothing", []string{"--add"}, "--add: to what?"},
		{"bad path", []string{"--json", file + "/x"}, "not a directory"},
		{"no folder", []string{"--profiles", file}, "not a folder"},
		{"argument", []string{"more"}, "unknown command"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := benchmark(c.args...)
			require.ErrorContains(t, err, c.want)
		})
	}
}
