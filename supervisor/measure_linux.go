package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticks is how many there are in a second of the times in /proc: USER_HZ, 100 on all that we build
// for.
const ticks = 100

// measure adds what the processes of each instance use: its leader and all below it.
func measure(procs []Process) {
	for _, p := range procs {
		for i := range p.Instances {
			s := &p.Instances[i]
			if s.PID == 0 {
				continue
			}
			s.use(s.PID)
			for _, e := range descendants(s.PID) {
				s.use(e.pid)
			}
		}
	}
}

// use adds what one process uses, if it still lives.
func (s *Status) use(pid int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return
	}
	// From the state on; proc(5) counts it as the third.
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	field := func(n int) int64 {
		if n-3 >= len(f) {
			return 0
		}
		v, _ := strconv.ParseInt(f[n-3], 10, 64) // 0 for what is no number
		return v
	}
	s.CPU += time.Duration(field(14)+field(15)) * (time.Second / ticks)
	s.Threads += int(field(20))
	s.Memory += field(24) * int64(os.Getpagesize())
}
