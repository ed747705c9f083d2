package bench

import (
	"math"
	"runtime"
	"runtime/metrics"
	"time"
)

// usage is what a process has used since it started.
type usage struct {
	Mallocs uint64        `json:"mallocs"` // objects allocated on the heap
	CPU     time.Duration `json:"cpu"`     // user and system time
	Memory  uint64        `json:"memory"`  // bytes of heap and stacks in use
	Pauses  []uint64      `json:"pauses"`  // stop-the-world pauses, by bucket of pauseLimits
}

// usageBefore reads the usage at the begin of a measurement, usageAfter at its end: in opposite
// orders, so that little of the reading itself counts.
func usageBefore() usage {
	u := usage{Pauses: readPauses()}
	u.readMemory()
	u.CPU = cpuTime()
	return u
}

func usageAfter() usage {
	u := usage{CPU: cpuTime()}
	u.readMemory()
	u.Pauses = readPauses()
	return u
}

func (u *usage) readMemory() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Mallocs = m.Mallocs
	u.Memory = m.HeapInuse + m.StackInuse
}

// pauseMetrics are the stop-the-world pauses of collections and of everything else, from the
// request to stop until the world runs again.
var pauseMetrics = [...]string{
	"/sched/pauses/total/gc:seconds",
	"/sched/pauses/total/other:seconds",
}

// readPauses counts the pauses since the process started, one count for each bucket of the
// runtime's.
func readPauses() []uint64 {
	var counts []uint64
	for _, h := range pauseHistograms() {
		if counts == nil {
			counts = make([]uint64, len(h.Counts))
		}
		for i, n := range h.Counts {
			counts[i] += n
		}
	}
	return counts
}

// pauseLimits returns the upper ends of the buckets, in microseconds; the last is that of the one
// before, since it has none.
func pauseLimits() []float64 {
	var limits []float64
	for _, h := range pauseHistograms()[:1] {
		limits = append(limits, h.Buckets[1:]...)
	}
	for i, s := range limits {
		limits[i] = s * 1e6
		if math.IsInf(s, 1) && i > 0 {
			limits[i] = limits[i-1]
		}
	}
	return limits
}

func pauseHistograms() []*metrics.Float64Histogram {
	samples := make([]metrics.Sample, len(pauseMetrics))
	for i, name := range pauseMetrics {
		samples[i].Name = name
	}
	metrics.Read(samples)
	var list []*metrics.Float64Histogram
	for _, s := range samples {
		list = append(list, s.Value.Float64Histogram())
	}
	return list
}

// period is what a process used between two moments.
type period struct {
	From usage `json:"from"`
	To   usage `json:"to"`
}

// cpu returns seconds.
func (p period) cpu() float64 { return (p.To.CPU - p.From.CPU).Seconds() }

// pauses are the stop-the-world pauses of a period, by bucket of pauseLimits.
type pauses []uint64

func (p period) pauses() pauses {
	list := make(pauses, len(p.To.Pauses))
	for i := range list {
		list[i] = p.To.Pauses[i]
		if i < len(p.From.Pauses) {
			list[i] -= p.From.Pauses[i]
		}
	}
	return list
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
