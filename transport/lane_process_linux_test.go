//go:build linux && !portable

package transport_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// knows is the time in which a peer knows of a death, tested at 20 times its figure. It is one for
// most of many deaths: a machine with other work may take longer now and then, but not slack.
const knows = 20 * 50 * time.Millisecond * slowdown

// R19: a peer that is killed at any moment, while both sides call each other through shared memory,
// is missed at once, and leaves nothing but the socket and its lock file.
func TestR19KilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	address := filepath.Join(dir, "s")
	o, ended := closed(handler(echo))
	l, err := transport.Listen(address, o)
	require.NoError(t, err)
	before := names(t, "/dev/shm")
	var took []time.Duration
	for range times(15, 5000) {
		c := startChild(t, "endless", order{Address: address})
		require.Equal(t, "ready", c.line())
		conn := l.Conns()[0]
		require.Equal(t, transport.DefaultRing, conn.Stats().Lane.Ring)
		var calling sync.WaitGroup
		for i := range uint64(3) {
			calling.Go(func() {
				for conn.Err() == nil {
					sent := body(i, []int{100, 5000, 300 << 10}[i])
					got, err := conn.Call(background, sent, nil)
					if err == nil && string(got) != string(sent) {
						t.Error("the reply has other bytes")
						return
					}
				}
			})
		}
		time.Sleep(rand.N(3 * time.Millisecond))
		c.kill()
		killed := time.Now()
		inTime(t, slack, "the end of a killed peer", func() {
			require.ErrorIs(t, receive(t, ended, "the end"), transport.ErrConnLost)
		})
		took = append(took, time.Since(killed))
		calling.Wait()
	}
	slices.Sort(took)
	require.Less(t, took[len(took)/2], knows, "the median of %v", took)
	require.NoError(t, l.Close(patient(t)))
	require.Equal(t, []string{"s.lock"}, names(t, dir))
	require.Equal(t, before, names(t, "/dev/shm"))
}

// names are those of the files in a folder, if there is one.
func names(t testing.TB, dir string) (all []string) {
	list, err := os.ReadDir(dir)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

// R12 and R20: what waits for a stopped consumer stays within the limit of the outbox; and one that
// is stopped at any moment, or killed then, blocks no producer beyond its deadline, however full
// the ring is; one that goes on gets everything.
func TestR20StoppedConsumer(t *testing.T) {
	const limit = 5 * time.Millisecond
	var got, bad atomic.Int64
	o := handler(func(r *transport.Request) {
		got.Add(1)
		if !intact(r.Body()) {
			bad.Add(1)
		}
		echo(r)
	})
	address := filepath.Join(t.TempDir(), "s")
	l, err := transport.Listen(address, o)
	require.NoError(t, err)
	for i := range times(10, 3000) {
		c := startChild(t, "counts", order{Address: address})
		require.Equal(t, "ready", c.line())
		conn := l.Conns()[0]
		require.NotZero(t, conn.Stats().Lane.Ring)
		sent := new(atomic.Int64)
		var turns [2]atomic.Int64
		var sending sync.WaitGroup
		var over atomic.Bool
		for k := range uint64(2) {
			sending.Go(func() {
				m := transport.Message{Body: body(k, []int{300, 40 << 10}[k]), Timeout: limit}
				for !over.Load() && conn.Err() == nil {
					begin := time.Now()
					var err error
					if k == 0 {
						_, err = conn.Do(background, m, nil)
					} else if err = conn.Post(background, m); err == nil {
						sent.Add(1)
					}
					if took := time.Since(begin); took > limit+slack {
						t.Errorf("a producer with %v was held for %v: %v", limit, took, err)
						return
					}
					turns[k].Add(1)
				}
			})
		}
		time.Sleep(rand.N(2 * time.Millisecond))
		c.stop()
		for k := range turns { // while it is stopped
			before := turns[k].Load()
			eventually(t, func() bool { return turns[k].Load() >= before+3 },
				"producer %d goes on: %v", k, now(conn.Stats))
		}
		require.LessOrEqual(t, conn.Stats().HeldBytes, int64(transport.DefaultOutbox+128<<10))
		if i%2 == 0 {
			require.NoError(t, c.cmd.Process.Signal(syscall.SIGCONT))
			over.Store(true)
			sending.Wait()
			require.NoError(t, conn.Ping(patient(t)))
			eventually(t, func() bool { return counted(t, conn) == sent.Load() },
				"%d oneways arrive: %v", sent.Load(), now(conn.Stats))
		}
		c.kill()
		inTime(t, slack, "the end of a killed peer", func() { <-conn.Done() })
		over.Store(true)
		sending.Wait()
	}
	require.Zero(t, bad.Load())
	require.NoError(t, l.Close(patient(t)))
}

// counted is how many oneways a child has counted.
func counted(t testing.TB, conn *transport.Conn) int64 {
	b, err := conn.Do(patient(t), transport.Message{Method: "count"}, nil)
	require.NoError(t, err)
	var n int64
	for _, d := range b {
		n = 10*n + int64(d-'0')
	}
	return n
}
