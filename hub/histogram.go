package hub

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets whose width is under 1 % of their value, as HdrHistogram
// does (Gil Tene, hdrhistogram.org): linear inside an octave, one octave after the other.
//
//	ns     0 1 2 ... 127 | 128 129 ... 255 | 256 258 ... 510 | 512 516 ...
//	width  1             | 1               | 2               | 4
//
// The zero value is ready. It is fixed in size, so that Add allocates nothing, and one goroutine's
// at a time.
type Histogram struct {
	counts [numBuckets]uint64
	n      uint64
	total  time.Duration
	most   time.Duration
}

const (
	octaveBits = 7
	octave     = 1 << octaveBits // buckets of an octave
	numOctaves = 64 - octaveBits
	numBuckets = numOctaves * octave
)

// Add records one duration; a negative one counts as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	h.n++
	h.total += d
	h.most = max(h.most, d)
}

// Merge adds what o has recorded.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.total += o.total
	h.most = max(h.most, o.most)
}

// Count is how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the longest duration.
func (h *Histogram) Max() time.Duration { return h.most }

// Total is the sum of the durations.
func (h *Histogram) Total() time.Duration { return h.total }

// Mean is the average of the durations, and 0 if nothing was recorded.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.total / time.Duration(h.n)
}

// Quantile returns the duration that a share q of the recorded ones does not exceed, as the middle
// of its bucket, and 0 if nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := min(max(uint64(math.Ceil(q*float64(h.n))), 1), h.n)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return min(middle(i), h.most)
		}
	}
	return h.most
}

// Bucket is a part of a Histogram: the durations of at most AtMostUs microseconds that are longer
// than those of the bucket before.
type Bucket struct {
	AtMostUs float64 `json:"at_most_us"`
	Calls    uint64  `json:"calls"`
}

// Buckets returns eight buckets an octave, the empty ones left out.
func (h *Histogram) Buckets() []Bucket {
	const merged = octave / 8
	var list []Bucket
	for i := 0; i < len(h.counts); i += merged {
		var n uint64
		for _, c := range h.counts[i : i+merged] {
			n += c
		}
		if n > 0 {
			low, width := bucketRange(i + merged - 1)
			list = append(list, Bucket{AtMostUs: float64(low+width-1) / 1e3, Calls: n})
		}
	}
	return list
}

// bucketOf returns the index of the bucket that holds v.
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-octaveBits-1, 0)
	return shift<<octaveBits + int(v>>shift)
}

// bucketRange returns the least value of a bucket and how many values it holds.
func bucketRange(i int) (low, width uint64) {
	shift := max(i>>octaveBits-1, 0)
	return uint64(i-shift<<octaveBits) << shift, 1 << shift
}

// middle returns the value in the middle of a bucket.
func middle(i int) time.Duration {
	low, width := bucketRange(i)
	return time.Duration(low + width/2)
}

// recorder is a Histogram that any number of goroutines record to and read at the same time,
// without a lock. An octave gets its memory, 1 KiB, when the first duration falls into it: those of
// one method lie in a few. The zero value is ready.
type recorder struct {
	octaves [numOctaves]atomic.Pointer[[octave]atomic.Uint64]
}

// add records one duration, by one atomic addition.
func (r *recorder) add(d time.Duration) {
	i := bucketOf(uint64(max(d, 0)))
	o := r.octaves[i>>octaveBits].Load()
	if o == nil {
		o = r.addSlow(i >> octaveBits)
	}
	o[i%octave].Add(1)
}

func (r *recorder) addSlow(i int) *[octave]atomic.Uint64 {
	r.octaves[i].CompareAndSwap(nil, new([octave]atomic.Uint64))
	return r.octaves[i].Load()
}

// into adds what was recorded to h. The total and the maximum are those of the buckets' middles, so
// they are as exact as a quantile.
func (r *recorder) into(h *Histogram) {
	for k := range r.octaves {
		o := r.octaves[k].Load()
		if o == nil {
			continue
		}
		for j := range o {
			n := o[j].Load()
			if n == 0 {
				continue
			}
			i := k<<octaveBits + j
			h.counts[i] += n
			h.n += n
			h.total += middle(i) * time.Duration(n)
			h.most = max(h.most, middle(i))
		}
	}
}
