package hub

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// provide connects a peer with an object of its own.
func provide(t testing.TB, c *core, name string) *client {
	return connect(t, c).online(`{"appName":"shop"}`).publish(`{"objectName":"` + name + `"}`)
}

// An inspection lets go of the lock again and again. Whatever comes and goes meanwhile, those who
// stay are in it, and once.
func TestInspectWhilePeersComeAndGo(t *testing.T) {
	c := newTestCore()
	const stay = 10 * inspectSlice
	for i := range stay {
		provide(t, c, fmt.Sprint("stays-", i))
		c.leave(provide(t, c, "goes").peer)
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for k := range 2 {
		churn.Go(func() {
			var there []*client
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				there = append(there, provide(t, c, fmt.Sprint("goes-", k, n%100)))
				if len(there) > 50 {
					c.leave(there[n%50].peer)
					there[n%50] = there[50]
					there = there[:50]
				}
				if _, err := c.lookUp(fmt.Appendf(nil, `{"objectName":"goes-%d"}`, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		in := c.inspect(InspectOptions{Peers: true, Objects: true, Routes: true, Methods: true})
		seen := make(map[uint64]int)
		for _, p := range in.Peers {
			seen[p.ID]++
			require.Equal(t, 1, seen[p.ID], "peer %d", p.ID)
		}
		stays := 0
		for _, o := range in.Objects {
			if len(o.Name) > 6 && o.Name[:6] == "stays-" {
				require.Len(t, o.Peers, 1)
				require.Equal(t, 1, seen[o.Peers[0]])
				stays++
			}
		}
		require.Equal(t, stay, stays)
	}
	close(stop)
	churn.Wait()
	require.Len(t, c.inspect(InspectOptions{Peers: true, Limit: 100}).Peers, 100)
}

// What a peer is answered is what json.Marshal makes of it.
func TestInspectionAsJSON(t *testing.T) {
	c := newTestCore()
	a := provide(t, c, "o")
	b := connect(t, c)
	b.up(`{"remote":{"objectName":"o"},"propertyName":"m","needReply":true}`)
	a.reply(a.one(), `1`)
	for _, o := range []InspectOptions{{}, {Peers: true},
		{Peers: true, Objects: true, Routes: true, Methods: true, Buckets: true}} {
		in := c.inspect(o)
		want, err := json.Marshal(in)
		require.NoError(t, err)
		got, err := in.appendJSON(nil)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}
