package main

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pithos-ipc/pithos/hub"
)

// collector gives Prometheus what the hub counts. It asks when it is asked, so that nothing is
// counted twice and a hub that nobody watches pays nothing.
type collector struct {
	inspect func(hub.InspectOptions) *hub.Inspection
	descs   map[string]*prometheus.Desc // by the name in metricNames
}

// metricNames are the metrics, without the prefix pithos_hub_, with their meanings and labels.
// Peers are named only where something waits for them or was thrown away, so that there are not as
// many series as peers.
var metricNames = []struct {
	name, help string
	labels     []string
}{
	{"peers", "Connections.", nil},
	{"selectors", "Selectors in the route table.", nil},
	{"pending_calls", "Calls without a reply.", nil},
	{"objects", "Objects that are published.", nil},
	{"routes", "Selectors that were asked for, and are kept found.", nil},
	{"taps", "Taps that record frames.", nil},
	{"events_total", "What the hub has done, by what it was.", []string{"event"}},
	{"calls_total", "Calls of a method.", ofMethod},
	{"calls_failed_total", "Calls of a method that had an error for a reply.", ofMethod},
	{"calls_in_flight", "Calls of a method without a reply.", ofMethod},
	{"call_duration_seconds", "Time from the read of a call to the read of its reply.", ofMethod},
	{"peer_queued", "Calls, oneways and frames that wait for a peer.", ofPeer},
	{"peer_queued_bytes", "Bytes that wait for a peer.", ofPeer},
	{"peer_refused_total", "Calls for a peer that were thrown away, and answered.", ofPeer},
	{"peer_dropped_total", "Oneways for a peer that were thrown away.", ofPeer},
}

// The labels of what is counted for a method, or for a peer.
var (
	ofMethod = []string{"object", "method"}
	ofPeer   = []string{"peer", "name"}
)

func newCollector(h *hub.Hub) *collector {
	c := &collector{inspect: h.Inspect, descs: make(map[string]*prometheus.Desc)}
	for _, m := range metricNames {
		c.descs[m.name] = prometheus.NewDesc("pithos_hub_"+m.name, m.help, m.labels, nil)
	}
	return c
}

// Describe sends what Collect may give; the methods and peers are not known before.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

// Collect sends what is now.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	in := c.inspect(hub.InspectOptions{Peers: true, Objects: true, Routes: true, Methods: true,
		Buckets: true, Limit: math.MaxInt})
	gauge := func(name string, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(c.descs[name], prometheus.GaugeValue, v, labels...)
	}
	count := func(name string, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(c.descs[name], prometheus.CounterValue, float64(v),
			labels...)
	}
	gauge("peers", float64(in.Stats.Peers))
	gauge("selectors", float64(in.Stats.Selectors))
	gauge("pending_calls", float64(in.Stats.Pending))
	gauge("objects", float64(len(in.Objects)))
	gauge("routes", float64(len(in.Routes)))
	gauge("taps", float64(in.Hub.Taps))
	for name, n := range in.Stats.Counters() {
		count("events_total", n, name)
	}
	for _, m := range in.Methods {
		object, method := label(m.Object), label(m.Method)
		count("calls_total", m.Calls, object, method)
		count("calls_failed_total", m.Failed, object, method)
		gauge("calls_in_flight", float64(m.Inside), object, method)
		to <- duration(c.descs["call_duration_seconds"], m, object, method)
	}
	for _, p := range in.Peers {
		if p.Queued == 0 && p.Waiting == 0 && p.Refused == 0 && p.Dropped == 0 {
			continue
		}
		id, name := strconv.FormatUint(p.ID, 10), label(p.Name)
		gauge("peer_queued", float64(p.Queued), id, name)
		gauge("peer_queued_bytes", float64(p.Waiting), id, name)
		count("peer_refused_total", p.Refused, id, name)
		count("peer_dropped_total", p.Dropped, id, name)
	}
}

// durationBounds are the upper ends of the buckets in seconds: 1, 2, 5 from 10 us to 10 s. Those of
// all methods have to be the same, and each costs a series.
var durationBounds = []float64{1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2,
	5e-2, 0.1, 0.2, 0.5, 1, 2, 5, 10}

// duration is how long the calls of m took, as a histogram of Prometheus. A bucket of ours counts
// where its upper end lies, which is at most 13 % too high.
func duration(d *prometheus.Desc, m hub.MethodInfo, labels ...string) prometheus.Metric {
	counts := make(map[float64]uint64, len(durationBounds))
	var n uint64
	i := 0
	for _, b := range m.Buckets {
		for i < len(durationBounds) && b.AtMostUs > durationBounds[i]*1e6 {
			counts[durationBounds[i]] = n
			i++
		}
		n += b.Calls
	}
	for ; i < len(durationBounds); i++ {
		counts[durationBounds[i]] = n
	}
	return prometheus.MustNewConstHistogram(d, n, m.MeanUs*float64(n)/1e6, counts, labels...)
}

// label is s as the value of a label, which has to be UTF-8. It is not shortened: two methods of
// one name would be an error.
func label(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strconv.Quote(s)
}
