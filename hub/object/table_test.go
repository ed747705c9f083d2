package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

func TestNameOf(t *testing.T) {
	for in, want := range map[string]string{"Abs": "abs", "ID": "id", "HTTPGet": "httpGet",
		"ReadAll": "readAll", "X": "x", "X2Y": "x2Y", "URLs": "urLs", "already": "already",
		"ÄrgerLos": "ärgerLos", "Is_OK": "is_OK", "": ""} {
		require.Equal(t, want, NameOf(in), in)
	}
}

// point is an argument and a result with a form of its own.
type point struct {
	X, Y float64
	Note *string `json:"note,omitempty"`
}

// shop is a value with methods of every kind.
type shop struct {
	Owner  string
	Rate   float64 `json:"vat"`
	Secret string  `json:"-"`
	hidden int
	Done   chan int
}

func (s *shop) Nothing()                                     {}
func (s *shop) Abs(x float64) float64                        { return math.Abs(x) }
func (s *shop) Add(_ context.Context, a, b int) (int, error) { return a + b, nil }
func (s *shop) Join(sep string, words ...string) string      { return strings.Join(words, sep) }
func (s *shop) Split(x float64) (int, float64) {
	i, f := math.Modf(x)
	return int(i), f
}
func (s *shop) Mirror(p point) point { return point{p.Y, p.X, p.Note} }
func (s *shop) Sum(all []int) (sum int) {
	for _, n := range all {
		sum += n
	}
	return
}
func (s *shop) Fail(text string) error                     { return errors.New(text) }
func (s *shop) Boom()                                      { panic("at the disco") }
func (s *shop) Bad() float64                               { return math.NaN() }
func (s *shop) Echo(_ context.Context, b Raw) (Raw, error) { return b, nil }
func (s *shop) Wait(ctx context.Context) error             { <-ctx.Done(); return ctx.Err() }
func (s *shop) Coded() error {
	return fmt.Errorf("wrapped: %w", funds{7})
}
func (s *shop) Whole() error {
	return &Error{Name: "RangeError", Message: "far", Code: "E_FAR"}
}
func (s *shop) Maybe(p *int) string         { return fmt.Sprint(p == nil) }
func (s *shop) Any(x any) any               { return x }
func (s *shop) When(at time.Time) time.Time { return at.Add(time.Hour) }
func (s *shop) HTTPGet(url string) string   { return "got " + url }

// funds is an error with a name and a code.
type funds struct{ need int }

func (f funds) Error() string { return fmt.Sprint("no funds, need ", f.need) }
func (f funds) Name() string  { return "FundsError" }
func (f funds) Code() string  { return "E_FUNDS" }

// open makes the table of a value.
func open(t testing.TB, v any) *table {
	table, err := tableOf("shop", v)
	require.NoError(t, err)
	return table
}

func (t *table) do(method, payload string) (string, error) {
	out, err := t.invoke(context.Background(), []byte(method), []byte(payload), nil,
		slog.New(slog.DiscardHandler))
	return string(out), err
}

func TestInvoke(t *testing.T) {
	s := open(t, new(shop))
	for _, c := range []struct{ method, args, want string }{
		{"nothing", ``, ``}, {"nothing", `[]`, ``}, {"nothing", `null`, ``},
		{"abs", `[-12.5]`, `12.5`}, {"abs", ` [ -1e2 ] `, `100`}, {"Abs", `[-0]`, `0`},
		{"add", `[2,40]`, `42`}, {"add", `[2.0,4e1]`, `42`},
		{"join", `["-"]`, `""`}, {"join", `["-","a","b","\u00e9\ud83d\ude00"]`, `"a-b-é😀"`},
		{"split", `[2.5]`, `[2,0.5]`},
		{"mirror", `[{"x":1,"Y":2,"note":"n"}]`, `{"X":2,"Y":1,"note":"n"}`},
		{"sum", `[[1,2,3]]`, `6`}, {"sum", `[null]`, `0`},
		{"echo", `not JSON`, `not JSON`}, {"echo", ``, ``}, {"echo", `[1, 2]`, `[1, 2]`},
		{"maybe", `[null]`, `"true"`}, {"maybe", `[5]`, `"false"`},
		{"any", `[{"a":[1,null]}]`, `{"a":[1,null]}`}, {"any", `[null]`, `null`},
		{"when", `["2026-01-01T00:00:00Z"]`, `"2026-01-01T01:00:00Z"`},
		{"httpGet", `["x"]`, `"got x"`}, {"HTTPGet", `["y"]`, `"got y"`},
	} {
		got, err := s.do(c.method, c.args)
		require.NoError(t, err, "%s %s", c.method, c.args)
		require.Equal(t, c.want, got, "%s %s", c.method, c.args)
	}
}

