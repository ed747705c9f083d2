package hub

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/pithos-ipc/pithos/balancer"
)

// filled is a core with n selectors: of one peer in ten with many, as a process that publishes a
// lot, and of others with one each.
func filled(n int) *core {
	c := newCore(Limits{}, func() balancer.Picker { return new(balancer.RoundRobin) })
	var p *peer
	for i := range n {
		if p == nil || i%10 < 5 {
			p = newPeer(new(sink))
			c.open(p)
		}
		c.mu.Lock()
		c.enterLocked(p, &target{peer: p, pub: uint64(i + 1)}, sel(fmt.Sprintf(
			`{"appName":"app%d","pid":"%d","objectName":"object-%d","objectTag":"t"}`, i%7, p.seq, i)),
			`{"objectName":"o"}`)
		c.unlock()
	}
	return c
}

// A look-up costs the same among 10 selectors and among 100,000, by the index (find), on a route
// that nothing has changed (route), and beside the naive scan.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		c := filled(n)
		wanted := sel(fmt.Sprintf(`{"objectName":"object-%d","objectTag":"t","appName":"app%d"}`,
			n/2, n/2%7))
		t := new(turn)
		c.mu.Lock()
		r := c.routeLocked(wanted, t)
		c.unlock()
		b.Run(fmt.Sprint("route/", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if len(c.current(r).targets) != 1 {
					b.Fatal("not found")
				}
			}
		})
		var found selection
		b.Run(fmt.Sprint("find/", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.table.find(wanted, &found); len(found.targets) != 1 {
					b.Fatal("not found")
				}
			}
		})
		b.Run(fmt.Sprint("scan/", n), func(b *testing.B) {
			var q query
			q.resolve(c.table, wanted)
			for b.Loop() {
				hits := 0
				for _, l := range c.table.order {
					for _, e := range l.entries {
						if q.matches(e) {
							hits++
						}
					}
				}
				if hits != 1 {
					b.Fatal("not found")
				}
			}
		})
	}
}

// One publish and one unpublish beside 100,000 selectors, with a route that finds them.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := filled(n)
			p := newPeer(new(sink))
			c.open(p)
			to := &target{peer: p, pub: 1}
			s := sel(`{"appName":"app1","pid":"x","objectName":"new"}`)
			b.ReportAllocs()
			for b.Loop() {
				c.mu.Lock()
				e := c.enterLocked(p, to, s, "{}")
				c.takeLocked(e)
				c.unlock()
			}
		})
	}
}

// What a selector takes: bytes of heap for each of 100,000 of one peer, and for each of 10,000
// peers with nothing but their connection's entry.
func BenchmarkMemory(b *testing.B) {
	measure := func(b *testing.B, n int, fill func() any) {
		for b.Loop() {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			kept := fill()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/each")
			runtime.KeepAlive(kept)
		}
	}
	b.Run("selector", func(b *testing.B) {
		const n = 100_000
		measure(b, n, func() any {
			c := newCore(Limits{}, func() balancer.Picker { return new(balancer.RoundRobin) })
			p := newPeer(new(sink))
			c.open(p)
			for i := range n {
				raw := fmt.Sprintf(`{"appName":"app","pid":"1","clientId":"c",`+
					`"objectName":"object-%d"}`, i)
				c.mu.Lock()
				c.enterLocked(p, &target{peer: p, pub: uint64(i + 1)}, sel(raw), raw)
				c.unlock()
			}
			return c
		})
	})
	b.Run("peer", func(b *testing.B) {
		const n = 10_000
		measure(b, n, func() any {
			c := newCore(Limits{}, func() balancer.Picker { return new(balancer.RoundRobin) })
			for range n {
				c.open(newPeer(new(sink)))
			}
			return c
		})
	})
}

// BenchmarkInspectLock is how long the hub's lock is kept from others by an inspection of 10,000
// peers with 10 objects each: the longest wait of each inspection, as the median over all. quiet is
// the same while somebody works as long without the lock: what the machine makes of it.
func BenchmarkInspectLock(b *testing.B) {
	c := newTestCore()
	for i := range 10_000 {
		p := newPeer(new(sink))
		c.open(p)
		t := c.turns.Get().(*turn)
		for k := range 10 {
			raw := fmt.Sprintf(`{"appName":"shop","pid":"%d","objectName":"o%d"}`, i, 10*i+k)
			c.enter(p, t, 1, []byte(raw))
			_, _ = c.lookUp([]byte(raw))
		}
		c.putTurn(t)
	}
	longest := func(work func()) (wait, took time.Duration) {
		done := make(chan struct{})
		start := time.Now()
		go func() {
			defer close(done)
			work()
		}()
		for {
			begun := time.Now()
			c.mu.Lock()
			c.unlock()
			wait = max(wait, time.Since(begun))
			select {
			case <-done:
				return wait, time.Since(start)
			default:
			}
		}
	}
	var waits, quiet []float64
	for b.Loop() {
		wait, took := longest(func() {
			c.inspect(InspectOptions{Peers: true, Objects: true, Routes: true, Methods: true})
		})
		waits = append(waits, float64(wait.Nanoseconds())/1e3)
		wait, _ = longest(func() {
			for begun := time.Now(); time.Since(begun) < took; runtime.Gosched() {
				for words := make([]string, 1000); len(words) > 0; words = words[1:] {
					words[0] = fmt.Sprint(len(words))
				}
			}
		})
		quiet = append(quiet, float64(wait.Nanoseconds())/1e3)
	}
	slices.Sort(waits)
	slices.Sort(quiet)
	b.ReportMetric(waits[len(waits)/2], "wait-us")
	b.ReportMetric(quiet[len(quiet)/2], "quiet-us")
}
