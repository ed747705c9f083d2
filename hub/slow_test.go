package hub_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// stuck is a provider that takes a few calls and gives no more credit until it is freed.
type stuck struct {
	client *hub.Client
	free   chan struct{}
	once   sync.Once
	seen   chan string
}

// newStuck publishes "slow" at a client whose peer may have only 8 calls, or 64 KiB, inside.
func newStuck(t testing.TB, path string) *stuck {
	s := &stuck{free: make(chan struct{}), seen: make(chan string, 100_000)}
	o := hub.JoinOptions{Location: hub.Location{AppName: "sluggard"}, Workers: 1}
	o.Redial.Options.Limits = transport.Limits{MaxCalls: 8, MaxBody: 16 << 10,
		MaxCallBytes: 96 << 10}
	s.client = joinWith(t, path, o)
	publish(t, s.client, "slow", "", func(r *transport.Request) {
		<-s.free
		s.seen <- string(r.Method())
		_ = r.Reply(r.Body())
	})
	t.Cleanup(s.release)
	return s
}

func (s *stuck) release() { s.once.Do(func() { close(s.free) }) }

// syncBuffer is a log.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// peerNamed is what the hub knows of a peer.
func peerNamed(t testing.TB, h *hub.Hub, app string) hub.PeerInfo {
	t.Helper()
	for _, p := range h.Inspect(hub.InspectOptions{Peers: true}).Peers {
		if p.Name == app {
			return p
		}
	}
	require.Fail(t, "no such peer", app)
	return hub.PeerInfo{}
}

