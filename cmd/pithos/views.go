package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

// view is an inspection as tables, beside an earlier one that tells the rates.
type view struct {
	now    *hub.Inspection
	before *hub.Inspection // nil: no rates
}

// seconds are between the two inspections, 0: there is only one.
func (v view) seconds() float64 {
	if v.before == nil || v.before.Hub.PID != v.now.Hub.PID {
		return 0 // the hub was started anew, and its counters with it
	}
	return v.now.Hub.Now.Sub(v.before.Hub.Now).Seconds()
}

// rate is how fast a counter has grown from one inspection to the other.
func (v view) rate(now, before uint64) float64 {
	if s := v.seconds(); s > 0 && now >= before {
		return float64(now-before) / s
	}
	return 0
}

// headline is the hub in one line or two.
func (v view) headline() []string {
	h, s := v.now.Hub, v.now.Stats
	first := fmt.Sprintf("hub %d, up %s, %d peers, %d selectors, %d calls under way", h.PID,
		h.Now.Sub(h.Started).Truncate(time.Second), s.Peers, s.Selectors, s.Pending)
	if v.seconds() > 0 {
		b := v.before.Stats
		first += fmt.Sprintf(", %s messages/s, %s replies/s", perSecond(v.rate(s.Messages,
			b.Messages)), perSecond(v.rate(s.Replies, b.Replies)))
	}
	if h.HeapBytes > 0 {
		first += ", heap " + sized(h.HeapBytes)
	}
	if h.Taps > 0 {
		first += fmt.Sprintf(", %d taps", h.Taps)
	}
	lines := []string{first}
	for i, a := range h.Addresses {
		if i == 0 {
			a = "at " + a
		}
		lines = append(lines, plainText(a))
	}
	var wrong []string
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{s.NotFound, "found nobody"}, {s.TimedOut, "timed out"}, {s.Lost, "lost their provider"},
		{s.Refused, "refused"}, {s.Invalid, "not JSON"}, {s.Cut, "peers cut off"},
	} {
		if c.n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if wrong != nil {
		lines = append(lines, "so far "+strings.Join(wrong, ", "))
	}
	return lines
}

// peers lists who is there; those that something waits for come first, then the busy ones.
func (v view) peers() *grid {
	g := &grid{title: "PEERS", none: "nobody is connected", heads: []string{" ID", "KIND", "NAME",
		" PID", " SELECTORS", " INSIDE", " ASKING", " QUEUED", " WAITING", " REFUSED", " DROPPED"}}
	if v.before != nil {
		g.heads = append(g.heads, " IN/S", " OUT/S")
	} else {
		g.heads = append(g.heads, " IN", " OUT")
	}
	was := make(map[uint64]hub.PeerInfo)
	if v.before != nil {
		for _, p := range v.before.Peers {
			was[p.ID] = p
		}
	}
	list := slices.Clone(v.now.Peers)
	if v.before != nil {
		slices.SortStableFunc(list, func(a, b hub.PeerInfo) int {
			traffic := func(p hub.PeerInfo) uint64 {
				return p.FramesIn + p.FramesOut - was[p.ID].FramesIn - was[p.ID].FramesOut
			}
			return cmp.Or(cmp.Compare(b.Queued, a.Queued), cmp.Compare(traffic(b), traffic(a)))
		})
	}
	for _, p := range list {
		in, out := fmt.Sprint(p.FramesIn), fmt.Sprint(p.FramesOut)
		if v.before != nil {
			in = perSecond(v.rate(p.FramesIn, was[p.ID].FramesIn))
			out = perSecond(v.rate(p.FramesOut, was[p.ID].FramesOut))
		}
		g.add(p.ID, p.Kind, p.Name, numberOr(p.PID, "-"), p.Selectors, p.Inside, p.Asking, p.Queued,
			sized(p.Waiting), p.Refused, p.Dropped, in, out)
	}
	return g
}

// numberOr is n, or, where it is 0, what says that there is none.
func numberOr(n int, none string) string {
	if n == 0 {
		return none
	}
	return fmt.Sprint(n)
}

