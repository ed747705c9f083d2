package hub_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/wire"
)

// TestTapCountsWhatItDoesNotSee: far over the rate of a tap every frame is recorded or counted.
func TestTapCountsWhatItDoesNotSee(t *testing.T) {
	h, path := start(t, hub.Options{})
	a, b := join(t, path, "a"), join(t, path, "b")
	echo(t, b, "echo")
	publish(t, b, "calc", "", calculator)
	both := []*hub.Route{a.Object("echo"), a.Object("calc")}
	for _, r := range both {
		require.NoError(t, r.Resolve(soon(t)))
	}
	tap, err := h.Tap(hub.TapOptions{Rate: 100})
	require.NoError(t, err)
	const each = 1000
	var callers sync.WaitGroup
	for i := range 4 {
		callers.Go(func() {
			for range each {
				_, err := both[i%2].Call(context.Background(), "none", []byte("1"), nil)
				if i%2 == 0 { // the echo answers everything, the calculator only what it knows
					assert.NoError(t, err)
				} else {
					assert.Error(t, err)
				}
			}
		})
	}
	go func() { callers.Wait(); tap.Close() }()
	var frames, lost uint64
	for {
		records, err := tap.Next(soon(t))
		if err != nil {
			require.ErrorIs(t, err, hub.ErrClosed)
			break
		}
		for len(records) > 0 {
			r, n, err := wire.ParseTapRecord(records)
			require.NoError(t, err)
			if records = records[n:]; r.Kind != wire.TapNote {
				frames++
			}
			lost += r.Lost
		}
	}
	require.EqualValues(t, 2*4*each, frames+lost)
	require.Equal(t, lost, tap.Lost())
	require.Positive(t, frames)
	require.Greater(t, lost, frames)
	require.Zero(t, h.Stats().Pending)
	require.EqualValues(t, 4*each, h.Stats().Delivered)
	require.EqualValues(t, 4*each, h.Stats().Replies)
}
