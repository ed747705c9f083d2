package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		name             string
		values           []float64
		median, min, max float64
	}{
		{"none", nil, 0, 0, 0},
		{"one", []float64{7}, 7, 7, 7},
		{"odd", []float64{9, 1, 5}, 5, 1, 9},
		{"even", []float64{8, 1, 5, 2}, 3.5, 1, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSpread(c.values)
			require.Equal(t, Spread{c.median, c.min, c.max, c.values}, s)
		})
	}
}

func TestSpreadRatio(t *testing.T) {
	a, b := newSpread([]float64{2, 4, 9}), newSpread([]float64{1, 8, 3})
	want := Spread{Median: 4.0 / 3, Min: 0.5, Max: 3, Rounds: []float64{2, 0.5, 3}}
	require.Equal(t, want, a.over(b))

	t.Run("a round is missing", func(t *testing.T) {
		b := newSpread([]float64{1, 3})
		require.Equal(t, Spread{Median: 2, Min: 2, Max: 2}, a.over(b))
	})
	t.Run("no base", func(t *testing.T) {
		require.Zero(t, newSpread([]float64{1}).over(newSpread([]float64{0})).Median)
	})
}
