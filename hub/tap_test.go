package hub

import (
	"context"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// called makes a peer of that name and number.
func called(name string, seq uint64) *peer {
	p := &peer{seq: seq}
	p.renameLocked(`{"appName":"` + name + `"}`)
	return p
}

var web, calculator = called("web", 12), called("calculator", 3)

// passing is a call on its way through a hub.
func passing() *passage {
	return &passage{at: transport.Now(), kind: wire.TapCall, id: 7, from: web, to: calculator,
		copies: 1, object: "math", method: []byte("abs"),
		payload: []byte(strings.Repeat("x", 300))}
}

// tapped are the records that tap has, after a turn of its reader.
func tapped(t testing.TB, tap *Tap) []wire.TapRecord {
	t.Helper()
	b, err := tap.Next(t.Context())
	require.NoError(t, err)
	return records(t, b)
}

// records are those of b.
func records(t testing.TB, b []byte) (all []wire.TapRecord) {
	t.Helper()
	for len(b) > 0 {
		r, n, err := wire.ParseTapRecord(b)
		require.NoError(t, err)
		all, b = append(all, r), b[n:]
	}
	return all
}

func openTap(t testing.TB, all *taps, o TapOptions) *Tap {
	t.Helper()
	if all.passed == nil {
		all.passed = func() uint64 { return 0 }
	}
	tap, err := all.open(o)
	require.NoError(t, err)
	t.Cleanup(tap.Close)
	return tap
}

func TestTapRecords(t *testing.T) {
	var all taps
	require.Nil(t, all.on())
	tap := openTap(t, &all, TapOptions{Body: 100})
	before := time.Now()
	passing().pass(all.on())
	got := tapped(t, tap)
	require.Len(t, got, 1)
	require.WithinRange(t, time.Unix(0, int64(got[0].Time)), before.Add(-time.Second), time.Now())
	require.Len(t, got[0].Body, 100)
	require.EqualValues(t, 300, got[0].Size)
	require.Equal(t, "web#12 calculator#3 math abs", strings.Join([]string{string(got[0].From),
		string(got[0].To), string(got[0].Object), string(got[0].Method)}, " "))

	tap.Close()
	tap.Close()
	require.Nil(t, all.on())
	_, err := tap.Next(t.Context())
	require.ErrorIs(t, err, ErrClosed)
}

func TestTapFilters(t *testing.T) {
	for name, c := range map[string]struct {
		o    TapOptions
		want bool
	}{
		"everything":       {TapOptions{}, true},
		"sender":           {TapOptions{Peer: "web"}, true},
		"receiver":         {TapOptions{Peer: "calc*"}, true},
		"number":           {TapOptions{Peer: "#12"}, true},
		"name and number":  {TapOptions{Peer: "calculator#3"}, true},
		"another number":   {TapOptions{Peer: "web#1"}, false},
		"another peer":     {TapOptions{Peer: "job"}, false},
		"object":           {TapOptions{Object: "math"}, true},
		"another object":   {TapOptions{Object: "mat"}, false},
		"method":           {TapOptions{Method: "*b*"}, true},
		"another method":   {TapOptions{Object: "math", Method: "floor"}, false},
		"kind":             {TapOptions{Kinds: []wire.TapKind{wire.TapReply, wire.TapCall}}, true},
		"another kind":     {TapOptions{Kinds: []wire.TapKind{wire.TapOneway}}, false},
		"kind, not method": {TapOptions{Kinds: []wire.TapKind{wire.TapCall}, Method: "x"}, false},
	} {
		var all taps
		tap := openTap(t, &all, c.o)
		passing().pass(all.on())
		require.Equal(t, c.want, len(tap.take()) > 0, name)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "ab", false}, {"*", "", true},
		{"*", "abc", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abc", true},
		{"a*c", "abd", false}, {"a*b*c", "aXXbYYbZc", true}, {"a*b*c", "aXXcYYb", false},
		{"**a**", "a", true}, {"*ab", "aab", true}, {"a*", "ba", false}, {"*a*a*", "a", false},
	} {
		require.Equal(t, c.want, Matches(c.pattern, c.name), "%q %q", c.pattern, c.name)
	}
}

func TestTapRefusesNonsense(t *testing.T) {
	var all taps
	for _, o := range []TapOptions{{Kinds: []wire.TapKind{wire.TapNote}},
		{Kinds: []wire.TapKind{9}}, {Body: maxTapBody + 1}, {Buffer: -1},
		{Buffer: maxTapBuffer + 1}} {
		_, err := all.open(o)
		require.ErrorContains(t, err, "hub: tap: ")
	}
	for range maxTaps {
		openTap(t, &all, TapOptions{Buffer: 1})
	}
	_, err := all.open(TapOptions{})
	require.EqualError(t, err, "hub: taps: 17, limit 16")
}

// The buffer is bounded, and what finds no room is counted to the frame.
func TestTapFull(t *testing.T) {
	var all taps
	tap := openTap(t, &all, TapOptions{Buffer: 8 << 10, Rate: -1})
	for range 1000 {
		passing().pass(all.on())
	}
	first := tapped(t, tap)
	require.Less(t, len(first), 30)
	passing().pass(all.on())
	second := tapped(t, tap)
	require.Len(t, second, 1)
	require.EqualValues(t, 1000, uint64(len(first))+second[0].Lost)
	require.Equal(t, second[0].Lost, tap.Lost())
	require.LessOrEqual(t, cap(tap.active), 8<<10)
}

// Over the rate nothing is recorded, and all of it counted; nobody saves up more leave than a turn
// gives.
func TestTapRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		passed := uint64(77)
		all := taps{passed: func() uint64 { return passed }}
		tap := openTap(t, &all, TapOptions{Rate: 1000})
		pass := func(n int) (recorded int, lost uint64) {
			for i := range n { // half of them by the short way
				if i%2 == 0 {
					passing().pass(all.on())
					continue
				}
				if !spent(all.on()) {
					p := passing()
					p.counted = true
					p.pass(all.on())
				}
				passed++
			}
			for _, r := range records(t, tap.take()) {
				if r.Kind != wire.TapNote {
					recorded++
				}
				lost += r.Lost
			}
			return recorded, lost
		}
		for _, idle := range []time.Duration{0, time.Minute, tapTurn} {
			time.Sleep(idle)
			pass(0)
			recorded, lost := pass(1000)
			require.Equal(t, 100, recorded, "after %s", idle)
			require.EqualValues(t, 0, lost, "it is said in the next record")
			_, lost = pass(0)
			require.EqualValues(t, 900, lost, "a record of its own, as there is no other")
		}
		require.EqualValues(t, 2700, tap.Lost())

		time.Sleep(tapTurn / 2)
		pass(0)
		recorded, _ := pass(1000)
		require.Equal(t, 50, recorded, "what half a turn gives")
		require.EqualValues(t, 2700+950, tap.Lost())
	})
}

