package object_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
	"github.com/pithos-ipc/pithos/transport/transporttest"
	"github.com/pithos-ipc/pithos/wire"
)

// patience bounds what takes no time, on a machine that does much else.
const patience = time.Minute

// soon is a context that ends long before the test would.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// start is a hub until the end of the test.
func start(t testing.TB, path string) *hub.Hub {
	t.Helper()
	h := hub.New(hub.Options{})
	require.NoError(t, h.Listen(path))
	t.Cleanup(func() { h.Close(soon(t)) })
	return h
}

func join(t testing.TB, path, app string) *hub.Client {
	t.Helper()
	c, err := hub.Join(soon(t), path, hub.JoinOptions{Location: hub.Location{AppName: app}})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(soon(t)) })
	return c
}

// hubAt is a hub with two clients.
func hubAt(t testing.TB) (path string, a, b *hub.Client) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "hub")
	start(t, path)
	return path, join(t, path, "a"), join(t, path, "b")
}

func eventually(t testing.TB, ok func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "not in time: %s", what)
	}
}

// calculator is a value with methods of every kind.
type calculator struct {
	Owner string
	PI    float64

	mu  sync.Mutex
	log []string
}

type point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

type fundsError struct{ need int }

func (e fundsError) Error() string { return fmt.Sprint("no funds, need ", e.need) }
func (e fundsError) Name() string  { return "FundsError" }
func (e fundsError) Code() string  { return "E_FUNDS" }

func (c *calculator) Nothing()                                     {}
func (c *calculator) Abs(x float64) float64                        { return math.Abs(x) }
func (c *calculator) Add(_ context.Context, a, b int) (int, error) { return a + b, nil }
func (c *calculator) Join(sep string, words ...string) string {
	return strings.Join(words, sep)
}
func (c *calculator) Mirror(p point) point          { return point{p.Y, p.X} }
func (c *calculator) Any(x any) any                 { return x }
func (c *calculator) Pay(n int) error               { return fundsError{n} }
func (c *calculator) Boom()                         { panic("at the disco") }
func (c *calculator) Bad() float64                  { return math.NaN() }
func (c *calculator) Bytes(b object.Raw) object.Raw { return b }
func (c *calculator) Wait(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
func (c *calculator) Split(x float64) (int, float64) {
	i, f := math.Modf(x)
	return int(i), f
}

func (c *calculator) Subscribe(_ context.Context, topic string) error {
	return c.note("+" + topic)
}

func (c *calculator) Unsubscribe(_ context.Context, topic string) error {
	return c.note("-" + topic)
}

func (c *calculator) note(line string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, line)
	return nil
}

// noted is a copy of the log.
func (c *calculator) noted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.log...)
}

func newCalculator() *calculator { return &calculator{Owner: "Ada", PI: math.Pi} }

func publish(t testing.TB, c *hub.Client, name string, v any, o object.Options) *object.Published {
	t.Helper()
	p, err := object.Publish(soon(t), c, name, v, o)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close(soon(t)) })
	return p
}

func TestCall(t *testing.T) {
	_, a, b := hubAt(t)
	publish(t, b, "calc", newCalculator(), object.Options{})
	ctx, calc := soon(t), a.Object("calc")
	abs, err := object.Call[float64](ctx, calc, "abs", -3.5)
	require.NoError(t, err)
	require.Equal(t, 3.5, abs)
	sum, err := object.Call[int](ctx, calc, "Add", 2, 40)
	require.NoError(t, err)
	require.Equal(t, 42, sum)
	text, err := object.Call[string](ctx, calc, "join", "-", "a", "é")
	require.NoError(t, err)
	require.Equal(t, "a-é", text)
	p, err := object.Call[point](ctx, calc, "mirror", point{1, 2})
	require.NoError(t, err)
	require.Equal(t, point{2, 1}, p)
	parts, err := object.Call[[]float64](ctx, calc, "split", 2.5)
	require.NoError(t, err)
	require.Equal(t, []float64{2, 0.5}, parts)
	_, err = object.Call[struct{}](ctx, calc, "nothing")
	require.NoError(t, err)
	nothing, err := object.Call[any](ctx, calc, "nothing")
	require.NoError(t, err)
	require.Nil(t, nothing)
	raw, err := object.Invoke(ctx, calc, "any", json.RawMessage(`{"deep":[1,null]}`))
	require.NoError(t, err)
	require.JSONEq(t, `{"deep":[1,null]}`, string(raw))
	bytes, err := object.InvokeRaw(ctx, calc, "bytes", []byte("\x00\xffnot JSON"), nil)
	require.NoError(t, err)
	require.Equal(t, "\x00\xffnot JSON", string(bytes))
	pi, err := object.Property[float64](ctx, calc, "pi")
	require.NoError(t, err)
	require.Equal(t, math.Pi, pi)
	i, err := object.Introspect(ctx, calc)
	require.NoError(t, err)
	require.Len(t, i.Methods, 12)
	require.Equal(t, object.MethodInfo{Name: "abs", Length: 1, Type: "function",
		Signature: "(float64) float64"}, i.Methods[0])
	require.Equal(t, []object.PropertyInfo{{Name: "owner", Type: "string"},
		{Name: "pi", Type: "number"}}, i.Properties)
}

