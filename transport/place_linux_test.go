//go:build linux && !portable

package transport

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// besides is n yields beside the peer.
func (p *place) besides(n int, now int64) (moves int) {
	for range n {
		if p.beside(true, now) {
			moves++
		}
	}
	return moves
}

func TestMovesAfterSomeYields(t *testing.T) {
	var p place
	require.Zero(t, p.besides(besideRow-1, 1))
	require.False(t, p.beside(false, 1), "the row is over")
	require.Zero(t, p.besides(besideRow-1, 1))
	require.Equal(t, 1, p.besides(1, 1))
	require.Zero(t, p.besides(10*besideRow, 2), "it has moved just now")
	require.Equal(t, 1, p.besides(1, 1+int64(firstStay)))
	require.EqualValues(t, 2, p.moves.Load())
}

func TestMovesSeldomWhereOthersWork(t *testing.T) {
	var p place
	p.wanted(1)
	require.Zero(t, p.stay, "it has never moved")
	now := int64(1)
	require.Equal(t, 1, p.besides(besideRow, now))
	for _, want := range []time.Duration{8 * firstStay, 64 * firstStay, maxStay, maxStay} {
		now++
		p.wanted(now)
		require.EqualValues(t, min(want, maxStay), p.stay)
	}
	require.Zero(t, p.besides(besideRow, now+int64(maxStay)-2*besideRow))
	now += int64(maxStay)
	require.Equal(t, 1, p.besides(1, now), "it tries again")
	require.EqualValues(t, maxStay, p.stay)
	now += longStay*int64(maxStay) + 1
	require.Equal(t, 1, p.besides(besideRow, now))
	require.EqualValues(t, firstStay, p.stay, "that is long ago")
}

func TestLookNoticesAMove(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := place{due: true, cpu: 1 << 20, row: 3}
	cpu := p.look()
	require.Positive(t, cpu)
	require.Equal(t, cpu, p.cpu)
	require.False(t, p.due)
	require.Zero(t, p.row)
}

// TestLeaveProcessor says that a thread is elsewhere afterwards, and may go everywhere as before;
// that one which may not go elsewhere stays.
func TestLeaveProcessor(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &all))
	for end := time.Now().Add(10 * time.Second); all.Count() > 1; {
		before := processor()
		leaveProcessor(before)
		if processor() != before {
			break
		}
		require.True(t, time.Now().Before(end), "the kernel may bring it back, but not always")
	}
	var after unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &after))
	require.Equal(t, all, after)

	here := processor()
	var one unix.CPUSet
	one.Set(int(here) - 1)
	require.NoError(t, unix.SchedSetaffinity(0, &one))
	defer func() { require.NoError(t, unix.SchedSetaffinity(0, &all)) }()
	leaveProcessor(here)
	require.Equal(t, here, processor())
	require.NoError(t, unix.SchedGetaffinity(0, &after))
	require.Equal(t, one, after)
}
