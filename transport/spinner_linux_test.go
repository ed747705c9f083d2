//go:build linux && !portable

package transport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// R21: there is no spinning after yields that showed that the processor is wanted, for longer each
// time, until yields are timely again; and less and less where it is in vain. The times that would
// be chance are made up, but for yields that have to be timely: those that are not are repeated.
func TestR21NoSpinAfterSlowYields(t *testing.T) {
	const hog = int64(hogYield)
	for name, rule := range map[string]func(t *testing.T, s *spinner){
		"one slow yield may be chance": func(t *testing.T, s *spinner) {
			at := spinning(t, s)
			s.tooSlow(hog, at)
			require.Zero(t, s.until, "but it ends the spin")
			require.True(t, s.begin(at))
		},
		"late, but no busy process": func(t *testing.T, s *spinner) {
			for range 100 {
				at := spinning(t, s)
				s.tooSlow(hog-1, at)
				require.Zero(t, s.until, "it ends the spin")
				require.True(t, s.begin(at), "and no more")
			}
		},
		"two are proof": func(t *testing.T, s *spinner) {
			requirePause(t, s, 2, firstPause)
		},
		"another one after a pause doubles it": func(t *testing.T, s *spinner) {
			requirePause(t, s, 2, firstPause)
			for pause := 2 * firstPause; pause < maxPause; pause *= 2 {
				requirePause(t, s, 1, pause)
			}
			requirePause(t, s, 1, maxPause)
			requirePause(t, s, 1, maxPause)
		},
		"timely yields are forgiveness": func(t *testing.T, s *spinner) {
			requirePause(t, s, 2, firstPause)
			requirePause(t, s, 1, 2*firstPause)
			for s.slow > 0 {
				timely(t, s)
			}
			requirePause(t, s, 2, 4*firstPause) // the suspicion is gone, the pause is not yet
			for s.slow > 0 {
				timely(t, s)
			}
			timely(t, s)
			requirePause(t, s, 2, firstPause)
		},
	} {
		t.Run(name, func(t *testing.T) { rule(t, &spinner{budget: int64(time.Hour)}) })
	}
}

// R21: a spin in vain costs waits without spinning, twice as many each time; one that pays, or a
// wait so short that it would have, ends that.
func TestR21NoSpinWhereItIsInVain(t *testing.T) {
	s := &spinner{budget: 1} // over before the first yield
	inVain := func(want int) {
		t.Helper()
		for s.again(overSocket) {
		}
		require.Equal(t, want, s.skip)
		for range want {
			require.False(t, s.again(overSocket), "%d waits to come without spinning", s.skip)
			s.slept(0, true)
		}
		require.Zero(t, s.skip)
	}
	for want := 1; want < maxSkip; want = 2*want + 1 {
		inVain(want)
	}
	inVain(maxSkip)
	inVain(maxSkip)
	require.True(t, s.again(overSocket))
	s.active() // it paid
	inVain(1)
	inVain(3)
	for s.again(overSocket) {
	}
	s.slept(nanotime()+int64(time.Hour), false)
	require.Equal(t, 6, s.skip, "nobody woke it")
	s.slept(nanotime()+int64(time.Hour), true)
	require.Zero(t, s.skip, "woken within the budget")
	inVain(1)
	require.EqualValues(t, 1, s.hits.Load())
}

// Spins that pay give the processor away, too, now and then: a thread that waits for it, to stop
// the world for one, would else wait for the end of a time slice.
func TestSpinsThatPayYield(t *testing.T) {
	s := spinner{budget: int64(time.Hour)} // init gives none to a single processor
	for i := range 3 * paces[overRing].hits {
		require.True(t, s.again(overRing))
		s.active()
		require.EqualValues(t, (i+1)/paces[overRing].hits, s.yielded.Load())
		s.active()                // without a wait
		s.slow, s.offUntil = 0, 0 // what a busy machine adds
	}
}

// Of two that share a processor one sleeps now and then, so that the kernel can part them; more and
// more seldom where it does not, and as at first when they have been apart for long.
func TestSharersSleep(t *testing.T) {
	var s spinner
	bears := func() (n int) {
		s.shared, s.until = true, untimed
		for n = 1; s.bear(); n++ {
			require.NotZero(t, s.until)
		}
		require.Zero(t, s.until)
		return n
	}
	for want := firstPatience; want < maxPatience; want *= 2 {
		require.Equal(t, want, bears())
	}
	require.Equal(t, maxPatience, bears())
	require.Equal(t, maxPatience, bears())
	apart := func(yields int) {
		s.shared = false
		for range yields {
			require.True(t, s.bear())
		}
	}
	apart(100)
	require.Equal(t, maxPatience-100, bears())
	apart(2 * maxPatience)
	require.Equal(t, firstPatience, bears())
}

// R21: without a budget there is no spinning, whatever happens.
func TestR21NoSpinWithoutBudget(t *testing.T) {
	var s spinner
	s.init(0)
	for range 100 {
		require.False(t, s.again(overSocket))
		s.slept(nanotime(), true)
		s.active()
	}
	require.Zero(t, s.yielded.Load()+s.hits.Load()+s.misses.Load())
}

// spinning makes s spin, and returns the time at which it began: an hour on, so that what is
// forbidden from then on stays so while the test runs, and when the last pause is over.
func spinning(t *testing.T, s *spinner) int64 {
	t.Helper()
	at := max(nanotime()+int64(time.Hour), s.offUntil)
	require.True(t, s.begin(at))
	return at
}

// requirePause wants so many yields that are as slow as a busy process makes them to end spinning
// for pause, and the ones before the last not to.
func requirePause(t *testing.T, s *spinner, slow int, pause time.Duration) {
	t.Helper()
	var at int64
	for range slow {
		at = spinning(t, s)
		s.tooSlow(int64(hogYield), at)
	}
	require.Equal(t, at+int64(pause), s.offUntil)
	require.Zero(t, s.until, "the spin is over")
	require.False(t, s.again(overSocket), "nor does another begin,")
	require.False(t, s.begin(s.offUntil-1), "until %v have gone by", pause)
}

// timely yields once in time. A yield that the host makes late is taken back and repeated.
func timely(t *testing.T, s *spinner) {
	t.Helper()
	slow, pause, offUntil := s.slow, s.pause, s.offUntil
	for end := nanotime() + int64(time.Minute); nanotime() < end; {
		require.True(t, s.begin(max(nanotime(), offUntil)))
		if s.yield() {
			require.Equal(t, max(slow-1, 0), s.slow)
			return
		}
		s.slow, s.pause, s.offUntil = slow, pause, offUntil
	}
	require.Fail(t, "no yield was timely for a minute")
}
