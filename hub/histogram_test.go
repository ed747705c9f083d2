package hub

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
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
	require.Equal(t, numBuckets-1, bucketOf(math.MaxInt64))
	for i := range numBuckets - 1 {
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
	var h, other Histogram
	for i := range 20_000 {
		d := time.Duration(math.Exp(random.Float64()*15)) * time.Nanosecond
		samples = append(samples, d)
		if i%2 == 0 {
			h.Add(d)
		} else {
			other.Add(d)
		}
	}
	h.Merge(&other)
	slices.Sort(samples)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		rank := max(int(math.Ceil(q*float64(len(samples)))), 1)
		exact := float64(samples[rank-1])
		require.InDelta(t, exact, float64(h.Quantile(q)), exact/100+1, "quantile %g", q)
	}
	var total time.Duration
	for _, d := range samples {
		total += d
	}
	require.Equal(t, total, h.Total())
	require.Equal(t, total/time.Duration(len(samples)), h.Mean())
	require.Equal(t, samples[len(samples)-1], h.Max())
}

func TestHistogramOfNothing(t *testing.T) {
	var h Histogram
	require.Zero(t, h.Quantile(0.5))
	require.Zero(t, h.Mean())
	require.Empty(t, h.Buckets())
}

func TestHistogramTakesWhatClocksGive(t *testing.T) {
	var h Histogram
	h.Add(-time.Second)
	h.Add(math.MaxInt64)
	require.EqualValues(t, 2, h.Count())
	require.Zero(t, h.Quantile(0.5))
}

func TestBucketsCountEveryCall(t *testing.T) {
	var h Histogram
	for d := range 10_000 {
		h.Add(time.Duration(d))
	}
	var n uint64
	last := -1.0
	for _, b := range h.Buckets() {
		n += b.Calls
		require.Greater(t, b.AtMostUs, last)
		last = b.AtMostUs
	}
	require.EqualValues(t, 10_000, n)
	require.GreaterOrEqual(t, last, 9.999)
}

// What many record at once is what one would have recorded, to the bucket.
func TestRecorderLosesNothing(t *testing.T) {
	var r recorder
	var want Histogram
	const writers, each = 4, 20_000
	samples := func(w int) func(func(time.Duration) bool) {
		random := rand.New(rand.NewPCG(3, uint64(w)))
		return func(yield func(time.Duration) bool) {
			for range each {
				if !yield(time.Duration(math.Exp(random.Float64()*25)) - 10) {
					return
				}
			}
		}
	}
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			for d := range samples(w) {
				r.add(d)
			}
		})
	}
	for w := range writers {
		for d := range samples(w) {
			want.Add(d)
		}
	}
	var last uint64
	for last < writers*each { // a reader sees the count rise, and never more than there are
		var h Histogram
		r.into(&h)
		require.GreaterOrEqual(t, h.Count(), last)
		require.LessOrEqual(t, h.Count(), uint64(writers*each))
		last = h.Count()
	}
	done.Wait()
	var got Histogram
	r.into(&got)
	require.Equal(t, want.counts, got.counts)
	require.Equal(t, want.n, got.n)
	for _, q := range []float64{0.5, 0.99, 0.999, 1} {
		require.InEpsilon(t, want.Quantile(q), got.Quantile(q), 0.01)
	}
	require.InEpsilon(t, want.Total(), got.Total(), 0.01)
}

func TestAllocsRecorder(t *testing.T) {
	var r recorder
	var h Histogram
	d := time.Duration(1)
	step := func() {
		r.add(d)
		h.Add(d)
		d = d*3&(1<<20-1) + 1
	}
	for range 10_000 {
		step()
	}
	require.Zero(t, testing.AllocsPerRun(1000, step))
}

func BenchmarkHistogramAdd(b *testing.B) {
	for name, add := range map[string]func(time.Duration){
		"one": new(Histogram).Add, "many": new(recorder).add,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			d := time.Duration(1)
			for b.Loop() {
				add(d)
				d = d*3&(1<<20-1) + 1
			}
		})
	}
}
