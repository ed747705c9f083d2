package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/supervisor"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// commandName is the name under which the test binary is the command itself, for tests that need a
// process: whatever the command starts of itself is the command, too.
const commandName = "pithos"

func TestMain(m *testing.M) {
	supervisor.Warden()
	if self, err := os.Executable(); err == nil && filepath.Base(self) == commandName {
		main()
		return
	}
	if code, child := benchChild(os.Stderr); child { // of a benchmark in this process
		os.Exit(code)
	}
	if at := os.Getenv(sinkAt); at != "" {
		serveSink(at)
	}
	if os.Getenv(beService) != "" {
		serveClerk()
	}
	transporttest.VerifyNoLeaks(m)
}

// process prepares the command as a process of its own.
func process(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), commandName)
	if os.Link(self, path) != nil { // another file system
		program, err := os.ReadFile(self)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, program, 0o700))
	}
	return exec.Command(path, args...)
}

// result is what a command line came to.
type result struct {
	code   int
	stdout string
	stderr string
}

// pithos runs a command line in this process.
func pithos(stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := run(args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// full is a writer to a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// requireHeard wants a command to fail where what it says cannot be written.
func requireHeard(t *testing.T, args ...string) {
	t.Helper()
	var stderr bytes.Buffer
	require.Equal(t, 1, run(args, strings.NewReader(""), full{}, &stderr), args)
	require.Contains(t, stderr.String(), "no space left", args)
}

// requireFails wants the command to fail with this on stderr, after this on stdout.
func (r result) requireFails(t *testing.T, stdout, stderr string) {
	t.Helper()
	require.Equal(t, result{1, stdout, stderr}, r)
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args   []string
		stderr string
	}{
		{[]string{"nosuch"}, "pithos: unknown command \"nosuch\" for \"pithos\"\n"},
		{[]string{"--nosuch"}, "pithos: unknown flag: --nosuch\n"},
		{[]string{"dump", "--nosuch"}, "pithos: unknown flag: --nosuch\n"},
		{[]string{"dump", "--width", "wide"}, "pithos: invalid argument \"wide\" for \"--width\" " +
			"flag: strconv.ParseInt: parsing \"wide\": invalid syntax\n"},
		{[]string{"dump", "a", "b"}, "pithos: accepts at most 1 arg(s), received 2\n"},
		{[]string{"version", "x"}, "pithos: unknown command \"x\" for \"pithos version\"\n"},
		{[]string{"hub", "x"}, "pithos: unknown command \"x\" for \"pithos hub\"\n"},
		{[]string{"ping", "--socket"}, "pithos: flag needs an argument: --socket\n"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			pithos("", c.args...).requireFails(t, "", c.stderr)
		})
	}
}

// TestHelp wants a text and examples on every verb, and the socket's flag.
func TestHelp(t *testing.T) {
	require.Contains(t, pithos("").stdout, "Available Commands:")
	for _, verb := range newRoot().Commands() {
		if verb.Name() == "completion" || verb.Name() == "help" { // cobra's
			continue
		}
		t.Run(verb.Name(), func(t *testing.T) {
			r := pithos("", verb.Name(), "--help")
			require.Zero(t, r.code)
			require.Empty(t, r.stderr)
			require.Contains(t, r.stdout, "Examples:\n  pithos "+verb.Name())
			require.Contains(t, r.stdout, "--socket")
			require.NotEmpty(t, verb.Long)
			require.NotEmpty(t, verb.Short)
		})
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := pithos("", "completion", shell)
		require.Zero(t, r.code)
		require.Contains(t, r.stdout, "pithos")
	}
	r := pithos("", cobra.ShellCompRequestCmd, "pi")
	require.Contains(t, r.stdout, "ping")
}

// TestProcess checks what only a process has: an exit code, and a standard error of its own.
func TestProcess(t *testing.T) {
	var stdout, stderr bytes.Buffer
	cmd := process(t, "dump", filepath.Join(t.TempDir(), "nosuch"))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Empty(t, stdout.String())
	require.Regexp(t, `^pithos: open .*/nosuch: no such file or directory\n$`, stderr.String())
}