// objects lists what is published, by whom.
func (v view) objects() *grid {
	g := &grid{title: "OBJECTS", none: "nothing is published",
		heads: []string{"OBJECT", "TAG", " CALLS", " PROVIDERS", "PEERS"}}
	names := make(map[uint64]string)
	for _, p := range v.now.Peers {
		names[p.ID] = p.Name
	}
	for _, o := range v.now.Objects {
		var by []string
		for _, id := range o.Peers {
			who := fmt.Sprint(id)
			if names[id] != "" {
				who += " " + names[id]
			}
			by = append(by, who)
		}
		g.add(o.Name, o.Tag, o.Calls, len(o.Peers), strings.Join(by, ", "))
	}
	return g
}

// routes lists the selectors that somebody has asked for.
func (v view) routes() *grid {
	g := &grid{title: "ROUTES", none: "nobody has asked for anything",
		heads: []string{"SELECTOR", " PROVIDERS", " USERS", " CALLS"}}
	for _, r := range v.now.Routes {
		g.add(string(r.Selector), r.Providers, r.Users, r.Calls)
	}
	return g
}

// methods lists what was called; the busiest come first.
func (v view) methods() *grid {
	g := &grid{title: "METHODS", none: "nothing was called", heads: []string{"METHOD", " CALLS",
		" FAILED", " INSIDE", " MEAN", " P50", " P99", " P99.9", " MAX"}}
	type key struct{ object, method string }
	was := make(map[key]uint64)
	if v.before != nil {
		g.heads = slices.Insert(g.heads, 2, " CALLS/S")
		for _, m := range v.before.Methods {
			was[key{m.Object, m.Method}] = m.Calls
		}
	}
	list := slices.Clone(v.now.Methods)
	grown := func(m hub.MethodInfo) uint64 { return m.Calls - was[key{m.Object, m.Method}] }
	slices.SortStableFunc(list, func(a, b hub.MethodInfo) int {
		return cmp.Or(cmp.Compare(grown(b), grown(a)), cmp.Compare(b.Calls, a.Calls),
			cmp.Compare(a.Object, b.Object), cmp.Compare(a.Method, b.Method))
	})
	for _, m := range list {
		cells := []any{methodName(m), m.Calls, m.Failed, m.Inside, micros(m.MeanUs),
			micros(m.P50Us), micros(m.P99Us), micros(m.P999Us), micros(m.MaxUs)}
		if v.before != nil {
			rate := perSecond(v.rate(m.Calls, was[key{m.Object, m.Method}]))
			cells = slices.Insert(cells, 2, any(rate))
		}
		g.add(cells...)
	}
	return g
}

// methodName is the method as call takes it.
func methodName(m hub.MethodInfo) string {
	if m.Object == "" {
		return m.Method
	}
	return m.Object + "." + m.Method
}

// histogramWidth is the longest bar of a histogram in characters.
const histogramWidth = 40

// histogram draws how long the calls of m took, a line for each power of two.
func histogram(m hub.MethodInfo) *grid {
	g := &grid{title: methodName(m), none: "no call has ended",
		heads: []string{" UP TO", " CALLS", " SHARE", ""}}
	type bar struct {
		up    float64
		calls uint64
	}
	var bars []bar
	var most, all uint64
	for _, b := range m.Buckets {
		up := 1.0
		for up < b.AtMostUs {
			up *= 2
		}
		if n := len(bars); n == 0 || bars[n-1].up != up {
			bars = append(bars, bar{up: up})
		}
		last := &bars[len(bars)-1]
		last.calls += b.Calls
		most, all = max(most, last.calls), all+b.Calls
	}
	for _, b := range bars {
		width := int(float64(b.calls)/float64(most)*histogramWidth + 0.5)
		g.add(micros(b.up), b.calls, fmt.Sprintf("%.1f %%", 100*float64(b.calls)/float64(all)),
			strings.Repeat("#", max(1, width)))
	}
	return g
}
