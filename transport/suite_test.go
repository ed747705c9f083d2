package transport_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
	"github.com/pithos-ipc/pithos/wire"
)

// The suite is written against the API and what PROTOCOL.md says, and runs over every engine. Tests
// that carry the name of a requirement (R1 and so on) are shortened, unless PITHOS_LONG is 1.

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		runChild(role)
		return
	}
	transporttest.VerifyNoLeaks(m)
}

// engine is one way to drive connections.
type engine struct {
	name string
	of   func(transport.Options) transport.Options
}

// eachEngine runs f once with each engine at both ends.
func eachEngine(t *testing.T, f func(t *testing.T, e engine)) {
	t.Helper()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			transporttest.CheckLeaks(t)
			f(t, e)
		})
	}
}

// eachPair runs f with every combination of engines.
func eachPair(t *testing.T, f func(t *testing.T, server, client engine)) {
	t.Helper()
	for _, s := range engines {
		for _, c := range engines {
			t.Run(s.name+" serves "+c.name, func(t *testing.T) {
				transporttest.CheckLeaks(t)
				f(t, s, c)
			})
		}
	}
}

// pair is transporttest.Pair with one engine at both ends.
func (e engine) pair(t testing.TB, server, client transport.Options) (srv, cli *transport.Conn) {
	t.Helper()
	return transporttest.Pair(t, e.of(server), e.of(client))
}

// long says whether the tests run in full.
func long() bool { return os.Getenv("PITHOS_LONG") == "1" }

// times is short, or full with PITHOS_LONG=1.
func times(short, full int) int {
	if long() {
		return full
	}
	return short
}

// patience is how long the suite waits for what has to happen before it calls it a hang.
const patience = time.Minute

// slack is how late what comes at once, or, where something is wrong, never may be on a machine
// that others use up.
const slack = 10 * time.Second

// figure is what R5's bound of 5 ms is tested at: 20 times that.
const figure = 100 * time.Millisecond * slowdown

var background = context.Background()

// patient returns a context for what must not take for ever.
func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(background, patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok is true.
func eventually(t testing.TB, ok func() bool, format string, args ...any) {
	t.Helper()
	end := time.Now().Add(patience)
	for pause := 50 * time.Microsecond; !ok(); pause = min(2*pause, 5*time.Millisecond) {
		if time.Now().After(end) {
			require.FailNowf(t, "not within "+patience.String(), format, args...)
		}
		time.Sleep(pause)
	}
}

// receive takes one value from ch. What state says then is shown when none comes.
func receive[T any](t testing.TB, ch <-chan T, what string, state ...fmt.Stringer) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.FailNowf(t, "not within "+patience.String(), "%s %v", what, state)
		panic("not reached")
	}
}

// now shows what f returns when it is printed, not before.
func now[T any](f func() T) fmt.Stringer { return state[T](f) }

type state[T any] func() T

func (f state[T]) String() string { return fmt.Sprintf("%+v", f()) }

// inTime runs f and fails when that takes longer than limit.
func inTime(t testing.TB, limit time.Duration, what string, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > limit {
		require.FailNowf(t, "too late", "%s took %v, limit %v", what, took, limit)
	}
}

// inFigure runs f, which is to be back within limit, until it is that within the figure of R5. A
// machine with other work may miss it for a while, by less than slack; what misses it twenty times
// over is not the machine's fault.
func inFigure(t testing.TB, limit time.Duration, what string, f func()) {
	t.Helper()
	var took time.Duration
	for range 20 {
		begin := time.Now()
		inTime(t, limit+slack, what, f)
		if took = time.Since(begin); took <= limit+figure {
			return
		}
	}
	require.FailNowf(t, "too late each time", "%s took %v, limit %v", what, took, limit+figure)
}

// handler makes an Options of a function.
func handler(f func(*transport.Request)) transport.Options {
	return transport.Options{Handler: transport.HandlerFunc(f)}
}

func echo(r *transport.Request) {
	if !r.Oneway() {
		_ = r.Reply(r.Body())
	}
}

// newPool is a Pool that ends with the test.
func newPool(t testing.TB, workers, queue int) *transport.Pool {
	p := transport.NewPool(workers, queue)
	t.Cleanup(p.Close)
	return p
}

// body returns n bytes that follow from seed, the first four being a checksum of the rest.
func body(seed uint64, n int) []byte {
	b := make([]byte, n)
	x := seed*0x9E3779B97F4A7C15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	if n >= 4 {
		binary.BigEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	}
	return b
}

// intact says whether b, of at least 4 bytes, is what body made.
func intact(b []byte) bool {
	return len(b) >= 4 && binary.BigEndian.Uint32(b) == crc32.ChecksumIEEE(b[4:])
}

// requireLimit wants err to be a LimitError, of this package or of wire, with a value over its
// limit.
func requireLimit(t testing.TB, err error) {
	t.Helper()
	var l *transport.LimitError
	if errors.As(err, &l) {
		require.Greater(t, l.Value, l.Limit, "%v", err)
		return
	}
	var w *wire.LimitError
	require.ErrorAs(t, err, &w)
}

// requireCode wants err to be the error reply with code.
func requireCode(t testing.TB, code wire.Code, err error) {
	t.Helper()
	var r *transport.RemoteError
	require.ErrorAs(t, err, &r)
	require.Equal(t, code, r.Code, "%v", err)
}

// requireViolation wants err to say that the peer broke the protocol.
func requireViolation(t testing.TB, err error) {
	t.Helper()
	var p *transport.ProtocolError
	require.ErrorAs(t, err, &p)
}

// gate is what handlers wait at, off the loop, until the test opens it.
type gate struct {
	once sync.Once
	ch   chan struct{}
}

// newGate is opened at the end of the test at the latest.
func newGate(t testing.TB) *gate {
	g := &gate{ch: make(chan struct{})}
	t.Cleanup(g.open)
	return g
}

func (g *gate) open() { g.once.Do(func() { close(g.ch) }) }

// hold is a handler that keeps its call until the gate is open, without a goroutine of the pool.
func (g *gate) hold(r *transport.Request) {
	d := r.Detach()
	go func() {
		<-g.ch
		_ = d.Reply(d.Body())
	}()
}

// closed returns options with a hook that tells why connections ended.
func closed(o transport.Options) (transport.Options, <-chan error) {
	ch := make(chan error, 64)
	o.Hooks.Close = func(_ *transport.Conn, err error) { ch <- err }
	return o, ch
}

// listen and dial end with the test.
func listen(t testing.TB, o transport.Options) *transport.Listener {
	t.Helper()
	return transporttest.Listen(t, o)
}

func dial(t testing.TB, address string, o transport.Options) *transport.Conn {
	t.Helper()
	return transporttest.Dial(t, address, o)
}

func newTimeout(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(background, d)
}

// proxy is a transporttest.Proxy in front of address.
func proxy(t testing.TB, address string, f transporttest.Faults) *transporttest.Proxy {
	t.Helper()
	return transporttest.NewProxy(t, address, f)
}

// pieces are ways to cut a stream that leave it exact.
var pieces = []transporttest.Faults{
	{Split: 1},
	{Split: 3, Delay: 20 * time.Microsecond},
	{Split: 1000},
	{Merge: 20000},
	{Merge: 64 << 10, Split: 70000, Delay: 200 * time.Microsecond},
}

// cuts are ways to end one.
var cuts = []transporttest.Faults{
	{Reset: 60},
	{Reset: 200 << 10},
	{Truncate: 30000, Split: 500},
	{Truncate: 300 << 10},
}
