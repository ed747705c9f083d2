//go:build !linux

package bench

import (
	"runtime"
	"time"
)

// cpuTime is not known here: CPU columns show 0.
func cpuTime() time.Duration { return 0 }

// pin leaves the thread where it is.
func pin(int) {}

// openFiles is what most systems let a process have open.
func openFiles() uint64 { return 10_240 }

func sharedMemory() uint64 { return 0 }

// processors returns as many numbers as there are processors.
func processors() []int {
	list := make([]int, runtime.NumCPU())
	for i := range list {
		list[i] = i
	}
	return list
}
