//go:build linux && !portable

package transport_test

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// startBeside starts such a child. Where this may do so it puts what else runs on that processor
// behind the child, which neither polls nor moves for a peer when others want the processor.
func startBeside(t *testing.T, engine int, ending string, seconds int) *child {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &all))
	for i := range 1024 {
		if all.IsSet(i) {
			one.Set(i)
			break
		}
	}
	require.NoError(t, unix.SchedSetaffinity(0, &one)) // the child inherits it
	defer func() { require.NoError(t, unix.SchedSetaffinity(0, &all)) }()
	before, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // 20 - nice
	require.NoError(t, err)
	if unix.Setpriority(unix.PRIO_PROCESS, 0, -20) == nil { // the child inherits this, too
		defer func() {
			require.NoError(t, unix.Setpriority(unix.PRIO_PROCESS, 0, 20-before))
		}()
	}
	c := newChild(t, "beside", order{Engine: engine, Address: filepath.Join(t.TempDir(), "s"),
		Ending: ending, Count: seconds})
	c.cmd.Env = append(c.cmd.Env, "GOMAXPROCS=2") // with one it would not spin
	return c.start()
}

// TestClientLeavesProcessor says that of two who poll for one another on one processor the one that
// dialed moves away, and that SocketOptions.Stay keeps it where it is.
func TestClientLeavesProcessor(t *testing.T) {
	for i, e := range engines {
		if e.name != "portable" {
			require.Equal(t, "true 0", startBeside(t, i, "", 50).line(), e.name)
			require.Equal(t, "false 0", startBeside(t, i, "stay", 1).line(), e.name)
		}
	}
}
