package app_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestExec wants a command to be asked in the folder and environment of the process, its last words
// to be the reason, and nothing of it to be left when its time is over.
func TestExec(t *testing.T) {
	dir := t.TempDir()
	a := run(t, parse(t, dir, `
name: a
processes:
  x:
    command: sleep 1000
    env: {WORD: "not yet"}
    restart: never
    ready:
      exec: [sh, -c, 'setsid sleep 1000 & echo $! >> pids; echo a; echo $WORD >&2; test -f x']
      interval: 10ms
      window: 3s
`))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	require.ErrorContains(t, a.Supervisor().Start(ctx),
		"not ready within 3s: sh: exit status 1: not yet")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o600))
	require.NoError(t, a.Supervisor().Start(ctx))
	pids, err := os.ReadFile(filepath.Join(dir, "pids"))
	require.NoError(t, err)
	require.NotEmpty(t, strings.Fields(string(pids)))
	for _, pid := range strings.Fields(string(pids)) {
		require.Eventually(t, func() bool {
			_, err := os.Stat("/proc/" + pid)
			return err != nil
		}, 20*time.Second, 10*time.Millisecond, pid)
	}
}