func TestCallFails(t *testing.T) {
	_, a, b := hubAt(t)
	published := publish(t, b, "calc", newCalculator(), object.Options{})
	ctx, calc := soon(t), a.Object("calc")
	_, err := object.Call[int](ctx, calc, "pay", 7)
	var e *object.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, [3]string{"FundsError", "no funds, need 7", "E_FUNDS"},
		[3]string{e.Name, e.Message, e.Code})
	require.Equal(t, wire.CodeFailed, e.WireCode())

	_, err = object.Call[int](ctx, calc, "nope")
	require.ErrorIs(t, err, object.ErrNoMethod)
	require.ErrorContains(t, err, "calc has no method nope; it has abs(float64) float64, add(int")
	_, err = object.Call[int](ctx, calc, "abs", "x")
	require.ErrorIs(t, err, object.ErrArguments)
	require.ErrorContains(t, err, `calc.abs(float64) float64: argument 1: "x" is not a float64`)
	_, err = object.Call[int](ctx, calc, "bad")
	require.ErrorIs(t, err, object.ErrResult)
	_, err = object.Call[int](ctx, calc, "boom")
	require.ErrorIs(t, err, object.ErrPanic)
	require.ErrorContains(t, err, "at the disco")
	_, err = object.Call[int](ctx, calc, "abs", math.Inf(1))
	require.EqualError(t, err, "object: abs: argument 1: +Inf has no JSON")
	_, err = object.Call[int](ctx, calc, "join", "-", "text")
	require.EqualError(t, err, `object: result of join: "text" is not a int`)
	_, err = object.Call[point](ctx, calc, "abs", 1.0)
	require.ErrorContains(t, err, "object: result of abs: 1 is not a object_test.point")
	_, err = object.Invoke(ctx, calc, "abs", json.RawMessage("x y"))
	require.ErrorContains(t, err, "object: abs: argument 1 is not JSON: x y")
	_, err = object.Call[int](ctx, a.Object("none"), "abs", 1)
	require.ErrorAs(t, err, &e)
	require.Equal(t, wire.CodeNoRoute, e.WireCode())
	require.ErrorContains(t, err, `"objectName":"none"`)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = object.Call[int](short, calc, "wait")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	require.NoError(t, published.Close(ctx))
	_, err = object.Call[int](ctx, calc, "abs", 1)
	require.ErrorAs(t, err, &e)
	require.Equal(t, wire.CodeNoRoute, e.WireCode())
}

func TestTags(t *testing.T) {
	_, a, b := hubAt(t)
	for _, tag := range []string{"v1", "v2"} {
		v := object.Map{"who": func() string { return tag }}
		publish(t, b, "o", v, object.Options{Tag: tag})
	}
	for _, tag := range []string{"v1", "v2", "v2", "v1"} {
		route := a.Route(hub.Selector{ObjectName: "o", ObjectTag: tag})
		who, err := object.Call[string](soon(t), route, "who")
		require.NoError(t, err)
		require.Equal(t, tag, who)
	}
}

func TestOnLoop(t *testing.T) {
	_, a, b := hubAt(t)
	publish(t, b, "o", object.Map{"half": object.Func1(
		func(_ context.Context, x float64) (float64, error) { return x / 2, nil })},
		object.Options{OnLoop: true})
	half, err := object.Call[float64](soon(t), a.Object("o"), "half", 5.0)
	require.NoError(t, err)
	require.Equal(t, 2.5, half)
	_, err = object.Introspect(soon(t), a.Object("o"))
	require.NoError(t, err)
}

// heard collects what a subscription is told.
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) take(a *object.Args) {
	h.mu.Lock()
	defer h.mu.Unlock()
	line := ""
	for i := range a.Len() {
		line += string(a.Raw(i)) + ";"
	}
	h.all = append(h.all, line)
}

func (h *heard) lines() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.all...)
}

