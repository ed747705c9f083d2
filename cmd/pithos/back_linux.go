package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// stepBack has this process run only when the processors have nothing else to do (SCHED_IDLE, see
// sched(7)): all threads that it has, and those that come of them. Where that is not allowed it
// runs as before.
func stepBack() {
	seen := map[string]bool{}
	for more := true; more; { // one that had not stepped back may have started another meanwhile
		more = false
		tasks, _ := os.ReadDir("/proc/self/task")
		for _, task := range tasks {
			if tid, err := strconv.Atoi(task.Name()); err == nil && !seen[task.Name()] {
				seen[task.Name()], more = true, true
				_ = unix.SchedSetAttr(tid, &unix.SchedAttr{Policy: unix.SCHED_IDLE}, 0)
			}
		}
	}
}
