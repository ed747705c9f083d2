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
	mark := mark(t)
	var specs []supervisor.Spec
	for i := range 20 {
		s := once("web"+itoa(i), "setsid sleep "+mark+" &")
		s.Stop.Window = time.Millisecond
		specs = append(specs, s)
	}
	r := start(t, supervisor.Options{}, specs...)
	for range 10 {
		_ = r.Start(r.ctx()) // some may be over before they are ready
		for i := range specs {
			r.eventually(specs[i].Name, 0, supervisor.Exited)
		}
		time.Sleep(20 * time.Millisecond)
		require.Empty(t, marked(mark), "some have got away")
	}
}