// A rate under one frame a turn is a rate, too.
func TestTapLowRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all taps
		tap := openTap(t, &all, TapOptions{Rate: 2})
		recorded := 0
		for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(tapTurn) {
			passing().pass(all.on())
			for _, r := range records(t, tap.take()) {
				if r.Kind != wire.TapNote {
					recorded++
				}
			}
		}
		require.InDelta(t, 20, recorded, 1)
	})
}

// A reader is given what was recorded once a turn, however much there is to tell, unless the buffer
// becomes half full, and at once when the tap ends.
func TestTapTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all taps
		tap := openTap(t, &all, TapOptions{Rate: -1, Buffer: 64 << 10})
		next := func() (n int, took time.Duration) {
			begun := time.Now()
			return len(tapped(t, tap)), time.Since(begun)
		}
		for range 3 {
			passing().pass(all.on())
			n, took := next()
			require.Equal(t, 1, n)
			require.Equal(t, tapTurn, took)
		}
		var filling sync.WaitGroup
		filling.Go(func() {
			time.Sleep(tapTurn / 4)
			for range 150 { // of 300 to 400 bytes
				passing().pass(all.on())
			}
		})
		n, took := next()
		require.GreaterOrEqual(t, n, 80) // half of the buffer
		require.Equal(t, tapTurn/4, took)
		filling.Wait()
		passing().pass(all.on())
		tap.Close()
		n, took = next()
		require.Positive(t, n)
		require.Zero(t, took)
		_, err := tap.Next(t.Context())
		require.ErrorIs(t, err, ErrClosed)
	})
}

