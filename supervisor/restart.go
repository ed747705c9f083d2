package supervisor

import (
	"math"
	"time"
)

// A RestartMode says after which ends an instance is started again.
type RestartMode int

const (
	RestartAlways    RestartMode = iota // after any
	RestartOnFailure                    // unless it ended by itself with status 0
	RestartNever                        // after none
)

func (m RestartMode) String() string {
	return name([]string{"always", "on-failure", "never"}, int(m))
}

// RestartPolicy says whether and when an instance that ended by itself is started again: after
// Delay (by default 100 ms), which doubles with every further end up to MaxDelay (30 s), and of
// which up to a fifth is taken off at random, so that many do not start at once. An instance that
// ran for Stable (10 s) begins from Delay again.
//
// The end numbered Burst (5) without a stable run in between makes it a crash loop: the State is
// CrashLoop and further starts come at MaxDelay. With GiveUp there are none: it has Failed.
type RestartPolicy struct {
	Mode     RestartMode
	Delay    time.Duration
	MaxDelay time.Duration
	Stable   time.Duration
	Burst    int
	GiveUp   bool
}

// history is what decide needs to know of the runs of an instance.
type history struct {
	started time.Time // of the run that ended
	ends    int       // in a row, without a stable run
}

// A decision is what follows the end of a run: the state, how long it lasts if that is Backoff or
// CrashLoop, and how many ends in a row there now were.
type decision struct {
	state State
	delay time.Duration
	ends  int
}

// decide is all of the policy: a pure function of the runs before, of how and when the last one
// ended and of a random number in [0,1).
func (p RestartPolicy) decide(h history, failed bool, now time.Time, random float64) decision {
	d := decision{ends: h.ends + 1}
	if !h.started.IsZero() && now.Sub(h.started) >= p.Stable {
		d.ends = 1
	}
	switch {
	case !failed && p.Mode != RestartAlways:
		d.state, d.ends = Exited, 0
		return d
	case p.Mode == RestartNever, p.GiveUp && d.ends >= p.Burst:
		d.state = Failed
		return d
	case d.ends >= p.Burst:
		d.state, d.delay = CrashLoop, p.MaxDelay
	default:
		d.state = Backoff
		doubled := float64(p.Delay) * math.Pow(2, float64(d.ends-1))
		d.delay = time.Duration(min(doubled, float64(p.MaxDelay)))
	}
	d.delay -= time.Duration(float64(d.delay) / 5 * random)
	return d
}
