package bench

import (
	"errors"
	"flag"
	"io"
	"net"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// connPair returns the two ends of a connection; setup may change both sockets.
func connPair(t testing.TB, setup func(*net.UnixConn)) (a, b *net.UnixConn) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	a, err = dial(path)
	require.NoError(t, err)
	b, err = l.AcceptUnix()
	require.NoError(t, err)
	for _, c := range []*net.UnixConn{a, b} {
		if setup != nil {
			setup(c)
		}
	}
	return a, b
}

// muxPair returns two multiplexers that can call each other.
func muxPair(t testing.TB, s Setup, setup func(*net.UnixConn)) (a, b *mux) {
	x, y := connPair(t, setup)
	a, err := newMux(x, s, answer)
	require.NoError(t, err)
	b, err = newMux(y, s, answer)
	require.NoError(t, err)
	for _, m := range []*mux{a, b} {
		go m.serve()
		t.Cleanup(func() { _ = m.Close() })
	}
	return a, b
}

var r1Time = flag.Duration("r1", 2*time.Second, "how long TestR1PlainNeverSticks runs; in full 60s")

// TestR1PlainNeverSticks is requirement R1 for the baseline: callers on both sides of one socket
// with a send buffer of 8 KiB and bodies of 64 KiB. A multiplexer whose reader waits for its
// writer gets stuck here.
func TestR1PlainNeverSticks(t *testing.T) {
	const body = 64 << 10
	a, b := muxPair(t, Setup{MaxBody: body, MaxCalls: r1Callers}, func(c *net.UnixConn) {
		require.NoError(t, c.SetWriteBuffer(8<<10))
	})
	var stop atomic.Bool
	var done atomic.Int64
	var wait sync.WaitGroup
	for seed, m := range []*mux{a, b} {
		sent := make([]byte, body)
		fill(sent, uint64(seed))
		for range r1Callers {
			wait.Go(func() {
				buf := make([]byte, body)
				for !stop.Load() {
					reply, err := m.Call(sent, buf)
					if err == nil {
						err = check(reply, body, uint64(seed))
					}
					if err != nil {
						t.Errorf("call: %v", err)
						return
					}
					done.Add(1)
				}
			})
		}
	}
	stall := haltTimeout // what else runs may take the processor for a second, but not for this
	if *r1Time >= time.Minute {
		stall = time.Second
	}
	last, since := int64(0), time.Now()
	stuck := func() bool { // no call has ended for so long
		if now := done.Load(); now > last {
			last, since = now, time.Now()
		}
		return time.Since(since) > stall
	}
	for end := since.Add(*r1Time); last == 0 || time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		require.False(t, stuck(), "no call has ended for %v", stall)
	}
	stop.Store(true)
	ended := make(chan struct{})
	go func() {
		wait.Wait()
		close(ended)
	}()
	for under := true; under; {
		select {
		case <-ended:
			under = false
		case <-time.After(10 * time.Millisecond):
			if stuck() {
				t.Errorf("none of the last calls has ended for %v", stall)
				require.NoError(t, errors.Join(a.Close(), b.Close()))
				<-ended
			}
		}
	}
	t.Logf("%d calls in %v", last, *r1Time)
	debug.FreeOSMemory()
}

func TestMuxCarriesEverySize(t *testing.T) {
	const most = 1 << 20
	a, b := muxPair(t, Setup{MaxBody: most, MaxCalls: 64}, nil)
	sizes := []int{0, 8, 64, shortBody - 8, shortBody, shortBody + 8, largeBody - 8, largeBody,
		inboxSize - headerLen - 7, inboxSize, inboxSize + 8, most}
	var wait sync.WaitGroup
	for _, m := range []*mux{a, b} {
		for _, n := range sizes {
			wait.Go(func() {
				body, buf := make([]byte, n), make([]byte, n)
				for seed := range uint64(50) {
					fill(body, seed)
					reply, err := m.Call(body, buf)
					if err != nil || check(reply, n, seed) != nil {
						t.Errorf("call of %d bytes: %d bytes, %v", n, len(reply), err)
					}
					got := make(chan error, 1)
					err = m.Go(body, nil, func(reply []byte, err error) {
						got <- errors.Join(err, check(reply, n, seed))
					})
					if err = errors.Join(err, <-got); err != nil {
						t.Errorf("callback of %d bytes: %v", n, err)
					}
				}
			})
		}
	}
	wait.Wait()
}

