package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/supervisor"
)

// Starting says how far the start of procs has come, and what is waited for; "" when nothing is.
func Starting(procs []supervisor.Process, now time.Time) string {
	total, ready := 0, 0
	var waiting []string
	for _, p := range procs {
		if !p.Wanted {
			continue
		}
		for _, i := range p.Instances {
			total++
			switch i.State {
			case supervisor.Pending, supervisor.Starting, supervisor.Stopped:
				waiting = append(waiting, who(p, i)+" ("+since(i.Since, now)+")")
			case supervisor.Backoff, supervisor.CrashLoop:
				waiting = append(waiting, who(p, i)+" ("+i.State.String()+")")
			default:
				ready++
			}
		}
	}
	if len(waiting) == 0 {
		return ""
	}
	return fmt.Sprintf("starting: %d of %d ready, waiting for %s", ready, total, some(waiting))
}

// Stopping says what a stop still waits for, and for how long; "" when nothing is left.
func Stopping(procs []supervisor.Process, now time.Time) string {
	var waiting []string
	eachLeft(procs, func(p supervisor.Process, i supervisor.Status) {
		name := who(p, i)
		if i.State == supervisor.Stopping {
			name += " (" + since(i.Since, now) + ")"
		}
		waiting = append(waiting, name)
	})
	if len(waiting) == 0 {
		return ""
	}
	return "stopping: waiting for " + some(waiting)
}

// Waiting names the instances that a stop waits for; "" when nothing is left.
func Waiting(procs []supervisor.Process) string {
	var waiting []string
	eachLeft(procs, func(p supervisor.Process, i supervisor.Status) {
		waiting = append(waiting, who(p, i))
	})
	return some(waiting)
}

// eachLeft calls f for what runs, in the order of stopping.
func eachLeft(procs []supervisor.Process, f func(supervisor.Process, supervisor.Status)) {
	for _, p := range slices.Backward(procs) {
		for _, i := range p.Instances {
			switch i.State {
			case supervisor.Stopping, supervisor.Starting, supervisor.Ready:
				f(p, i)
			}
		}
	}
}

func who(p supervisor.Process, i supervisor.Status) string {
	if p.Scale <= 1 && i.Index == 0 {
		return p.Name
	}
	return fmt.Sprintf("%s#%d", p.Name, i.Index)
}

func since(t, now time.Time) string {
	return fmt.Sprintf("%ds", max(0, int(now.Sub(t).Seconds())))
}

// some names a few of many.
func some(names []string) string {
	const most = 4
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
