package hub

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

// TestHandleNames says that every place has a name of its own in each generation, and that those of
// the first routes of a client take one byte.
func TestHandleNames(t *testing.T) {
	seen := make(map[uint64]bool)
	for _, i := range []uint32{0, 1, 126, 127, 1<<14 - 1, 1 << 14, 1<<20 + 5, math.MaxUint32 - 1} {
		for _, gen := range []uint32{1, 2, 1 << 18, math.MaxUint32} {
			name := nameOf(i, gen)
			require.NotZero(t, name)
			require.False(t, seen[name], "place %d, generation %d", i, gen)
			seen[name] = true
			at, in := placeOf(name)
			require.Equal(t, [2]uint32{i, gen}, [2]uint32{at, in})
		}
	}
	require.Equal(t, 1, wire.SizeUvarint(nameOf(126, 1)))
}

// TestHandlesOfOthers says that a handle which was released, or never given out, finds nothing.
func TestHandlesOfOthers(t *testing.T) {
	m, r, s := new(member), new(route), new(route)
	first, second := m.resolve(r), m.resolve(s)
	require.Same(t, r, m.find(first))
	require.Same(t, s, m.find(second))
	m.release(first)
	require.Nil(t, m.find(first))
	again := m.resolve(s)
	require.NotEqual(t, first, again)
	require.Same(t, s, m.find(again))
	for _, name := range []uint64{0, first, math.MaxUint64, 1 << 32} {
		require.Nil(t, m.find(name), "%d", name)
	}
	require.EqualValues(t, 2, s.users.Load())
	m.releaseAll()
	require.Zero(t, s.users.Load())
}
