package supervisor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The table of states once more, by rows of text: every state with every happening.
func TestNextIsTheTable(t *testing.T) {
	columns := []string{"wanted", "unwanted", "launched", "orphaned", "isReady", "breaks",
		"endsRetry", "endsLoop", "endsWell", "endsFailed", "gone", "due"}
	table := `
		pending    .       stopped  starting failed . .        . . . .                          . .
		starting   .       stopping . . ready stopping backoff crash-loop exited failed         . .
		ready      .       stopping . . .     stopping backoff crash-loop exited failed         . .
		stopping   .       .        . . .     .        backoff crash-loop exited failed   stopped .
		backoff    .       stopped  . . .     .        . . . .                            . pending
		crash-loop .       stopped  . . .     .        . . . .                            . pending
		exited     pending stopped  . . .     .        . . . .                                  . .
		failed     pending stopped  . . .     .        . . . .                                  . .
		stopped    pending .        . . .     .        . . . .                                  . .`
	require.Len(t, columns, happenings)
	rows := strings.Split(strings.TrimSpace(table), "\n")
	require.Len(t, rows, states)
	for s := range State(states) {
		row := strings.Fields(rows[s])
		require.Equal(t, s.String(), row[0])
		require.Len(t, row, 1+happenings)
		for h, want := range row[1:] {
			if want == "." {
				want = s.String()
			}
			require.Equal(t, want, next(s, happening(h)).String(), "%v, %s", s, columns[h])
		}
	}
}

// From every state a stop leads to one that is over, and a start from there to one that runs.
func TestNextLeavesNoStateStuck(t *testing.T) {
	for s := range State(states) {
		stopped := s
		for _, h := range []happening{unwanted, gone} {
			stopped = next(stopped, h)
		}
		require.True(t, stopped.over(), "%v", s)
		for _, h := range []happening{wanted, launched, isReady} {
			stopped = next(stopped, h)
		}
		require.Equal(t, Ready, stopped, "%v", s)
	}
}

// R25: the decision over the full product of modes, ends, lengths of runs and ends before.
func TestR25Decide(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := RestartPolicy{Delay: time.Second, MaxDelay: 10 * time.Second, Stable: time.Minute}
	p.Burst = 5
	for _, mode := range []RestartMode{RestartAlways, RestartOnFailure, RestartNever} {
		for _, giveUp := range []bool{false, true} {
			for _, failed := range []bool{false, true} {
				for _, ran := range []time.Duration{0, time.Second, time.Minute, time.Hour} {
					for before := range 8 {
						for _, random := range []float64{0, 0.5, 0.999} {
							p.Mode, p.GiveUp = mode, giveUp
							h := history{start, before}
							what := fmt.Sprint(mode, giveUp, failed, ran, before, random)
							d := p.decide(h, failed, start.Add(ran), random)
							checkDecision(t, p, h, failed, ran, d, what)
							require.Equal(t, d, p.decide(h, failed, start.Add(ran), random), what)
						}
					}
				}
			}
		}
	}
}

func checkDecision(t *testing.T, p RestartPolicy, h history, failed bool, ran time.Duration,
	d decision, what string) {
	ends := h.ends + 1
	if ran >= p.Stable {
		ends = 1 // a stable run begins anew
	}
	switch {
	case !failed && p.Mode != RestartAlways:
		require.Equal(t, decision{state: Exited}, d, what)
		return
	case p.Mode == RestartNever, p.GiveUp && ends >= p.Burst:
		require.Equal(t, decision{state: Failed, ends: ends}, d, what)
		return
	case ends >= p.Burst:
		require.Equal(t, CrashLoop, d.state, what)
		require.LessOrEqual(t, d.delay, p.MaxDelay, what)
		require.Greater(t, d.delay, p.MaxDelay*4/5, what)
	default:
		require.Equal(t, Backoff, d.state, what)
		whole := min(p.Delay<<(ends-1), p.MaxDelay)
		require.LessOrEqual(t, d.delay, whole, what)
		require.Greater(t, d.delay, whole*4/5, what)
	}
	require.Equal(t, ends, d.ends, what)
}

// A run that never started, and very many ends, are no special cases.
func TestR25DecideAtTheEdges(t *testing.T) {
	p, err := Spec{Name: "a", Command: "b"}.whole()
	require.NoError(t, err)
	p.Restart.Burst = 1 << 30
	d := p.Restart.decide(history{}, true, time.Now(), 0)
	require.Equal(t, decision{Backoff, 100 * time.Millisecond, 1}, d)
	d = p.Restart.decide(history{ends: 1 << 20}, true, time.Now(), 0)
	require.Equal(t, 30*time.Second, d.delay)
}