// Who reads waits for no one, and nobody for the reader.
func TestTapConcurrent(t *testing.T) {
	var all taps
	tap := openTap(t, &all, TapOptions{Buffer: 64 << 10})
	const writers, each = 4, 5000
	var done sync.WaitGroup
	for range writers {
		done.Go(func() {
			for range each {
				if list := all.on(); list != nil {
					passing().pass(list)
				}
			}
		})
	}
	go func() { done.Wait(); tap.Close() }()
	var n, lost uint64
	for {
		b, err := tap.Next(context.Background())
		if err != nil {
			require.ErrorIs(t, err, ErrClosed)
			break
		}
		for _, r := range records(t, b) {
			if r.Kind != wire.TapNote {
				n++
			}
			lost += r.Lost
		}
	}
	require.EqualValues(t, writers*each, n+lost)
	require.Equal(t, tap.Lost(), lost)
	require.Positive(t, n)
}

func TestTapNextEndsWithItsContext(t *testing.T) {
	var all taps
	tap := openTap(t, &all, TapOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tap.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// R32: to record a frame, or to leave it out, allocates nothing.
func TestAllocsTap(t *testing.T) {
	var all taps
	openTap(t, &all, TapOptions{Rate: -1, Object: "*at*"})
	openTap(t, &all, TapOptions{Rate: 1})
	openTap(t, &all, TapOptions{Object: "none"})
	r := passing()
	require.Zero(t, testing.AllocsPerRun(1000, func() { r.pass(all.on()) }))
}

func BenchmarkTap(b *testing.B) {
	for name, o := range map[string]*TapOptions{
		"off": nil, "recorded": {Rate: -1, Buffer: maxTapBuffer}, "over the rate": {Rate: 1},
		"filtered": {Object: "other"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var all taps
			if o != nil {
				tap := openTap(b, &all, *o)
				ctx, cancel := context.WithCancel(b.Context())
				var reading sync.WaitGroup
				defer reading.Wait()
				defer cancel()
				reading.Go(func() {
					for err := error(nil); err == nil; {
						_, err = tap.Next(ctx)
					}
				})
			}
			r := passing()
			for b.Loop() {
				if list := all.on(); list != nil && !spent(list) {
					r.pass(list)
				}
			}
		})
	}
}

// R32: switched off a tap costs one atomic load, by the way the code is made: whatever shows a
// frame to those who tap stands behind taps.on, which is nothing but that load.
func TestR32OffIsOneLoad(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	guarded := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			if fn, ok := n.(*ast.FuncDecl); ok {
				switch fn.Name.Name {
				case "on":
					require.Equal(t, "return t.list.Load()", source(t, fn.Body.List[0]))
					require.Len(t, fn.Body.List, 1)
				case "passRequest", "passDown":
					return false // called from behind the guard, as is checked below
				}
			}
			if guard, ok := n.(*ast.IfStmt); ok && guard.Init != nil &&
				source(t, guard.Init) == "taps := c.taps.on()" {
				require.True(t, strings.HasPrefix(source(t, guard.Cond), "taps != nil"))
				guarded++
				return false
			}
			if call, ok := n.(*ast.CallExpr); ok {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok &&
					slices.Contains([]string{"pass", "passRequest", "passDown"}, s.Sel.Name) {
					t.Errorf("%s shows a frame without asking whether somebody taps", name)
				}
			}
			return true
		})
	}
	require.GreaterOrEqual(t, guarded, 8)
}

// source is a node as gofmt writes it.
func source(t *testing.T, n ast.Node) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, format.Node(&b, token.NewFileSet(), n))
	return b.String()
}