func TestInvokeSaysWhatIsWrong(t *testing.T) {
	s := open(t, new(shop))
	for _, c := range []struct {
		method, args, want string
		is                 error
		code               wire.Code
	}{
		{"abs", `["x"]`, `shop.abs(float64) float64: argument 1: "x" is not a float64`,
			ErrArguments, wire.CodeInvalid},
		{"abs", `[]`, `shop.abs(float64) float64: arguments: 0, wanted 1`, ErrArguments,
			wire.CodeInvalid},
		{"abs", `[1,2]`, `shop.abs(float64) float64: arguments: 2, wanted 1`, ErrArguments,
			wire.CodeInvalid},
		{"abs", `[null]`, `shop.abs(float64) float64: argument 1: null is not a float64`,
			ErrArguments, wire.CodeInvalid},
		{"abs", `5`, `shop.abs(float64) float64: 5 is not a list of arguments`, ErrArguments,
			wire.CodeInvalid},
		{"abs", `[1`, `shop.abs(float64) float64: arguments are not JSON: js: comma or closing ` +
			`bracket expected at byte 2`, ErrArguments, wire.CodeInvalid},
		{"add", `[1,2.5]`, `shop.add(int, int) int: argument 2: 2.5 is not a int`, ErrArguments,
			wire.CodeInvalid},
		{"add", `[1,1e300]`, `shop.add(int, int) int: argument 2: 1e300 is not a int`, ErrArguments,
			wire.CodeInvalid},
		{"join", `[]`, `shop.join(string, ...string) string: arguments: 0, wanted at least 1`,
			ErrArguments, wire.CodeInvalid},
		{"mirror", `[null]`, `shop.mirror(object.point) object.point: argument 1: null is not a ` +
			`object.point`, ErrArguments, wire.CodeInvalid},
		{"fail", `["no luck"]`, `no luck`, nil, wire.CodeFailed},
		{"coded", ``, `FundsError: wrapped: no funds, need 7`, nil, wire.CodeFailed},
		{"whole", ``, `RangeError: far`, nil, wire.CodeFailed},
		{"boom", ``, `shop.boom panicked: at the disco`, ErrPanic, wire.CodeInternal},
		{"bad", ``, `shop.bad() float64: result cannot be encoded: NaN has no JSON`, ErrResult,
			wire.CodeFailed},
	} {
		_, err := s.do(c.method, c.args)
		require.Error(t, err, c.method)
		e := describe(err)
		text := e.Error()
		if c.is != nil {
			require.ErrorIs(t, err, c.is)
			text = e.Message
		}
		require.Equal(t, c.want, text, "%s %s", c.method, c.args)
		require.Equal(t, c.code, e.code())
	}
	_, err := s.do("nope", "")
	require.ErrorIs(t, err, ErrNoMethod)
	require.Contains(t, err.Error(), "shop has no method nope; it has abs(float64) float64, "+
		"add(int, int) int, any(interface {}) interface {}")
	require.NotContains(t, err.Error(), "hidden")
}

