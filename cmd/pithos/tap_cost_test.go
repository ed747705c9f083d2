package main

import (
	"context"
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
// one, which records everything that its rate allows and writes it to a file, beside those without,
// in turns. The hub is a process of its own, and so is the tap; caller and provider share a third.
// cost-% is the median over the rounds; run it with -benchtime 11x.
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
			var costs, off, on []float64
			for b.Loop() {
				off = append(off, rate(b, c, underWay))
				tap := process(b, "tap", "--socket", path, "-o", filepath.Join(dir, "frames.tap"))
				require.NoError(b, tap.Start())
				awaitTaps(b, c, 1)
				on = append(on, rate(b, c, underWay))
				require.NoError(b, tap.Process.Signal(os.Interrupt))
				require.NoError(b, tap.Wait())
				awaitTaps(b, c, 0)
				costs = append(costs, 100*(1-on[len(on)-1]/off[len(off)-1]))
			}
			b.ReportMetric(median(costs), "cost-%")
			b.ReportMetric(slices.Min(costs), "least-%")
			b.ReportMetric(slices.Max(costs), "most-%")
			b.ReportMetric(median(off), "off-calls/s")
			b.ReportMetric(median(on), "on-calls/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

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
	const while = 400 * time.Millisecond
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
