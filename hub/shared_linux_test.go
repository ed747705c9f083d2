//go:build linux && !portable

package hub_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// audience is peers of both kinds that have published "topic", and do not read.
type audience struct {
	t      *testing.T
	group  *transport.Group // the hub's
	hub    *hub.Hub
	path   string
	free   chan struct{} // lets the native ones go on
	heard  [3]atomic.Int64
	nodes  [3]*raw
	body   []byte // JSON
	once   sync.Once
	base   int64 // what the hub holds without it
	heap   uint64
	sender *hub.Client
}

const (
	sharedBody  = 1<<20 - 1<<10 // buffers are powers of two
	sharedTimes = 24
)

func newAudience(t *testing.T, l hub.Limits) *audience {
	g, err := transport.NewGroup(1, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	a := &audience{t: t, group: g, free: make(chan struct{})}
	a.hub, a.path = start(t, hub.Options{Limits: l, Policy: hub.DropNewest,
		Transport: transport.Options{Group: g}})
	random := make([]byte, sharedBody/2)
	_, _ = rand.Read(random)
	a.body = []byte(`"` + hex.EncodeToString(random) + `"`)
	a.sender = join(t, a.path, "sender")
	for i := range a.nodes {
		a.nodes[i] = dial(t, a.path).online(`{"appName":"node"}`)
		a.nodes[i].publishes("topic")
	}
	return a
}

// natives are peers in this process whose loops stand still until free is closed.
func (a *audience) natives() {
	for i := range a.heard {
		c := join(a.t, a.path, "native")
		_, err := c.Publish(soon(a.t), hub.Object{Name: "topic", OnLoop: true,
			Handler: transport.HandlerFunc(func(r *transport.Request) {
				<-a.free
				if bytes.Equal(r.Body(), a.body) {
					a.heard[i].Add(1)
				}
			})})
		require.NoError(a.t, err)
	}
	a.t.Cleanup(a.release)
}

// release lets the native ones go on.
func (a *audience) release() { a.once.Do(func() { close(a.free) }) }

// measure notes what is held before anything is sent.
func (a *audience) measure() {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	a.heap = m.HeapAlloc
	a.base = a.group.Held()
}

// send has the hub send the body to all, and returns when it has.
func (a *audience) send(send func(hub.Message) error) {
	for range sharedTimes {
		require.NoError(a.t, send(hub.Message{Method: "m", Payload: a.body}))
	}
	_, err := a.sender.Object("none").Call(soon(a.t), "", nil, nil)
	require.Error(a.t, err)
}

// grown is how many bytes the heap has grown by.
func (a *audience) grown() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) - int64(a.heap)
}

// settles waits until all that was shared has come back.
func (a *audience) settles() {
	eventually(a.t, func() bool { return a.group.Held() < a.base+sharedBody/2 }, "memory is back")
	// Each of the groups of connections here, that of the hub and those of its clients, keeps a few
	// buffers at hand.
	eventually(a.t, func() bool { return a.grown() < 20*sharedBody }, "the heap is small again")
}

// What waits for six receivers takes the memory of two: in the form for native peers, and in that
// for Pandora's. It comes back when they read on, and all of it is whole.
func TestBodiesForManyAreShared(t *testing.T) {
	for name, send := range map[string]func(*audience, hub.Message) error{
		"to all of a name": func(a *audience, m hub.Message) error {
			return a.sender.Object("topic").SendAll(context.Background(), m)
		},
		"broadcast": func(a *audience, m hub.Message) error {
			return a.sender.Broadcast(context.Background(), m)
		},
		"from Pandora's": func(a *audience, m hub.Message) error {
			node := dial(a.t, a.path).online(`{"appName":"sender"}`)
			defer node.conn.Close()
			node.up(fmt.Sprintf(`{"remote":{"objectName":"topic"},"broadcast":true,`+
				`"action":"OBJECT_ACTION_INVOKE","propertyName":"m","data":%s}`, m.Payload))
			node.send(`{"action":"PANDORA_HUB_ACTION_UNPUBLISH_UP",` +
				`"data":{"data":{"selector":{"objectName":"x"}}}}`)
			node.next()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAudience(t, hub.Limits{})
			a.natives()
			a.measure()
			a.send(func(m hub.Message) error { return send(a, m) })
			const copies = 3 // the two forms, and some room
			require.Less(t, a.grown(), int64((copies*sharedTimes+8)*sharedBody))
			require.Less(t, a.group.Held()-a.base, int64((copies*sharedTimes+8)*sharedBody))
			a.release()
			for _, n := range a.nodes {
				for range sharedTimes {
					_, body := n.next()
					require.True(t, strings.Contains(body, string(a.body)), "it is whole")
				}
			}
			if name != "broadcast" { // which is for the process, not for its object
				eventually(t, func() bool {
					for i := range a.heard {
						if a.heard[i].Load() != sharedTimes {
							return false
						}
					}
					return true
				}, "all have come, whole")
			}
			a.settles()
		})
	}
}

