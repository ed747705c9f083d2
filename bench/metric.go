package bench

import "fmt"

// values are the figures of one measurement, by metric.
type values map[string]float64

// The metrics. Their names end in their unit; allocs and cpu are per call and per million calls.
const (
	metricP50       = "p50_us"
	metricP99       = "p99_us"
	metricP999      = "p999_us"
	metricMean      = "mean_us"
	metricMax       = "max_us"
	metricRate      = "calls_per_s"
	metricBytes     = "mb_per_s" // bodies and replies, 1e6 bytes
	clientAllocs    = "client_allocs_per_call"
	serverAllocs    = "server_allocs_per_call"
	hubAllocs       = "hub_allocs_per_call" // 0 without a hub
	hubCPU          = "hub_cpu_s_per_million"
	clientCPU       = "client_cpu_s_per_million"
	serverCPU       = "server_cpu_s_per_million"
	metricCPU       = "cpu_s_per_million"
	clientIdle      = "client_idle_percent" // of one core
	serverIdle      = "server_idle_percent"
	clientIdleBytes = "client_kib_per_conn" // heap, stacks and shared memory
	serverIdleBytes = "server_kib_per_conn"
)

// The metrics of pauses of the world, each behind the side it was taken on.
const (
	clientSide = "client_"
	serverSide = "server_"
	stopCount  = "stops"
	stopP50    = "stop_p50_us"
	stopP99    = "stop_p99_us"
	stopMax    = "stop_max_us"
	pauseCount = "gc_pauses"
	pauseP50   = "gc_pause_p50_us"
	pauseP99   = "gc_pause_p99_us"
)

// The metrics of hub-scale: those of latency are with the many peers, these without them, and the
// ratio.
const (
	fewP50         = "few_p50_us"
	fewP99         = "few_p99_us"
	scaleP50       = "p50_to_few"
	scaleP99       = "p99_to_few"
	peerMemory     = "hub_kib_per_peer"
	selectorMemory = "hub_bytes_per_selector"
	joinTime       = "join_s"
	publishTime    = "publish_s"
)

// column is a column of a scenario's table: a metric, or its ratio to a base row's.
type column struct {
	title  string // empty: the text belongs to the column before
	metric string
	format string
	scale  float64
	spread bool   // show the least and the greatest round too
	base   string // a row: show the ratio to it
}

var latencyColumns = []column{
	{title: "p50 us", metric: metricP50, format: "%.2f", spread: true},
	{title: "/plain", metric: metricP50, format: "%.2f", spread: true, base: rowPlain},
	{title: "/raw-spin", metric: metricP50, format: "%.2f", spread: true, base: rowRawSpin},
	{title: "/ring", metric: metricP50, format: "%.2f", spread: true, base: rowRing},
	{title: "p99 us", metric: metricP99, format: "%.1f", spread: true},
	{title: "p99.9 us", metric: metricP999, format: "%.1f", spread: true},
	{title: "/plain", metric: metricP999, format: "%.2f", spread: true, base: rowPlain},
	{title: "mean us", metric: metricMean, format: "%.2f"},
	{title: "allocs c+s", metric: clientAllocs, format: "%.3f"},
	{metric: serverAllocs, format: "+%.3f"},
	{title: "CPU s/M c+s", metric: clientCPU, format: "%.1f"},
	{metric: serverCPU, format: "+%.1f"},
}

var rateColumns = []column{
	{title: "k calls/s", metric: metricRate, format: "%.0f", scale: 1e-3, spread: true},
	{title: "/plain", metric: metricRate, format: "%.2f", spread: true, base: rowPlain},
	{title: "/ring", metric: metricRate, format: "%.2f", spread: true, base: rowRing},
	{title: "CPU s/M", metric: metricCPU, format: "%.2f", spread: true},
	{title: "/plain", metric: metricCPU, format: "%.2f", spread: true, base: rowPlain},
	{title: "c+s", metric: clientCPU, format: "%.2f"},
	{metric: serverCPU, format: "+%.2f"},
	{title: "allocs c+s", metric: clientAllocs, format: "%.3f"},
	{metric: serverAllocs, format: "+%.3f"},
}

// hopColumns are those of a latency over a hub, hopRateColumns those of a rate.
var hopColumns = []column{
	{title: "p50 us", metric: metricP50, format: "%.2f", spread: true},
	{title: "/plain-hub", metric: metricP50, format: "%.2f", spread: true, base: rowPlainHub},
	{title: "/ring-hub", metric: metricP50, format: "%.2f", spread: true, base: rowRingHub},
	{title: "p99 us", metric: metricP99, format: "%.1f", spread: true},
	{title: "p99.9 us", metric: metricP999, format: "%.1f", spread: true},
	{title: "mean us", metric: metricMean, format: "%.2f"},
	{title: "allocs c+h+p", metric: clientAllocs, format: "%.3f"},
	{metric: hubAllocs, format: "+%.3f"},
	{metric: serverAllocs, format: "+%.3f"},
	{title: "CPU s/M c+h+p", metric: clientCPU, format: "%.1f"},
	{metric: hubCPU, format: "+%.1f"},
	{metric: serverCPU, format: "+%.1f"},
}

var hopRateColumns = []column{
	{title: "k calls/s", metric: metricRate, format: "%.0f", scale: 1e-3, spread: true},
	{title: "/plain-hub", metric: metricRate, format: "%.2f", spread: true, base: rowPlainHub},
	{title: "/ring-hub", metric: metricRate, format: "%.2f", spread: true, base: rowRingHub},
	{title: "CPU s/M", metric: metricCPU, format: "%.2f", spread: true},
	{title: "c+h+p", metric: clientCPU, format: "%.2f"},
	{metric: hubCPU, format: "+%.2f"},
	{metric: serverCPU, format: "+%.2f"},
	{title: "allocs c+h+p", metric: clientAllocs, format: "%.3f"},
	{metric: hubAllocs, format: "+%.3f"},
	{metric: serverAllocs, format: "+%.3f"},
}