func TestSubscribe(t *testing.T) {
	path, a, b := hubAt(t)
	v, ctx := newCalculator(), soon(t)
	p := publish(t, b, "calc", v, object.Options{})
	require.NoError(t, p.Emit(ctx, "price", "unheard"))
	l := object.Listen(a, "calc", "", nil)
	defer l.Close(ctx)
	other := object.Listen(join(t, path, "c"), "calc", "", nil)
	defer other.Close(ctx)
	var one, two, three heard
	first, err := l.Subscribe(ctx, "price", one.take)
	require.NoError(t, err)
	second, err := l.Subscribe(ctx, "price", two.take)
	require.NoError(t, err)
	third, err := other.Subscribe(ctx, "price", three.take)
	require.NoError(t, err)
	require.Equal(t, []string{"price"}, p.Topics())
	for n := range 100 {
		require.NoError(t, p.Emit(ctx, "price", "ACME", n))
		require.NoError(t, p.Emit(ctx, "other", n))
	}
	for _, h := range []*heard{&one, &two, &three} {
		eventually(t, func() bool { return len(h.lines()) == 100 }, "a hundred pushes")
		for n, line := range h.lines() {
			require.Equal(t, fmt.Sprintf(`"ACME";%d;`, n), line)
		}
	}
	require.NoError(t, first.Stop(ctx))
	require.NoError(t, first.Stop(ctx), "again")
	require.NoError(t, third.Stop(ctx))
	require.NoError(t, p.Emit(ctx, "price", "last"))
	eventually(t, func() bool { return len(two.lines()) == 101 }, "the last push")
	require.Len(t, one.lines(), 100)
	require.Len(t, three.lines(), 100)
	require.NoError(t, second.Stop(ctx))
	require.Empty(t, p.Topics())
	require.Equal(t, []string{"+price", "-price"}, v.noted())

	nobody := object.Listen(a, "none", "v1", nil)
	defer nobody.Close(ctx)
	_, err = nobody.Subscribe(ctx, "x", one.take)
	require.EqualError(t, err, "nobody serves object none with tag v1")
}

// A server of the object that comes later is subscribed with, too.
func TestSubscribeWithNewServers(t *testing.T) {
	path, a, b := hubAt(t)
	ctx, m := soon(t), object.Map{"x": func() {}}
	one := publish(t, b, "feed", m, object.Options{})
	l := object.Listen(a, "feed", "", nil)
	defer l.Close(ctx)
	var h heard
	_, err := l.Subscribe(ctx, "price", h.take)
	require.NoError(t, err)
	two := publish(t, join(t, path, "c"), "feed", m, object.Options{})
	eventually(t, func() bool { return len(two.Topics()) == 1 }, "the subscription")
	require.NoError(t, two.Emit(ctx, "price", 2))
	require.NoError(t, one.Emit(ctx, "price", 1))
	eventually(t, func() bool { return len(h.lines()) == 2 }, "pushes of both")
	require.NoError(t, one.Close(ctx))
	require.NoError(t, two.Emit(ctx, "price", 3))
	eventually(t, func() bool { return len(h.lines()) == 3 }, "a push of the one that is left")
}

// A listener whose process has gone is taken off its topics.
func TestSubscriberThatHasGone(t *testing.T) {
	path, _, b := hubAt(t)
	v, ctx := newCalculator(), soon(t)
	p := publish(t, b, "calc", v, object.Options{})
	p.SetGrace(time.Millisecond)
	c := join(t, path, "c")
	l := object.Listen(c, "calc", "", nil)
	_, err := l.Subscribe(ctx, "price", new(heard).take)
	require.NoError(t, err)
	require.Equal(t, []string{"price"}, p.Topics())
	require.NoError(t, c.Close(ctx))
	eventually(t, func() bool { return len(p.Topics()) == 0 }, "the subscriber to be forgotten")
	eventually(t, func() bool { return len(v.noted()) == 2 }, "the source to be told")
	require.Equal(t, []string{"+price", "-price"}, v.noted())
	_ = l.Close(ctx) // its client has left
}

// R29: a listener that was away for so long that it was forgotten hears again when it is back.
func TestR29ListenerThatWasForgotten(t *testing.T) {
	path, _, b := hubAt(t)
	ctx := soon(t)
	p := publish(t, b, "feed", object.Map{"x": func() {}}, object.Options{})
	p.SetGrace(time.Millisecond)
	proxy := transporttest.NewProxy(t, path, transporttest.Faults{})
	l := object.Listen(join(t, proxy.Address(), "c"), "feed", "", nil)
	defer l.Close(ctx)
	var got heard
	_, err := l.Subscribe(ctx, "price", got.take)
	require.NoError(t, err)
	for n := range 3 {
		proxy.Cut()
		eventually(t, func() bool {
			require.NoError(t, p.Emit(ctx, "price", n))
			lines := got.lines()
			return len(lines) > 0 && lines[len(lines)-1] == fmt.Sprint(n, ";")
		}, "a push after the cut")
	}
	require.Equal(t, []string{"price"}, p.Topics())
}

