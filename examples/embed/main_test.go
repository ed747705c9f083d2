package main_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEmbed runs the example in two processes, and ends the server by Ctrl-C.
func TestEmbed(t *testing.T) {
	dir := t.TempDir()
	program, socket := filepath.Join(dir, "embed"), filepath.Join(dir, "embed.sock")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	embed := func(args ...string) *exec.Cmd {
		c := exec.Command(program, args...)
		c.Env = append(os.Environ(), "EMBED_SOCKET="+socket)
		return c
	}
	out, err = embed("call", "x").CombinedOutput()
	require.Error(t, err, "nobody serves")
	require.Contains(t, string(out), socket)
	out, err = embed().CombinedOutput()
	require.Error(t, err)
	require.Equal(t, "embed: want serve, or call and what to say\n", string(out))

	server := embed("serve")
	said, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	kill := time.AfterFunc(time.Minute, func() { _ = server.Process.Kill() })
	defer kill.Stop()
	line := bufio.NewScanner(said)
	require.True(t, line.Scan())
	require.Equal(t, "listening at "+socket, line.Text())
	out, err = embed("call", "hello", "you").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "upper: HELLO YOU\nslow: hello you\n", string(out))
	require.NoError(t, server.Process.Signal(os.Interrupt))
	require.NoError(t, server.Wait())
	require.NoFileExists(t, socket)
}
