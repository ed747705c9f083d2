package bench

import (
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations in buckets whose width is under 1 % of their value, as HdrHistogram
// does (Gil Tene, hdrhistogram.org): linear inside an octave, one octave after the other.
//
//	ns     0 1 2 ... 127 | 128 129 ... 255 | 256 258 ... 510 | 512 516 ...
//	width  1             | 1               | 2               | 4
//
// The zero value is ready. It is fixed in size, so that recording allocates nothing.
type histogram struct {
	counts [(64 - octaveBits) << octaveBits]uint64
	n      uint64
	total  time.Duration
	most   time.Duration
}

const octaveBits = 7

// add records one duration.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	h.n++
	h.total += d
	h.most = max(h.most, d)
}

// merge adds what o has recorded.
func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.total += o.total
	h.most = max(h.most, o.most)
}

// quantile returns the duration that a share q of the recorded ones does not exceed, as the
// middle of its bucket, and 0 if nothing was recorded.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := min(max(uint64(math.Ceil(q*float64(h.n))), 1), h.n)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			low, width := bucketRange(i)
			return min(time.Duration(low+width/2), h.most)
		}
	}
	return h.most
}

func (h *histogram) mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.total / time.Duration(h.n)
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

// Bucket is a part of a latency histogram: the calls that took AtMostUs microseconds, and more than
// the bucket before.
type Bucket struct {
	AtMostUs float64 `json:"at_most_us"`
	Calls    uint64  `json:"calls"`
}

// buckets returns eight buckets an octave, the empty ones left out.
func (h *histogram) buckets() []Bucket {
	const perOctave = 8
	const merged = 1 << octaveBits / perOctave
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
