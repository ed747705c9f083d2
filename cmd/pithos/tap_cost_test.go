package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// BenchmarkR32TapCost is what a tap costs those who call through the hub: the calls per second with
// one, which records all that its rate allows and writes it to a file, beside those without, in
// turns: each window with one lies between two without. The hub is a process of its own, and so is
// the tap; caller and provider share a third. A window begins when the tap has run for a while, so
// that neither its start nor what it may record at once counts. cost-% is the median over the
// windows, noise-% that of the difference of the two windows without, below which a cost cannot be
// seen; run it with -benchtime 11x or more.
func BenchmarkR32TapCost(b *testing.B) {
	for _, underWay := range []int{1, 64} {
		name := map[int]string{1: "one at a time", 64: "64 under way"}[underWay]
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			path := filepath.Join(dir, "hub.sock")
			h := process(b, "hub", "--socket", path)
			require.NoError(b, h.Start())
			defer h.Wait()
			defer h.Process.Signal(os.Interrupt)
			c := joinSoon(b, path)
			defer c.Close(context.Background())
			echo := transport.HandlerFunc(func(r *transport.Request) { _ = r.Reply(r.Body()) })
			_, err := c.Publish(b.Context(), hub.Object{Name: "echo", Handler: echo, OnLoop: true})
			require.NoError(b, err)
			rate(b, c, underWay)
			var costs, noise, off, on []float64
			var recorded, missed uint64
			for b.Loop() {
				before := rate(b, c, underWay)
				end := tapSteadily(b, c, path, filepath.Join(dir, "frames.tap"))
				with := rate(b, c, underWay)
				n, not := end()
				recorded, missed = recorded+n, missed+not
				after := rate(b, c, underWay)
				on, off = append(on, with), append(off, before, after)
				costs = append(costs, 100*(1-2*with/(before+after)))
				noise = append(noise, 100*math.Abs(before-after)/max(before, after))
			}
			b.ReportMetric(median(costs), "cost-%")
			b.ReportMetric(slices.Min(costs), "least-%")
			b.ReportMetric(slices.Max(costs), "most-%")
			b.ReportMetric(median(noise), "noise-%")
			b.ReportMetric(median(off), "off-calls/s")
			b.ReportMetric(median(on), "on-calls/s")
			b.ReportMetric(100*float64(recorded)/float64(recorded+missed), "recorded-%")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// tapSteadily starts a tap and waits until it runs as it will. What it returns ends it, and says
// how many frames it has recorded, and how many not.
func tapSteadily(b *testing.B, c *hub.Client, path, file string) func() (recorded, not uint64) {
	b.Helper()
	tap := process(b, "tap", "--socket", path, "-o", file)
	var said bytes.Buffer
	tap.Stderr = &said
	require.NoError(b, tap.Start())
	awaitTaps(b, c, 1)
	time.Sleep(settling)
	return func() (recorded, not uint64) {
		require.NoError(b, tap.Process.Signal(os.Interrupt))
		require.NoError(b, tap.Wait(), said.String())
		awaitTaps(b, c, 0)
		time.Sleep(settling)
		_, err := fmt.Sscanf(said.String(), "%d frames recorded, %d were not", &recorded, &not)
		require.NoError(b, err, said.String())
		require.Positive(b, recorded)
		return recorded, not
	}
}

// settling is two turns of a tap, and longer than a processor stays busy with the start or the end
// of a process.
const settling = 200 * time.Millisecond

// joinSoon joins a hub that is just being started.
func joinSoon(b *testing.B, path string) (c *hub.Client) {
	b.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if c, err = hub.Join(b.Context(), path, hub.JoinOptions{}); err == nil {
			return c
		}
		require.Less(b, time.Now(), end, "no hub: %v", err)
	}
}

// awaitTaps waits until the hub has n taps.
func awaitTaps(b *testing.B, c *hub.Client, n int) {
	b.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		in, err := c.Inspect(b.Context(), hub.InspectOptions{})
		require.NoError(b, err)
		if in.Hub.Taps == n {
			return
		}
		require.Less(b, time.Now(), end)
	}
}

// rate is how many calls a second of 64 bytes end, with so many under way, over a while.
func rate(b *testing.B, c *hub.Client, underWay int) float64 {
	const while = 600 * time.Millisecond
	route := c.Object("echo")
	require.NoError(b, route.Resolve(b.Context()))
	body := make([]byte, 64)
	begun := time.Now()
	if underWay == 1 {
		buf, n := make([]byte, 64), 0
		for ; time.Since(begun) < while; n++ {
			_, err := route.Call(b.Context(), "echo", body, buf)
			require.NoError(b, err)
		}
		return float64(n) / time.Since(begun).Seconds()
	}
	var ended atomic.Int64
	var over atomic.Bool
	done := make(chan error, underWay)
	for range underWay {
		buf := make([]byte, 64)
		var next func([]byte, error)
		next = func(_ []byte, err error) {
			ended.Add(1)
			if err == nil && !over.Load() {
				err = route.Go(hub.Message{Method: "echo", Payload: body}, buf, next)
				if err == nil {
					return
				}
			}
			done <- err
		}
		require.NoError(b, route.Go(hub.Message{Method: "echo", Payload: body}, buf, next))
	}
	time.Sleep(while)
	n, took := ended.Load(), time.Since(begun)
	over.Store(true)
	for range underWay {
		require.NoError(b, <-done)
	}
	return float64(n) / took.Seconds()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
