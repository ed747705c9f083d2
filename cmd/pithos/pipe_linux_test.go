package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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

// TestInterruptedUnread ends a verb whose output nobody reads: by one signal, after a while, or by
// two, at once.
func TestInterruptedUnread(t *testing.T) {
	serveHub(t)
	unread, out, err := os.Pipe()
	require.NoError(t, err)
	defer unread.Close()
	defer out.Close()
	require.NoError(t, out.SetWriteDeadline(time.Now().Add(time.Second)))
	_, err = out.Write(make([]byte, 4<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	for _, c := range []struct {
		again bool
		want  string
		code  int
	}{
		{false, "pithos: interrupted, and what is written is not read\n", 130},
		{true, "", -1},
	} {
		cmd := process(t, "ls", "--watch=100ms")
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = out, &stderr
		require.NoError(t, cmd.Start())
		await(t, func() bool { return len(peersNamed(t, "pithos/ls")) == 2 }) // and who asks
		awaitWriting(t, cmd.Process.Pid)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		for over := !c.again; !over; { // two that come together are one
			select {
			case err := <-ended:
				ended <- err
				over = true
			case <-time.After(50 * time.Millisecond):
				_ = cmd.Process.Signal(os.Interrupt)
			}
		}
		require.Error(t, <-ended)
		require.Equal(t, c.want, stderr.String())
		require.Equal(t, c.code, cmd.ProcessState.ExitCode())
		await(t, func() bool { return len(peersNamed(t, "pithos/ls")) == 1 })
	}
}

// awaitWriting waits until a thread of the process is in write(2) to standard output, where /proc
// tells, and else for as long as that will take.
func awaitWriting(t *testing.T, pid int) {
	t.Helper()
	writes := fmt.Sprintf("%d 0x1 ", syscall.SYS_WRITE)
	told := false
	for began := time.Now(); told || time.Since(began) < 3*time.Second; {
		calls, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		for _, name := range calls {
			call, err := os.ReadFile(name)
			if err == nil && strings.HasPrefix(string(call), writes) {
				return
			}
			told = told || err == nil
		}
		require.Less(t, time.Since(began), time.Minute)
		time.Sleep(5 * time.Millisecond)
	}
}
