//go:build linux && !portable && !race

package transport_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// R33: in steady state a call allocates nothing, on either side: both ends are in this process, and
// everything that it allocates is counted. The portable engine does not promise it.

func TestAllocsCall(t *testing.T) {
	eachAllocs(t, func(cli *transport.Conn, body, buf []byte) func() {
		return func() { mustCall(cli.Call(background, body, buf)) }
	})
}

func TestAllocsDoWithTimeout(t *testing.T) {
	eachAllocs(t, func(cli *transport.Conn, body, buf []byte) func() {
		m := transport.Message{Method: "echo", Body: body, Timeout: patience}
		return func() { mustCall(cli.Do(background, m, buf)) }
	})
}

func TestAllocsGather(t *testing.T) {
	eachAllocs(t, func(cli *transport.Conn, body, buf []byte) func() {
		m := transport.Message{Body: body[:1], Gather: [][]byte{body[1:2], body[2:]}}
		return func() { mustCall(cli.Do(background, m, buf)) }
	})
}

func TestAllocsGo(t *testing.T) {
	eachAllocs(t, func(cli *transport.Conn, body, buf []byte) func() {
		ended := make(chan error, 1)
		done := func(_ []byte, err error) { ended <- err }
		m := transport.Message{Body: body}
		return func() {
			if err := cli.Go(m, buf, done); err != nil {
				panic(err)
			}
			mustCall(nil, <-ended)
		}
	})
}

func TestAllocsSend(t *testing.T) {
	eachAllocs(t, func(cli *transport.Conn, body, buf []byte) func() {
		return func() {
			if err := cli.Send(background, body); err != nil {
				panic(err)
			}
			mustCall(cli.Call(background, body, buf)) // so that it is handled, too
		}
	})
}

func mustCall(_ []byte, err error) {
	if err != nil {
		panic(err)
	}
}

// eachAllocs wants no allocation in what prepare returns, on both lanes, for handlers on the loop
// and on a pool.
func eachAllocs(t *testing.T, prepare func(cli *transport.Conn, body, buf []byte) func()) {
	pool := newPool(t, 2, 100)
	for name, h := range map[string]transport.Handler{
		"loop": transport.HandlerFunc(echo),
		"pool": pool.Handler(transport.HandlerFunc(echo)),
	} {
		for size, runs := range map[int]int{64: 1000, 4 << 10: 500, 60 << 10: 300} {
			for _, e := range engines[:2] {
				t.Run(name+" "+e.name, func(t *testing.T) {
					requireNoAllocs(t, e, h, prepare, size, runs)
				})
			}
		}
	}
}

func requireNoAllocs(t *testing.T, e engine, h transport.Handler,
	prepare func(cli *transport.Conn, body, buf []byte) func(), size, runs int) {
	_, cli := e.pair(t, transport.Options{Handler: h}, transport.Options{})
	f := prepare(cli, make([]byte, size), make([]byte, size))
	for range runs { // pools and buffers find their sizes
		f()
	}
	require.Zero(t, allocs(runs, f), "allocations of a call with %d bytes", size)
}

// The door without copies, too: a call and a reply that are filled, and bodies in place.
func TestR33AllocsInPlace(t *testing.T) {
	var sum byte
	fill := func(b []byte) {
		for i := range b {
			b[i] = byte(i)
		}
	}
	_, cli := engines[0].pair(t, trusting(handler(func(r *transport.Request) {
		sum += r.Body()[0]
		_ = r.Fill(len(r.Body()), fill)
	}), 1000), trusting(transport.Options{}, 1000))
	ended := make(chan error, 1)
	done := func(b []byte, err error) {
		if len(b) != 100_000 || b[99] != 99 {
			panic("other bytes")
		}
		ended <- err
	}
	f := func() {
		if err := cli.Go(transport.Message{Size: 100_000, Fill: fill}, nil, done); err != nil {
			panic(err)
		}
		mustCall(nil, <-ended)
	}
	for range 100 {
		f()
	}
	require.Zero(t, allocs(300, f))
}

// allocs returns the allocations of one run of f, of all goroutines, averaged and rounded down.
// What the collector frees from the pools is allocated once more: a few in all are none in one.
func allocs(runs int, f func()) uint64 {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.Mallocs - before.Mallocs) / uint64(runs)
}

func TestAllocsHeld(t *testing.T) {
	e := engines[0]
	_, cli := e.relayed(t, handler(echo))
	body, buf := make([]byte, 64), make([]byte, 64)
	once := func() { mustCall(cli.Call(background, body, buf)) }
	for range 1000 {
		once()
	}
	require.Zero(t, testing.AllocsPerRun(1000, once))
}
