package bench

import (
	"context"
	"runtime"
	"slices"
	"time"
)

// Scenario is one thing that is measured of every row that can do it.
type Scenario struct {
	Name  string
	Group string // of scenarios that are run together
	About string
	Modes Mode // that a row must have

	body    int  // bytes of a body and of its reply
	conns   int  // connections
	calls   int  // calls under way on each; 0: none at all
	latency bool // time each call
	hogs    bool // beside a CPU-bound process on each core
	collect bool // force garbage collections in both processes
	crowd   int  // so many processes more that call, one call under way in each

	columns []column // of its table

	// measure is how a row is measured; nil: by measurement.run.
	measure func(*measurement, context.Context) (values, error)
}

// Names of the scenarios that claims speak of.
const (
	latencyScenario      = "latency"
	hogsScenario         = "latency-hogs"
	callers64Scenario    = "callers-64"
	callers1000Scenario  = "callers-1000"
	callback64Scenario   = "callbacks-64"
	callback1000Scenario = "callbacks-1000"
	body64KScenario      = "body-64k"
	body64K8Scenario     = "body-64k-8"
	body1MScenario       = "body-1m"
	hubScenario          = "hub-latency"
	hub10Scenario        = "hub-callbacks-10"
	hub64Scenario        = "hub-callbacks-64"
	scaleScenario        = "hub-scale"
	pandoraScenario      = "pandora-10"
	pausesScenario       = "pauses"
	idleScenario         = "idle"
	crowdScenario        = "crowd"
)

const (
	smallBody  = 64
	longBody   = 64 << 10
	idleConns  = 1000
	idleFactor = 4 // an idle measurement takes so many durations
)

// The groups.
const (
	callsGroup   = "calls"
	bodiesGroup  = "bodies"
	mannersGroup = "manners" // what it costs others
	hubGroup     = "hub"
	pandoraGroup = "pandora"
)

// Scenarios returns every scenario in the order of the report.
func Scenarios() []Scenario {
	return slices.Concat(
		in(callsGroup, callScenarios()), in(bodiesGroup, bodyScenarios()),
		in(mannersGroup, mannerScenarios()), in(hubGroup, hubScenarios()),
		in(pandoraGroup, pandoraScenarios()))
}

func in(group string, list []Scenario) []Scenario {
	for i := range list {
		list[i].Group = group
	}
	return list
}

func callScenarios() []Scenario {
	callers := func(name, about string, conns, calls int) Scenario {
		return Scenario{
			Name: name, About: about + ", blocking callers", Modes: Callers,
			body: smallBody, conns: conns, calls: calls, columns: rateColumns,
		}
	}
	callbacks := func(name, about string, conns, calls int) Scenario {
		s := callers(name, about, conns, calls)
		s.About, s.Modes = about+", callbacks", Callbacks
		if conns > 1 {
			s.Modes |= Many
		}
		return s
	}
	return []Scenario{{
		Name: latencyScenario, About: "64 bytes, one call under way",
		body: smallBody, conns: 1, calls: 1, latency: true, columns: latencyColumns,
	}, {
		Name: hogsScenario, About: "64 bytes, one call under way, a CPU-bound process on each core",
		body: smallBody, conns: 1, calls: 1, latency: true, hogs: true, columns: latencyColumns,
	},
		callers(callers64Scenario, "64 bytes, 64 under way on one connection", 1, 64),
		callbacks(callback64Scenario, "64 bytes, 64 under way on one connection", 1, 64),
		callers(callers1000Scenario, "64 bytes, 1,000 under way on one connection", 1, 1000),
		callbacks(callback1000Scenario, "64 bytes, 1,000 under way on one connection", 1, 1000),
		callers("callers-16x16", "64 bytes, 16 connections with 16 under way each", 16, 16),
		callbacks("callbacks-16x16", "64 bytes, 16 connections with 16 under way each", 16, 16),
	}
}

func bodyScenarios() []Scenario {
	body := func(name, about string, size, calls int) Scenario {
		s := Scenario{
			Name: name, About: about, body: size, conns: 1, calls: calls, latency: true,
			columns: bodyColumns,
		}
		if calls > 1 {
			s.Modes = Several
		}
		return s
	}
	return []Scenario{
		body(body64KScenario, "64 KiB each way, one call under way", 64<<10, 1),
		body(body64K8Scenario, "64 KiB each way, 8 calls under way", 64<<10, 8),
		body(body1MScenario, "1 MiB each way, one call under way", 1<<20, 1),
	}
}

func mannerScenarios() []Scenario {
	return []Scenario{{
		Name: crowdScenario,
		About: "64 bytes, a busy process more than there are processors: the server, and " +
			"callers with one call under way each",
		Modes: Many, body: smallBody, conns: 1, calls: 1, latency: true,
		crowd: max(1, runtime.GOMAXPROCS(0)-1), columns: crowdColumns,
	}, {
		Name: pausesScenario,
		About: "stop-the-world delay: both processes stop every 1 ms and collect every " +
			"20 ms, one call under way for every two processors, so that each can spin",
		body: smallBody, conns: max(1, runtime.GOMAXPROCS(0)/2), calls: 1, latency: true,
		collect: true, columns: pauseColumns,
	}, {
		Name: idleScenario, About: "1,000 connections on which nobody calls", Modes: Idle,
		body: smallBody, conns: idleConns, columns: idleColumns,
	}}
}

func hubScenarios() []Scenario {
	hops := func(name, about string, calls int) Scenario {
		return Scenario{
			Name: name, About: about, Modes: Hops | Callbacks, body: smallBody, conns: 1,
			calls: calls, columns: hopRateColumns,
		}
	}
	return []Scenario{{
		Name: hubScenario, About: "64 bytes over a hub, three processes, one call under way",
		Modes: Hops, body: smallBody, conns: 1, calls: 1, latency: true, columns: hopColumns,
	},
		hops(hub10Scenario, "64 bytes over a hub, 10 under way, callbacks", 10),
		hops(hub64Scenario, "64 bytes over a hub, 64 under way, callbacks", 64),
		{
			Name: scaleScenario, Modes: Hops | Scale,
			About: "64 bytes over a hub, one call under way, beside 10,000 peers with 100,000 " +
				"objects, and without them before",
			body: smallBody, conns: 1, calls: 1, latency: true, columns: scaleColumns,
			measure: (*measurement).scale,
		},
	}
}

func pandoraScenarios() []Scenario {
	return []Scenario{
		{
			Name: pandoraScenario, Modes: Pandora,
			About: "Pandora's own clients in Node, echo of 64 bytes over a hub, 10 under way",
			body:  smallBody, calls: 10, latency: true, columns: pandoraColumns,
			measure: (*measurement).pandora,
		},
	}
}

// setup returns what both ends of a row are told for s.
func (s Scenario) setup(path string, busyPoll time.Duration) Setup {
	return Setup{Path: path, MaxBody: s.body, MaxCalls: max(s.calls, 1), BusyPoll: busyPoll}
}
