package bench

import (
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"
)

// usage is what a process has used since it started.
type usage struct {
	Mallocs uint64        `json:"mallocs"` // objects allocated on the heap
	CPU     time.Duration `json:"cpu"`     // user and system time
	Memory  uint64        `json:"memory"`  // bytes of heap and stacks in use, and shared ones
	Stops   []uint64      `json:"stops"`   // of the world, by bucket of pauseLimits
	Pauses  []uint64      `json:"pauses"`  // of the world by collections, likewise
}

// usageBefore reads the usage at the begin of a measurement, usageAfter at its end: in opposite
// orders, so that little of the reading itself counts.
func usageBefore() usage {
	shared := sharedMemory()
	var u usage
	u.readPauses()
	u.readMemory()
	u.Memory += shared
	u.CPU = cpuTime()
	return u
}

func usageAfter() usage {
	u := usage{CPU: cpuTime()}
	u.readMemory()
	u.readPauses()
	u.Memory += sharedMemory()
	return u
}

func (u *usage) readMemory() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Mallocs = m.Mallocs
	u.Memory = m.HeapInuse + m.StackInuse
}

// The pauses of the world, from the request to stop it until it runs again: those for anything but
// a collection, and those for one. Both histograms have the same buckets.
const (
	stopMetric  = "/sched/pauses/total/other:seconds"
	pauseMetric = "/sched/pauses/total/gc:seconds"
)

func (u *usage) readPauses() {
	u.Stops = readHistogram(stopMetric).Counts
	u.Pauses = readHistogram(pauseMetric).Counts
}

func readHistogram(name string) *metrics.Float64Histogram {
	samples := []metrics.Sample{{Name: name}}
	metrics.Read(samples)
	return samples[0].Value.Float64Histogram()
}

// pauseLimits returns the upper ends of the buckets, in microseconds; the last is that of the one
// before, since it has none.
func pauseLimits() []float64 {
	limits := slices.Clone(readHistogram(pauseMetric).Buckets[1:])
	for i, s := range limits {
		limits[i] = s * 1e6
		if math.IsInf(s, 1) && i > 0 {
			limits[i] = limits[i-1]
		}
	}
	return limits
}

// period is what a process used between two moments.
type period struct {
	From usage `json:"from"`
	To   usage `json:"to"`

	Calls uint64 `json:"calls,omitempty"` // that ended, of a child that calls
}

// cpu returns seconds.
func (p period) cpu() float64 { return (p.To.CPU - p.From.CPU).Seconds() }

func (p period) mallocs() float64 { return float64(p.To.Mallocs - p.From.Mallocs) }

// pauses are pauses of the world, by bucket of pauseLimits.
type pauses []uint64

// pausesOf returns the pauses between two readings.
func pausesOf(from, to []uint64) pauses {
	p := slices.Clone(to)
	for i := range from {
		p[i] -= from[i]
	}
	return p
}

func (p pauses) count() uint64 {
	var n uint64
	for _, c := range p {
		n += c
	}
	return n
}

// quantile returns an upper bound, in microseconds, of the pause that a share q does not exceed.
func (p pauses) quantile(limits []float64, q float64) float64 {
	rank := max(uint64(math.Ceil(q*float64(p.count()))), 1)
	var seen uint64
	for i, n := range p {
		if seen += n; seen >= rank {
			return limits[i]
		}
	}
	return 0
}
