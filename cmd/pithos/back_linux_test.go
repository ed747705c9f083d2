package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/hub"
)

// R32: a tap takes no processor from those that it watches.
func TestR32StepsBack(t *testing.T) {
	path := serveHub(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := hub.Join(ctx, path, hub.JoinOptions{})
	require.NoError(t, err)
	defer c.Close(ctx)
	tap := process(t, "tap", "--socket", path, "-o", filepath.Join(t.TempDir(), "frames.tap"))
	tap.Stdout = os.Stdout
	require.NoError(t, tap.Start())
	await(t, func() bool {
		in, err := c.Inspect(ctx, hub.InspectOptions{})
		require.NoError(t, err)
		return in.Hub.Taps == 1
	})
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", tap.Process.Pid))
	require.NoError(t, err)
	require.NotEmpty(t, tasks)
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		require.NoError(t, err)
		attr, err := unix.SchedGetAttr(tid, 0)
		if err == unix.ESRCH {
			continue // it has ended meanwhile
		}
		require.NoError(t, err)
		require.EqualValues(t, unix.SCHED_IDLE, attr.Policy, "thread %d of %d", tid, len(tasks))
	}
	require.NoError(t, tap.Process.Signal(os.Interrupt))
	require.NoError(t, tap.Wait())
}