func TestErrorsCross(t *testing.T) {
	s := open(t, new(shop))
	_, err := s.do("coded", "")
	e := describe(err)
	require.JSONEq(t, `{"stack":"FundsError: wrapped: no funds, need 7","name":"FundsError",`+
		`"message":"wrapped: no funds, need 7","code":"E_FUNDS"}`, e.text())
	back := remote(e.code(), e.text())
	require.Equal(t, [3]string{"FundsError", "wrapped: no funds, need 7", "E_FUNDS"},
		[3]string{back.Name, back.Message, back.Code})
	require.Equal(t, e.text(), back.text(), "passed on it stays as it was")

	for _, c := range []struct{ text, name, message, code string }{
		{`{"message":"m","code":5,"extra":[1]}`, "Error", "m", "5"},
		{`"plain \ud83d\ude00"`, "Error", "plain 😀", ""},
		{`nobody is there`, "Error", "nobody is there", ""},
		{`null`, "Error", "null", ""},
		{``, "Error", "", ""},
	} {
		e := remote(wire.CodeFailed, c.text)
		require.Equal(t, [3]string{c.name, c.message, c.code}, [3]string{e.Name, e.Message, e.Code})
	}
	late := describe(fmt.Errorf("wait: %w", context.DeadlineExceeded))
	require.Equal(t, wire.CodeDeadline, late.code())
	require.Equal(t, timeoutName, late.Name, "as the hub and Pandora's clients call it")
	late = remote(wire.CodeDeadline, "too late")
	require.ErrorIs(t, late, context.DeadlineExceeded)
	late = remote(wire.CodeFailed, `{"name":"MessengerRequestTimeoutError","message":"x"}`)
	require.ErrorIs(t, late, context.DeadlineExceeded)
	for _, sentinel := range []error{ErrNoMethod, ErrArguments, ErrResult, ErrPanic} {
		require.NotErrorIs(t, late, sentinel)
	}
}

func TestProperties(t *testing.T) {
	v := &shop{Owner: "Ada", Rate: 0.2, Secret: "s", hidden: 1}
	s := open(t, v)
	for name, want := range map[string]string{"owner": `"Ada"`, "Owner": `"Ada"`, "vat": `0.2`,
		"Rate": `0.2`} {
		got, err := s.property(name, nil)
		require.NoError(t, err)
		require.Equal(t, want, string(got), name)
	}
	v.Owner = "Bea"
	got, _ := s.property("owner", nil)
	require.Equal(t, `"Bea"`, string(got), "read when it is asked for")
	for _, name := range []string{"Secret", "secret", "hidden", "done", "abs", "nope"} {
		_, err := s.property(name, nil)
		require.ErrorIs(t, err, ErrNoMethod)
		require.EqualError(t, err, "TypeError: shop has no property "+name+"; it has owner, vat")
	}
}

func sqrt(_ context.Context, x float64) (float64, error) { return math.Sqrt(x), nil }

func pow(_ context.Context, x, y float64) (float64, error) { return math.Pow(x, y), nil }

func clamp(_ context.Context, x, l, h int) (int, error) { return min(max(x, l), h), nil }

func void(context.Context, point) (struct{}, error) { return struct{}{}, nil }

func TestMap(t *testing.T) {
	s := open(t, Map{"abs": math.Abs, "PI": math.Pi, "list": []int{1, 2}, "nil": nil,
		"half":  Func1(func(_ context.Context, x float64) (float64, error) { return x / 2, nil }),
		"Keep":  Func0(func(context.Context) (string, error) { return "kept", nil }),
		"count": Func(func(_ context.Context, a *Args) (int, error) { return a.Len(), nil }),
		"pow":   Func2(pow),
		"clamp": Func3(clamp),
		"bytes": FuncRaw(func(_ context.Context, b Raw) (Raw, error) { return b[1:], nil }),
		"void":  Func1(void),
	})
	for _, c := range []struct{ method, args, want string }{
		{"abs", `[-5]`, `5`}, {"half", `[5]`, `2.5`}, {"Keep", ``, `"kept"`},
		{"count", `[1,"x",[2,3]]`, `3`}, {"pow", `[2,10]`, `1024`}, {"clamp", `[5,1,3]`, `3`},
		{"bytes", `xyz`, `yz`}, {"void", `[{"X":1}]`, ``},
	} {
		got, err := s.do(c.method, c.args)
		require.NoError(t, err)
		require.Equal(t, c.want, got, c.method)
	}
	_, err := s.do("void", `[5]`)
	require.ErrorIs(t, err, ErrArguments)
	require.ErrorContains(t, err, "shop.void(object.point): argument 1: 5 is not a object.point")
	i := s.introspect()
	var names []string
	for _, m := range i.Methods {
		names = append(names, fmt.Sprint(m.Name, m.Length, m.Signature))
	}
	require.Equal(t, []string{"Keep0() string", "abs1(float64) float64", "bytes0(bytes) bytes",
		"clamp3(int, int, int) int", "count0(...) int", "half1(float64) float64",
		"pow2(float64, float64) float64", "void1(object.point)"}, names)
	require.Equal(t, []PropertyInfo{{"PI", "number"}, {"list", "object"}, {"nil", "object"}},
		i.Properties)
}