// A receiver over its limit loses what came, or its connection; nothing of it stays.
func TestSharedBodiesThatAreDropped(t *testing.T) {
	a := newAudience(t, hub.Limits{MaxQueue: 2 * sharedBody, MaxOutbox: 4 * sharedBody,
		MaxBody: 2 * sharedBody})
	a.natives()
	a.measure()
	for range 4 {
		a.send(func(m hub.Message) error {
			return a.sender.Object("topic").SendAll(context.Background(), m)
		})
	}
	require.Positive(t, a.hub.Stats().Dropped)
	require.EqualValues(t, len(a.nodes), a.hub.Stats().Cut)
	require.Less(t, a.grown(), int64(4*sharedTimes*sharedBody))
	a.release()
	for _, n := range a.nodes {
		n.conn.Close()
	}
	a.settles()
}

// Receivers that are stopped, and then killed, leave nothing.
func TestSharedBodiesOfTheDead(t *testing.T) {
	a := newAudience(t, hub.Limits{})
	for _, n := range a.nodes {
		n.publishes("stopped")
	}
	var pids []int
	for range 3 {
		child := newChild(t, a.path)
		require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
		eventually(t, func() bool { return stopped(t, child.Process.Pid) }, "the child stops")
		pids = append(pids, child.Process.Pid)
	}
	a.measure()
	a.send(func(m hub.Message) error {
		return a.sender.Object("stopped").SendAll(context.Background(), m)
	})
	require.Greater(t, a.group.Held(), a.base+sharedTimes*sharedBody)
	require.Less(t, a.grown(), int64(4*sharedTimes*sharedBody))
	for _, pid := range pids {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	for _, n := range a.nodes {
		n.conn.Close()
	}
	a.settles()
}

// A oneway to many allocates nothing on its way, whether it is shared or not: not at the sender,
// nor in the hub, nor at the receivers.
func TestAllocsToMany(t *testing.T) {
	if hub.RaceDetector {
		t.Skip("a build without the race detector is missing: sync.Pool allocates in this one")
	}
	_, path := start(t, hub.Options{})
	a := join(t, path, "a")
	heard := make(chan struct{}, 3)
	listen := func(*transport.Request) { heard <- struct{}{} }
	for range 3 {
		c := joinWith(t, path, hub.JoinOptions{Handler: transport.HandlerFunc(listen)})
		_, err := c.Publish(soon(t), hub.Object{Name: "topic", OnLoop: true,
			Handler: transport.HandlerFunc(listen)})
		require.NoError(t, err)
	}
	topic := a.Object("topic")
	require.NoError(t, topic.Resolve(soon(t)))
	for name, size := range map[string]int{"short": 64, "shared": 60 << 10} {
		m := hub.Message{Method: "m", Payload: bytes.Repeat([]byte("1"), size)}
		for how, send := range map[string]func() error{
			"to all of a name": func() error { return topic.SendAll(context.Background(), m) },
			"broadcast":        func() error { return a.Broadcast(context.Background(), m) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				once := func() {
					if err := send(); err != nil {
						panic(err)
					}
					for range 3 {
						<-heard
					}
				}
				for range 500 {
					once()
				}
				require.Zero(t, mallocs(500, once), "allocations of a oneway to three")
			})
		}
	}
}