// R29: when the hub is another one, objects and subscriptions are there again, each once.
func TestR29SubscriptionsComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub")
	h := hub.New(hub.Options{})
	require.NoError(t, h.Listen(path))
	a, b := join(t, path, "a"), join(t, path, "b")
	v, ctx := newCalculator(), soon(t)
	p := publish(t, b, "calc", v, object.Options{})
	l := object.Listen(a, "calc", "", nil)
	defer l.Close(ctx)
	var got heard
	s, err := l.Subscribe(ctx, "price", got.take)
	require.NoError(t, err)
	for n := range 3 {
		require.NoError(t, h.Close(ctx))
		h = hub.New(hub.Options{})
		require.NoError(t, h.Listen(path))
		eventually(t, func() bool {
			all, err := a.Lookup(ctx, hub.Selector{ObjectName: "calc@subscriber"})
			some, _ := b.Lookup(ctx, hub.Selector{ObjectName: "calc"})
			return err == nil && len(all) == 1 && len(some) == 1
		}, "both to be back")
		require.NoError(t, p.Emit(ctx, "price", n))
		eventually(t, func() bool { return len(got.lines()) == n+1 }, "the push")
		abs, err := object.Call[int](ctx, a.Object("calc"), "abs", -n)
		require.NoError(t, err)
		require.Equal(t, n, abs)
	}
	require.Equal(t, []string{"0;", "1;", "2;"}, got.lines())
	require.NoError(t, s.Stop(ctx))
	require.Empty(t, p.Topics())
	require.Equal(t, []string{"+price", "-price"}, v.noted())
	require.NoError(t, h.Close(ctx))
}

func TestConfig(t *testing.T) {
	path, a, b := hubAt(t)
	ctx := soon(t)
	m, err := object.ServeConfig(ctx, b, nil)
	require.NoError(t, err)
	defer m.Close(ctx)
	require.NoError(t, m.Set(ctx, "db", map[string]int{"port": 1}))
	var got [3][]string
	var mu sync.Mutex
	for i := range got {
		client := a
		if i > 0 {
			client = join(t, path, "more")
		}
		c := object.NewConfigClient(client, nil)
		defer c.Close(ctx)
		v, err := c.Value(ctx, "none")
		require.NoError(t, err)
		require.Nil(t, v)
		_, err = c.Subscribe(ctx, "db", func(v json.RawMessage) {
			mu.Lock()
			defer mu.Unlock()
			got[i] = append(got[i], string(v))
		})
		require.NoError(t, err)
		all, err := c.All(ctx)
		require.NoError(t, err)
		require.Equal(t, map[string]json.RawMessage{"db": json.RawMessage(`{"port":1}`)}, all)
	}
	for n := 2; n <= 20; n++ {
		require.NoError(t, m.Set(ctx, "db", n))
	}
	want := []string{`{"port":1}`}
	for n := 2; n <= 20; n++ {
		want = append(want, fmt.Sprint(n))
	}
	for i := range got {
		eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(got[i]) == len(want)
		}, "all values")
		require.Equal(t, want, got[i])
	}
	require.Equal(t, "20", string(m.Value("db")))
	require.Equal(t, []string{"db"}, m.Topics("d"))
	require.Equal(t, []string{"db"}, m.Subscribed(""))
	require.Empty(t, m.Topics("x"))
	require.ErrorIs(t, m.Set(ctx, "", 1), object.ErrArguments)
	require.ErrorContains(t, m.Set(ctx, "f", func() {}), "object: config f: json: unsupported type")
}

func BenchmarkCall(b *testing.B) {
	_, caller, server := hubAt(b)
	half := func(_ context.Context, x float64) (float64, error) { return x / 2, nil }
	publish(b, server, "typed", object.Map{"half": object.Func1(half)}, object.Options{})
	publish(b, server, "loop", object.Map{"half": object.Func1(half)}, object.Options{OnLoop: true})
	publish(b, server, "reflected", object.Map{"half": half}, object.Options{})
	ctx := context.Background()
	for _, name := range []string{"loop", "typed", "reflected"} {
		b.Run(name, func(b *testing.B) {
			route := caller.Object(name)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := object.Call[float64](ctx, route, "half", 5.0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("bare route", func(b *testing.B) {
		route, buf := caller.Object("loop"), make([]byte, 64)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := route.Call(ctx, "half", []byte("[5]"), buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