func TestWhatCannotBePublished(t *testing.T) {
	for want, v := range map[string]any{
		"object: o is nil": nil,
		"object: o has nothing to offer: no exported method or field":               empty{},
		fmt.Sprintf(`object: name "" in o: bytes 0, limit 1 to %d`, wire.MaxMethod): Map{"": 1},
		"object: o.f: parameter 1 is a chan int, for which there is no JSON": Map{
			"f": func(chan int) {}},
		"object: o.f: result 1 is a func(), for which there is no JSON": Map{
			"f": func() func() { return nil }},
		"object: o.f: parameter 2 is a context, which has to come first": Map{
			"f": func(int, context.Context) {}},
		"object: o.f is an empty Method":                        Map{"f": Method{}},
		`object: o has two methods that others would call "ab"`: twins{},
	} {
		_, err := tableOf("o", v)
		require.EqualError(t, err, want)
	}
}

type empty struct{ _ int }

type twins struct{}

func (twins) Ab() {}
func (twins) AB() {}

// Plain types are read and written as encoding/json does, but for what value.go says.
func FuzzValues(f *testing.F) {
	for _, s := range []string{`0`, `-1.5`, `1e3`, `"a"`, `"\ud83d"`, `true`, `null`, `[1,"x"]`,
		`9007199254740993`, `1e400`, `"\u00e9\n"`, `{"a":1}`, `2147483648`, `-0`,
		`"\ud83d\ude00"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || !utf8.ValidString(text) {
			return
		}
		raw := []byte(strings.TrimSpace(text))
		same[float64](t, raw)
		same[string](t, raw)
		same[int](t, raw)
		same[int32](t, raw)
		same[int64](t, raw)
		same[bool](t, raw)
		same[[]any](t, raw)
	})
}

func same[T any](t *testing.T, raw []byte) {
	var got, want T
	err := decode(raw, &got)
	wanted := json.Unmarshal(raw, &want)
	if string(raw) == "null" {
		_, slice := any(got).([]any)
		require.Equal(t, slice, err == nil)
		return
	}
	if wanted != nil && err == nil {
		// a whole number in another form, or one beyond all floats
		var f float64
		if json.Unmarshal(raw, &f) == nil {
			require.Equal(t, f, float64(asInt(any(got))), "%s", raw)
		} else {
			require.True(t, math.IsInf(any(got).(float64), 0), "%s", raw)
		}
		return
	}
	require.Equal(t, wanted == nil, err == nil, "%s: %v, %v", raw, wanted, err)
	if err != nil {
		return
	}
	require.Equal(t, want, got, "%s", raw)
	out, err := appendValue(nil, got)
	if f, ok := any(got).(float64); ok && math.IsInf(f, 0) {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	var back T
	require.NoError(t, decode(out, &back), "%s", out)
	require.Equal(t, got, back)
}

func asInt(v any) int64 {
	switch v := v.(type) {
	case int:
		return int64(v)
	case int32:
		return int64(v)
	case int64:
		return v
	}
	return 0
}

func TestAllocsInvoke(t *testing.T) {
	s := open(t, Map{
		"add":  Func2(func(_ context.Context, a, b int) (int, error) { return a + b, nil }),
		"sqrt": Func1(sqrt),
		"raw":  FuncRaw(func(_ context.Context, b Raw) (Raw, error) { return b, nil }),
	})
	log, dst := slog.New(slog.DiscardHandler), make([]byte, 0, 256)
	all := map[string]string{"add": `[20000,40]`, "sqrt": `[2]`, "raw": "anything"}
	for method, args := range all {
		payload, method := []byte(args), []byte(method)
		require.Zero(t, testing.AllocsPerRun(200, func() {
			if _, err := s.invoke(t.Context(), method, payload, dst, log); err != nil {
				panic(err)
			}
		}), method)
	}
}

func BenchmarkInvoke(b *testing.B) {
	s := open(b, Map{"reflected": math.Sqrt,
		"typed": Func1(sqrt),
	})
	log, dst, payload := slog.New(slog.DiscardHandler), make([]byte, 0, 256), []byte(`[1234.5]`)
	for _, method := range []string{"typed", "reflected"} {
		b.Run(method, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.invoke(b.Context(), []byte(method), payload, dst, log)
			}
		})
	}
}