// R13: a slow consumer is named in the log and in the statistics; the policy is applied; counts are
// exact: every call is answered once, as carried out or as refused.
func TestR13SlowConsumer(t *testing.T) {
	for _, policy := range []hub.Policy{hub.Block, hub.DropOldest, hub.DropNewest} {
		t.Run(policy.String(), func(t *testing.T) {
			var logged syncBuffer
			h, path := start(t, hub.Options{Policy: policy, Limits: hub.Limits{MaxQueue: 64 << 10},
				Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			s, a := newStuck(t, path), join(t, path, "a")
			slow := a.Object("slow")
			require.NoError(t, slow.Resolve(soon(t)))
			const n = 200
			body := make([]byte, 1000)
			var done, refused atomic.Int64
			kept := make(chan int, n)
			began := 0
			for i := range n {
				err := slow.Go(hub.Message{Method: strconv.Itoa(i), Payload: body}, nil,
					func(_ []byte, err error) {
						var remote *hub.RemoteError
						if errors.As(hub.Remote(err), &remote) &&
							remote.Code == wire.CodeOverloaded {
							refused.Add(1)
						} else if err == nil {
							kept <- i
						}
						done.Add(1)
					})
				if errors.Is(err, transport.ErrFull) {
					require.Equal(t, hub.Block, policy, "held back")
					break
				}
				require.NoError(t, err)
				began++
			}
			eventually(t, func() bool {
				p := peerNamed(t, h, "sluggard")
				return p.Inside+p.Queued+int(p.Refused) >= began
			}, "all have come to the hub")
			p := peerNamed(t, h, "sluggard")
			require.Equal(t, int(p.Refused)+p.Inside+p.Queued, began)
			if p.Refused > 0 {
				require.Contains(t, logged.String(), "slow consumer")
				require.Contains(t, logged.String(), "sluggard")
				require.Positive(t, h.Stats().Slow)
			}
			if policy != hub.Block {
				require.Positive(t, p.Refused)
				require.Equal(t, n, began)
			}
			s.release()
			eventually(t, func() bool { return done.Load() == int64(began) }, "all are answered")
			require.Equal(t, refused.Load(), int64(peerNamed(t, h, "sluggard").Refused))
			require.Equal(t, began-int(refused.Load()), len(kept))
			last := 0
			for range len(kept) {
				last = max(last, <-kept)
			}
			if policy == hub.DropOldest {
				require.Equal(t, n-1, last, "the newest was kept")
			} else if policy == hub.DropNewest {
				require.Less(t, last, n-1, "the newest was refused")
			}
			eventually(t, func() bool { return peerNamed(t, h, "sluggard").Queued == 0 }, "empty")
			_, err := slow.Call(soon(t), "again", nil, nil)
			require.NoError(t, err, "all goes on")
		})
	}
}

func TestR13Disconnect(t *testing.T) {
	_, path := start(t, hub.Options{Policy: hub.Disconnect, Limits: hub.Limits{MaxQueue: 16 << 10}})
	s, a := newStuck(t, path), join(t, path, "a")
	defer s.release()
	const n = 100
	ended := make(chan error, n)
	for range n {
		err := a.Object("slow").Go(hub.Message{Payload: make([]byte, 1000)}, nil,
			func(_ []byte, err error) { ended <- err })
		require.NoError(t, err)
	}
	for range n {
		require.Error(t, <-ended, "answered at once")
	}
}

// R12: with a stopped consumer the memory of the hub stays under what is configured.
func TestR12StoppedConsumer(t *testing.T) {
	const limit = 2 << 20
	h, path := start(t, hub.Options{Policy: hub.DropNewest, Limits: hub.Limits{MaxQueue: limit}})
	s, a := newStuck(t, path), join(t, path, "a")
	_, err := s.client.Publish(soon(t), hub.Object{Name: "stopped", OnLoop: true,
		Handler: transport.HandlerFunc(func(*transport.Request) { <-s.free })})
	require.NoError(t, err)
	defer s.release()
	slow := a.Object("stopped")
	body := make([]byte, 10_000)
	m := hub.Message{Payload: body}
	send := func(n int) {
		for range n {
			require.NoError(t, slow.Send(soon(t), m))
		}
		_, err := a.Object("none").Call(soon(t), "", nil, nil)
		require.Error(t, err) // all is taken in
	}
	send(400)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	send(2000) // 20 MB
	p := peerNamed(t, h, "sluggard")
	require.LessOrEqual(t, p.Waiting, int64(limit+1<<20))
	require.Positive(t, p.Dropped)
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(limit+8<<20))
}

// What is refused is not copied first, and what can never find room does not drive out what waits.
func TestRefusedIsNotCopied(t *testing.T) {
	for _, policy := range []hub.Policy{hub.DropNewest, hub.DropOldest} {
		t.Run(policy.String(), func(t *testing.T) {
			h, path := start(t, hub.Options{Policy: policy, Limits: hub.Limits{MaxQueue: 8 << 10}})
			s, a := newStuck(t, path), join(t, path, "a")
			slow := a.Object("slow")
			require.NoError(t, slow.Resolve(soon(t)))
			none := func([]byte, error) {}
			for range 8 + 4 {
				require.NoError(t, slow.Go(hub.Message{}, nil, none))
			}
			eventually(t, func() bool { return peerNamed(t, h, "sluggard").Queued == 4 }, "4 wait")
			const n, size = 500, 15_000
			m := hub.Message{Method: "m", Payload: make([]byte, size)}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			sent := uint64(0)
			drop := func() { // one at a time, so that nothing piles up on the way
				for range n {
					sent++
					require.NoError(t, slow.Send(ctx, m))
					for h.Stats().Dropped < sent {
						require.NoError(t, ctx.Err())
						runtime.Gosched()
					}
				}
			}
			drop() // buffers find their sizes
			before := allocated()
			drop()
			if !hub.RaceDetector { // where sync.Pool forgets at random
				require.Less(t, allocated()-before, uint64(n*size/2))
			}
			require.Equal(t, 4, peerNamed(t, h, "sluggard").Queued, "what waits waits on")
			require.Zero(t, h.Stats().Refused)
			s.release()
		})
	}
}

// allocated is how many bytes were allocated so far.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// R3, by way of the hub: a provider that is stuck holds up neither other routes of the same caller
// nor other callers.
func TestR3StuckProviderHoldsUpNoOther(t *testing.T) {
	_, path := start(t, hub.Options{Limits: hub.Limits{MaxQueue: 64 << 10}})
	s, a, b := newStuck(t, path), join(t, path, "a"), join(t, path, "b")
	echo(t, b, "echo")
	ctx, cancel := context.WithCancel(context.Background())
	var floods sync.WaitGroup
	for range 50 {
		floods.Go(func() {
			for ctx.Err() == nil {
				_, _ = a.Object("slow").Call(ctx, "m", make([]byte, 4000), nil)
			}
		})
	}
	slow := a.Object("slow")
	eventually(t, func() bool {
		return errors.Is(slow.Go(hub.Message{}, nil, func([]byte, error) {}), transport.ErrFull)
	}, "the route is held back")
	for range 200 {
		got, err := a.Object("echo").Call(soon(t), "m", []byte("1"), nil)
		require.NoError(t, err)
		require.Equal(t, "1", string(got))
	}
	s.release()
	cancel()
	floods.Wait()
	eventually(t, func() bool {
		return slow.Go(hub.Message{}, nil, func([]byte, error) {}) == nil
	}, "the route is open again")
}

// Calls that wait for a provider which takes its object back, and were not begun, go to another
// one; those inside finish, and then the unpublish is acknowledged.
func TestDrainRoutesAgain(t *testing.T) {
	h, path := start(t, hub.Options{})
	s, a := newStuck(t, path), join(t, path, "a")
	other, err := s.client.Publish(soon(t), hub.Object{Name: "job", OnLoop: false,
		Handler: transport.HandlerFunc(func(r *transport.Request) {
			<-s.free
			_ = r.Reply([]byte("first"))
		})})
	require.NoError(t, err)
	const n = 30
	ended := make(chan string, n)
	for range n {
		require.NoError(t, a.Object("job").Go(hub.Message{Method: "m"}, nil,
			func(reply []byte, err error) { ended <- string(reply) + errText(err) }))
	}
	eventually(t, func() bool {
		p := peerNamed(t, h, "sluggard")
		return p.Inside == 8 && p.Queued == n-8
	}, "8 are inside, the others wait")
	publish(t, join(t, path, "b"), "job", "",
		func(r *transport.Request) { _ = r.Reply([]byte("second")) })
	taken := make(chan error, 1)
	go func() { taken <- other.Unpublish(context.Background()) }()
	for range n - 8 {
		require.Equal(t, "second", <-ended)
	}
	require.Empty(t, taken)
	require.EqualValues(t, n-8, h.Stats().Rerouted)
	s.release()
	for range 8 {
		require.Equal(t, "first", <-ended)
	}
	require.NoError(t, <-taken)
}
