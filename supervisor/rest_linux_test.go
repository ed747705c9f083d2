package supervisor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/supervisor"
)

// Of what a leader leaves none is overlooked that is in the middle of execve(2), when it has no
// environment to know it by, and has left the leader's session.
func TestLeavesInTheMiddleOfExec(t *testing.T) {
	for range 5 {
		mark := mark(t)
		spec := once("web", "for i in 1 2 3 4 5 6 7 8 9 10; do for k in 1 2 3; do "+
			"setsid sleep "+mark+" & done; done")
		spec.Stop.Window = time.Millisecond
		r := start(t, supervisor.Options{}, spec)
		_ = r.Start(r.ctx()) // it may be over before it is ready
		r.eventually("web", 0, supervisor.Exited)
		require.Never(t, func() bool { return len(marked(mark)) > 0 }, 100*time.Millisecond,
			10*time.Millisecond, "one has got away")
	}
}
