package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func byteName(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%dKiB", n>>10)
	default:
		return fmt.Sprintf("%dB", n)
	}
}

// open starts a server process for a row and opens n connections to it.
func open(t testing.TB, row Row, body, calls, n int) []Conn {
	s := Setup{Path: filepath.Join(t.TempDir(), "s"), MaxBody: body, MaxCalls: calls}
	m := measurement{row: row, setup: s}
	require.NoError(t, m.start(context.Background()))
	conns, err := row.Dial(s, n)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, closeAll(conns))
		require.NoError(t, m.stop())
	})
	return conns
}

// rows are those that this process can be the client of.
func rows() []Row {
	return slices.DeleteFunc(Rows(), func(r Row) bool { return r.Dial == nil })
}

func TestRowsAnswer(t *testing.T) {
	for _, row := range rows() {
		t.Run(row.Name, func(t *testing.T) {
			for _, c := range open(t, row, 1<<20, 1, 3) {
				for _, n := range []int{8, 64, 4 << 10, 64 << 10, 1 << 20, 64} {
					body, buf := make([]byte, n), make([]byte, n)
					fill(body, uint64(n))
					reply, err := c.Call(body, buf)
					require.NoError(t, err, "%d bytes", n)
					require.NoError(t, check(reply, n, uint64(n)), "%d bytes", n)
				}
			}
		})
	}
}

func TestRowsSeeTheEndOfTheirServer(t *testing.T) {
	for _, row := range rows() {
		t.Run(row.Name, func(t *testing.T) {
			s := Setup{Path: filepath.Join(t.TempDir(), "s"), MaxBody: 64, MaxCalls: 1}
			m := measurement{row: row, setup: s}
			require.NoError(t, m.start(t.Context()))
			conns, err := row.Dial(s, 1)
			require.NoError(t, err)
			require.NoError(t, m.stop())
			_, err = conns[0].Call(make([]byte, 64), make([]byte, 64))
			require.Error(t, err)
			_ = conns[0].Close()
		})
	}
}

func TestRowsWithoutServer(t *testing.T) {
	for _, row := range rows() {
		t.Run(row.Name, func(t *testing.T) {
			s := Setup{Path: filepath.Join(t.TempDir(), "s"), MaxBody: 64, MaxCalls: 1}
			conns, err := row.Dial(s, 2)
			require.Error(t, err)
			require.Empty(t, conns)
		})
	}
}

// BenchmarkCall is one call after another, between two processes.
func BenchmarkCall(b *testing.B) {
	for _, row := range rows() {
		for _, n := range []int{smallBody, 64 << 10, 1 << 20} {
			b.Run(row.Name+"/"+byteName(n), func(b *testing.B) {
				c := open(b, row, n, 1, 1)[0]
				body, buf := make([]byte, n), make([]byte, n)
				seed := uint64(0)
				b.ReportAllocs()
				b.SetBytes(int64(2 * n))
				for b.Loop() {
					seed++
					fill(body, seed)
					reply, err := c.Call(body, buf)
					if err != nil || check(reply, n, seed) != nil {
						b.Fatalf("%d bytes, %v", len(reply), err)
					}
				}
			})
		}
	}
}

// BenchmarkCallers is 64 goroutines that call over one connection, between two processes.
func BenchmarkCallers(b *testing.B) {
	const under = 64
	for _, row := range rows() {
		if row.Modes&Callers == 0 {
			continue
		}
		b.Run(row.Name, func(b *testing.B) {
			c := open(b, row, smallBody, under+runtime.GOMAXPROCS(0), 1)[0]
			b.ReportAllocs()
			b.SetParallelism(max(1, under/runtime.GOMAXPROCS(0)))
			b.RunParallel(func(p *testing.PB) {
				body, buf := make([]byte, smallBody), make([]byte, smallBody)
				for seed := uint64(0); p.Next(); seed++ {
					fill(body, seed)
					reply, err := c.Call(body, buf)
					if err != nil || check(reply, smallBody, seed) != nil {
						b.Errorf("%d bytes, %v", len(reply), err)
					}
				}
			})
		})
	}
}

// BenchmarkCallbacks is 64 calls sent and answered, over one connection, between two processes.
func BenchmarkCallbacks(b *testing.B) {
	const under = 64
	for _, row := range rows() {
		if row.Modes&Callbacks == 0 {
			continue
		}
		b.Run(row.Name, func(b *testing.B) {
			c := open(b, row, smallBody, under, 1)[0].(Pipeliner)
			if in, ok := c.(insider); ok {
				callbacksInside(b, in, c, under)
				return
			}
			body, bufs := make([]byte, smallBody), make([]byte, under*smallBody)
			fill(body, 7)
			left := 0 // loop of the connection only
			end := make(chan error, under)
			done := func(reply []byte, err error) {
				if err = errors.Join(err, check(reply, smallBody, 7)); err != nil {
					end <- err
				}
				if left--; left == 0 {
					end <- nil
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				left = under
				for i := range under {
					if err := c.Go(body, bufs[i*smallBody:][:smallBody], done); err != nil {
						b.Fatal(err)
					}
				}
				if err := <-end; err != nil {
					b.Fatal(err)
				}
			}
			calls := float64(under) * float64(b.N)
			b.ReportMetric(calls/b.Elapsed().Seconds(), "calls/s")
		})
	}
}

// callbacksInside is BenchmarkCallbacks for a connection that has one goroutine: each reply begins
// the next call.
func callbacksInside(b *testing.B, in insider, c Pipeliner, under int) {
	body, bufs := make([]byte, smallBody), make([]byte, under*smallBody)
	fill(body, 7)
	begun, ended, total := 0, 0, under*b.N
	end := make(chan error, under)
	var call func(buf []byte) error
	call = func(buf []byte) error {
		begun++
		return c.Go(body, buf, func(reply []byte, err error) {
			err = errors.Join(err, check(reply, smallBody, 7))
			if err == nil && begun < total {
				err = call(buf)
			}
			if ended++; err != nil || ended == total {
				end <- err
			}
		})
	}
	b.ReportAllocs()
	in.Inside(func() {
		for i := range under {
			if err := call(bufs[i*smallBody:][:smallBody]); err != nil {
				end <- err
			}
		}
	})
	if err := <-end; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "calls/s")
}
