package transport_test

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// floodSize is the length of each oneway of a flood, in bytes.
const floodSize = 1000

// R11: a connection that floods leaves the others of its loop their turn. By how much it slows them
// is what BenchmarkR11Flood says; here every call only has to come back while the flood goes on.
func TestR11FloodBesideOthers(t *testing.T) {
	const calls, ahead = 200, 1000
	eachPair(t, func(t *testing.T, server, client engine) {
		g, err := transport.NewGroup(1, 0)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		o := handler(echo)
		o.Group = g
		l := listen(t, server.of(o))
		loud := dial(t, l.Address(), client.of(transport.Options{}))
		flooded := l.Conns()[0]
		quiet := dial(t, l.Address(), client.of(transport.Options{}))

		ctx, cancel := context.WithCancel(background)
		ended := make(chan error, 1)
		go func() { ended <- pour(ctx, loud) }()
		t.Cleanup(cancel)
		eventually(t, func() bool { return flooded.Stats().FramesIn > ahead }, "the flood begins")

		deadline := patient(t) // for all calls together
		before := flooded.Stats().FramesIn
		for i := range calls {
			sent := body(uint64(i), 100)
			got, err := quiet.Call(deadline, sent, nil)
			require.NoError(t, err, "call %d: %v", i, now(flooded.Stats))
			require.Equal(t, sent, got, "call %d", i)
		}
		eventually(t, func() bool { return flooded.Stats().FramesIn > before+ahead },
			"the flood goes on")
		cancel()
		require.ErrorIs(t, receive(t, ended, "the end of the flood"), context.Canceled)
		require.NoError(t, flooded.Err())
	})
}

// pour sends oneways to c without a pause until ctx ends.
func pour(ctx context.Context, c *transport.Conn) error {
	b := body(1, floodSize)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.Send(ctx, b); err != nil {
			return err
		}
	}
}

// R11: how long calls take on a quiet connection whose server has one loop, while another process
// floods: that server (same-loop), or one of a third process (control), so that the flood takes its
// share of the processors in both. same-loop says by how many times its p99 is above the median of
// those of control, if they were run too; the limit is 3. One p99 alone says little on a machine
// that others use: take the median with -count, which runs every control before the first
// same-loop, so that a machine that changes meanwhile shows in the ratio.
func BenchmarkR11Flood(b *testing.B) {
	var controls []time.Duration
	b.Run("control", func(b *testing.B) {
		quiet := serveAlone(b)
		controls = append(controls, benchmarkFlood(b, quiet, serveAlone(b)))
	})
	slices.Sort(controls)
	b.Run("same-loop", func(b *testing.B) {
		address := serveAlone(b)
		p99 := benchmarkFlood(b, address, address)
		if n := len(controls); n > 0 {
			b.ReportMetric(float64(p99)/float64(controls[n/2]), "p99/control")
		}
	})
}

// serveAlone starts a process that serves with one loop, and returns its address.
func serveAlone(b *testing.B) string {
	b.Helper()
	address := filepath.Join(b.TempDir(), "s")
	server := startChild(b, "serve", order{Address: address, Count: 1})
	require.Equal(b, "ready", server.line())
	return address
}

// benchmarkFlood measures calls to one address while another process floods one. It returns their
// 99th percentile.
func benchmarkFlood(b *testing.B, calls, flood string) time.Duration {
	c := dial(b, calls, engines[0].of(transport.Options{}))
	loud := startChild(b, "floods", order{Address: flood, Count: 10_000, Size: floodSize})
	require.Equal(b, "ready", loud.line())
	sent, buf := body(1, 100), make([]byte, 100)
	took := make([]time.Duration, 0, 1<<20)
	begin := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		before := time.Now()
		if _, err := c.Call(background, sent, buf); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(before))
	}
	require.NoError(b, loud.cmd.Process.Signal(syscall.SIGTERM))
	last := loud.line()
	floods, err := strconv.Atoi(last)
	require.NoError(b, err, "the flood ended early: %q", last)
	b.ReportMetric(float64(floods)/time.Since(begin).Seconds(), "floods/s")

	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	b.ReportMetric(float64(p50.Nanoseconds())/1000, "p50-us")
	b.ReportMetric(float64(p99.Nanoseconds())/1000, "p99-us")
	return p99
}
