package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// sayingBye is an application that leaves a file behind when it is stopped as it wants to be.
const sayingBye = `
name: polite
processes:
  x: {command: [sh, -c, 'trap "echo > bye; exit" TERM; while :; do echo line; sleep 0.01; done']}
`

// piped runs the command until it has written something that contains text, and returns it with
// what it writes to.
func piped(t *testing.T, text string, args ...string) (*exec.Cmd, *os.File) {
	t.Helper()
	cmd := process(t, args...)
	out, in, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = in, in
	require.NoError(t, cmd.Start())
	require.NoError(t, in.Close())
	t.Cleanup(func() {
		out.Close()
		cmd.Process.Kill() // if it has not ended
		cmd.Wait()
	})
	lines := bufio.NewReader(out)
	for line := ""; !strings.Contains(line, text); {
		line, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	return cmd, out
}

// Who reads what dev writes is gone: the application is stopped in order, and not killed.
func TestDevBrokenPipe(t *testing.T) {
	dir := application(t, sayingBye)
	cmd, out := piped(t, "| line", "dev", "--no-watch", dir)
	require.NoError(t, out.Close())
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), cmd.ProcessState)
	require.FileExists(t, filepath.Join(dir, "bye"))
}

// Ctrl-C in "pithos dev | grep x" ends both, mostly grep first.
func TestDevInterruptedPipe(t *testing.T) {
	dir := application(t, sayingBye)
	cmd, out := piped(t, "| line", "dev", "--no-watch", dir)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, out.Close())
	_ = cmd.Wait() // 0, or 1 if the pipe was seen to be broken first
	require.True(t, cmd.ProcessState.Exited(), cmd.ProcessState)
	require.FileExists(t, filepath.Join(dir, "bye"))
}

// The same for a daemon whose log goes to somebody.
func TestDaemonBrokenPipe(t *testing.T) {
	dir := application(t, sayingBye)
	cmd, out := piped(t, "listening", "daemon")
	succeeds(t, "start", dir)
	require.NoError(t, out.Close())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	require.FileExists(t, filepath.Join(dir, "bye"))
}

// A hub that cannot log closes in good order.
func TestHubBrokenPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	cmd, out := piped(t, "listening", "hub", "--socket", path)
	require.NoError(t, out.Close())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	requireGone(t, path)
}
