//go:build linux && !portable

package hub_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// BenchmarkInspectStall is what an inspection of everything, with 10,000 peers there (500 without
// PITHOS_LONG=1), does to calls that pass the hub meanwhile: the longest call between native peers,
// and the longest one between Pandora's, which takes the hub's lock, of each inspection, as the
// median over all. quiet is the same for a while as long without an inspection.
func BenchmarkInspectStall(b *testing.B) {
	n := 500
	if long() {
		n = 10_000
	}
	_, path := start(b, hub.Options{})
	const children = 2
	for i := range children {
		s := newStormer(b, fmt.Sprintf("%s %d %d %d", path, i*n/children, n/children, n))
		s.says(b, "joined")
	}
	caller, provider := join(b, path, "a"), join(b, path, "b")
	echo(b, provider, "echo")
	looker, err := transport.Dial(context.Background(), path, transport.Options{})
	require.NoError(b, err)
	defer looker.Close(context.Background())
	ask := func(method, body string) []byte { // what it answers is not read: that is no hub's work
		reply, err := looker.Do(context.Background(), transport.Message{Method: method,
			Body: []byte(body)}, nil)
		require.NoError(b, err)
		return reply
	}
	ask("pithos.online", `{"appName":"looker"}`)
	stopping := make(chan struct{})
	var flows sync.WaitGroup
	var native, pandora worst
	flows.Go(func() {
		route, buf := caller.Object("echo"), make([]byte, 64)
		native.follow(stopping, func() {
			if _, err := route.Call(context.Background(), "m", buf, buf); err != nil {
				b.Error(err)
			}
		})
	})
	asks := dial(b, path).online(`{"appName":"asks"}`)
	serves := dial(b, path).online(`{"appName":"pan"}`)
	flows.Go(func() {
		pandora.follow(stopping, func() {
			asks.up(`{"remote":{"appName":"pan"},"needReply":true}`)
			id, _ := serves.next()
			serves.send(`{"action":"response_callback_%d","data":1}`, id)
			asks.next()
		})
	})
	var took, quiet [2][]float64
	var inspected []float64
	for b.Loop() {
		native.take()
		pandora.take()
		begun := time.Now()
		reply := ask("pithos.inspect", `{"peers":true,"objects":true,"routes":true,"methods":true}`)
		lasted := time.Since(begun)
		require.Greater(b, len(reply), 200*n)
		took[0], took[1] = append(took[0], native.take()), append(took[1], pandora.take())
		inspected = append(inspected, float64(lasted.Microseconds()))
		time.Sleep(lasted)
		quiet[0], quiet[1] = append(quiet[0], native.take()), append(quiet[1], pandora.take())
	}
	close(stopping)
	flows.Wait()
	median := func(all []float64) float64 {
		slices.Sort(all)
		return all[len(all)/2]
	}
	b.ReportMetric(median(took[0]), "native-us")
	b.ReportMetric(median(quiet[0]), "native-quiet-us")
	b.ReportMetric(median(took[1]), "pandora-us")
	b.ReportMetric(median(quiet[1]), "pandora-quiet-us")
	b.ReportMetric(median(inspected), "inspect-us")
	b.ReportMetric(0, "ns/op")
}

// worst is the longest call since it was asked for last.
type worst struct {
	mu      sync.Mutex
	longest time.Duration // guarded by mu
	begun   time.Time     // of the call under way; guarded by mu
}

func (w *worst) follow(stop chan struct{}, call func()) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		w.mu.Lock()
		w.begun = time.Now()
		w.mu.Unlock()
		call()
		w.mu.Lock()
		w.longest = max(w.longest, time.Since(w.begun))
		w.mu.Unlock()
	}
}

// take is the longest so far, in microseconds, that of the call under way included.
func (w *worst) take() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest := max(w.longest, time.Since(w.begun))
	w.longest, w.begun = 0, time.Now()
	return float64(longest.Nanoseconds()) / 1e3
}