var scaleColumns = []column{
	{title: "p50 us", metric: metricP50, format: "%.2f", spread: true},
	{title: "without", metric: fewP50, format: "%.2f", spread: true},
	{title: "ratio", metric: scaleP50, format: "%.2f", spread: true},
	{title: "p99 us", metric: metricP99, format: "%.1f", spread: true},
	{title: "without", metric: fewP99, format: "%.1f", spread: true},
	{title: "ratio", metric: scaleP99, format: "%.2f", spread: true},
	{title: "KiB/peer", metric: peerMemory, format: "%.1f"},
	{title: "bytes/selector", metric: selectorMemory, format: "%.0f"},
	{title: "join s", metric: joinTime, format: "%.2f"},
	{title: "publish s", metric: publishTime, format: "%.2f"},
}

var pandoraColumns = []column{
	{title: "k calls/s", metric: metricRate, format: "%.1f", scale: 1e-3, spread: true},
	{title: "/pandora-node", metric: metricRate, format: "%.2f", spread: true, base: rowNodeHub},
	{title: "p50 us", metric: metricP50, format: "%.0f", spread: true},
	{title: "p99 us", metric: metricP99, format: "%.0f", spread: true},
	{title: "/pandora-node", metric: metricP99, format: "%.2f", spread: true, base: rowNodeHub},
	{title: "CPU s/M c+h+p", metric: clientCPU, format: "%.0f"},
	{metric: hubCPU, format: "+%.0f"},
	{metric: serverCPU, format: "+%.0f"},
}

var bodyColumns = []column{
	{title: "MB/s", metric: metricBytes, format: "%.0f", spread: true},
	{title: "/raw-spin", metric: metricBytes, format: "%.2f", spread: true, base: rowRawSpin},
	{title: "/raw-block", metric: metricBytes, format: "%.2f", spread: true, base: rowRawBlock},
	{title: "/plain", metric: metricBytes, format: "%.2f", spread: true, base: rowPlain},
	{title: "p50 us", metric: metricP50, format: "%.1f", spread: true},
	{title: "p99 us", metric: metricP99, format: "%.1f"},
	{title: "allocs c+s", metric: clientAllocs, format: "%.3f"},
	{metric: serverAllocs, format: "+%.3f"},
	{title: "CPU s/M", metric: metricCPU, format: "%.0f"},
}

var pauseColumns = []column{
	{title: "client p99 us", metric: clientSide + stopP99, format: "%.0f", spread: true},
	{title: "p50", metric: clientSide + stopP50, format: "%.0f"},
	{title: "max", metric: clientSide + stopMax, format: "%.0f"},
	{title: "of", metric: clientSide + stopCount, format: "%.0f"},
	{title: "gc p99", metric: clientSide + pauseP99, format: "%.0f", spread: true},
	{title: "of", metric: clientSide + pauseCount, format: "%.0f"},
	{title: "server p99 us", metric: serverSide + stopP99, format: "%.0f", spread: true},
	{title: "p50", metric: serverSide + stopP50, format: "%.0f"},
	{title: "max", metric: serverSide + stopMax, format: "%.0f"},
	{title: "of", metric: serverSide + stopCount, format: "%.0f"},
	{title: "gc p99", metric: serverSide + pauseP99, format: "%.0f", spread: true},
	{title: "of", metric: serverSide + pauseCount, format: "%.0f"},
	{title: "call p50 us", metric: metricP50, format: "%.2f"},
}

var crowdColumns = []column{
	{title: "k calls/s", metric: metricRate, format: "%.0f", scale: 1e-3, spread: true},
	{title: "/pithos-nospin", metric: metricRate, format: "%.2f", spread: true, base: rowNoSpin},
	{title: "p50 us", metric: metricP50, format: "%.1f", spread: true},
	{title: "p99 us", metric: metricP99, format: "%.0f"},
	{title: "p99.9 us", metric: metricP999, format: "%.0f"},
	{title: "CPU s/M c+s", metric: clientCPU, format: "%.1f"},
	{metric: serverCPU, format: "+%.1f"},
}

var idleColumns = []column{
	{title: "client % of a core", metric: clientIdle, format: "%.3f", spread: true},
	{title: "server %", metric: serverIdle, format: "%.3f", spread: true},
	{title: "client KiB/conn", metric: clientIdleBytes, format: "%.1f"},
	{title: "server KiB/conn", metric: serverIdleBytes, format: "%.1f"},
}

// factor is what a figure is multiplied with to be shown.
func (c column) factor() float64 {
	if c.scale == 0 {
		return 1
	}
	return c.scale
}

// cell formats the figure of a column, or "-" if the row or its base has none.
func (c column) cell(r *Report, scenario, row string) string {
	s, ok := r.spread(scenario, row, c.metric)
	if ok && c.base != "" {
		var base Spread
		if base, ok = r.spread(scenario, c.base, c.metric); ok {
			s = s.over(base)
		}
	}
	if !ok {
		return "-"
	}
	scale := 1.0
	if c.base == "" {
		scale = c.factor()
	}
	text := fmt.Sprintf(c.format, s.Median*scale)
	if c.spread && len(s.Rounds) > 1 {
		text += fmt.Sprintf(" ("+c.format+"-"+c.format+")", s.Min*scale, s.Max*scale)
	}
	return text
}
