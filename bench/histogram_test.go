package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBucketsHoldTheirValues(t *testing.T) {
	values := []uint64{0, 1, 127, 128, 129, 255, 256, 257, 511, 1e6, 1e9, 1 << 40, math.MaxInt64}
	for _, v := range values {
		low, width := bucketRange(bucketOf(v))
		require.LessOrEqual(t, low, v, "value %d", v)
		require.Less(t, v-low, width, "value %d", v)
		require.LessOrEqual(t, float64(width), max(1, float64(v)/100), "value %d", v)
	}
	for i := range 5000 {
		low, width := bucketRange(i)
		require.Equal(t, i, bucketOf(low))
		require.Equal(t, i, bucketOf(low+width-1))
		next, _ := bucketRange(i + 1)
		require.Equal(t, low+width, next)
	}
}

func TestQuantilesAgreeWithSortedSamples(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var samples []time.Duration
	var h, other histogram
	for i := range 20_000 {
		d := time.Duration(math.Exp(random.Float64()*15)) * time.Nanosecond
		samples = append(samples, d)
		if i%2 == 0 {
			h.add(d)
		} else {
			other.add(d)
		}
	}
	h.merge(&other)
	slices.Sort(samples)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		rank := max(int(math.Ceil(q*float64(len(samples)))), 1)
		exact := float64(samples[rank-1])
		require.InDelta(t, exact, float64(h.quantile(q)), exact/100+1, "quantile %g", q)
	}
	var total time.Duration
	for _, d := range samples {
		total += d
	}
	require.Equal(t, total/time.Duration(len(samples)), h.mean())
	require.Equal(t, samples[len(samples)-1], h.most)
}

func TestHistogramOfNothing(t *testing.T) {
	var h histogram
	require.Zero(t, h.quantile(0.5))
	require.Zero(t, h.mean())
	require.Empty(t, h.buckets())
}

func TestHistogramTakesWhatClocksGive(t *testing.T) {
	var h histogram
	h.add(-time.Second)
	h.add(math.MaxInt64)
	require.EqualValues(t, 2, h.n)
	require.Zero(t, h.quantile(0.5))
}

func TestBucketsCountEveryCall(t *testing.T) {
	var h histogram
	for d := range 10_000 {
		h.add(time.Duration(d))
	}
	var n uint64
	last := -1.0
	for _, b := range h.buckets() {
		n += b.Calls
		require.Greater(t, b.AtMostUs, last)
		last = b.AtMostUs
	}
	require.EqualValues(t, 10_000, n)
	require.GreaterOrEqual(t, last, 9.999)
}

func BenchmarkHistogramAdd(b *testing.B) {
	b.ReportAllocs()
	var h histogram
	d := time.Duration(1)
	for b.Loop() {
		h.add(d)
		d = d*3&(1<<20-1) + 1
	}
}