func TestMuxLimits(t *testing.T) {
	hold := make(chan struct{})
	x, y := connPair(t, nil)
	client, err := newMux(x, Setup{MaxBody: 64, MaxCalls: 2}, nil)
	require.NoError(t, err)
	server, err := newMux(y, Setup{MaxBody: 64, MaxCalls: 2}, func(body, dst []byte) []byte {
		<-hold
		return answer(body, dst)
	})
	require.NoError(t, err)
	go client.serve()
	go server.serve()
	results := make(chan error, 2)
	for range 2 {
		require.NoError(t, client.Go(make([]byte, 8), nil, func(_ []byte, err error) {
			results <- err
		}))
	}
	require.ErrorIs(t, client.Go(make([]byte, 8), nil, nil), errManyCalls)
	_, err = client.Call(make([]byte, 8), make([]byte, 8))
	require.ErrorIs(t, err, errManyCalls)
	close(hold)
	require.NoError(t, <-results)
	require.NoError(t, <-results)

	_, err = client.Call(make([]byte, 16), make([]byte, 8))
	require.ErrorIs(t, err, errSmallBuf)
	require.NoError(t, server.Close())
	_ = client.Close()
}

func TestMuxRefusesBadFrames(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"too long", appendFrame(nil, flagsCall, 0, nil, make([]byte, 72)), errTooLong},
		{"unknown flags", appendFrame(nil, 0x01, 0, nil, nil), errNotCall},
		{"call to a client", appendFrame(nil, flagsCall, 0, nil, nil), errNotCall},
		{"reply to nothing", appendFrame(nil, flagsReply, 1<<31, nil, nil), errNoWaiter},
		{"end in a header", []byte{flagsReply, 0}, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, y := connPair(t, nil)
			m, err := newMux(x, Setup{MaxBody: 64, MaxCalls: 2}, nil)
			require.NoError(t, err)
			result := make(chan error, 1)
			require.NoError(t, m.Go(make([]byte, 8), nil, func(_ []byte, err error) {
				result <- err
			}))
			_, err = y.Write(c.frame)
			require.NoError(t, err)
			require.NoError(t, y.CloseWrite())
			m.serve()
			err = <-result
			if c.want == io.ErrUnexpectedEOF {
				c.want = io.EOF // what bufio's Peek says
			}
			require.ErrorIs(t, err, c.want)
			_, err = m.Call(nil, nil)
			require.ErrorIs(t, err, c.want)
			require.NoError(t, y.Close())
		})
	}
}

func TestMuxCloseEndsCalls(t *testing.T) {
	x, y := connPair(t, nil)
	m, err := newMux(x, Setup{MaxBody: 1 << 20, MaxCalls: 64}, nil)
	require.NoError(t, err)
	go m.serve()
	results := make(chan error, 32)
	for i := range cap(results) {
		go func() { // y reads nothing: some calls are written, some wait for their turn
			_, err := m.Call(make([]byte, 8<<(i%16)), nil)
			results <- err
		}()
	}
	for {
		m.mu.Lock()
		n := len(m.table)
		m.mu.Unlock()
		if n == cap(results) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	require.NoError(t, m.Close())
	for range cap(results) {
		require.Error(t, <-results)
	}
	require.NoError(t, y.Close())
}

func TestMuxAllocatesNothing(t *testing.T) {
	if raceEnabled {
		return // the detector empties pools at random
	}
	a, _ := muxPair(t, Setup{MaxBody: 64, MaxCalls: 8}, nil)
	body, buf := make([]byte, 64), make([]byte, 64)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := a.Call(body, buf); err != nil {
			t.Error(err)
		}
	}))
	done := make(chan error, 1)
	callback := func(_ []byte, err error) { done <- err }
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if err := errors.Join(a.Go(body, nil, callback), <-done); err != nil {
			t.Error(err)
		}
	}))
}
