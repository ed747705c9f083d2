package object

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Raw is a payload that passes as it is. A method that takes one, alone or behind a context, gets
// all that the caller has sent, which need not be JSON when the caller is native; a Raw result is
// sent as it is. Callers from Node send a list as JSON, and have to be sent JSON.
type Raw []byte

// Method is something that others can call. Func0 to Func3 and Func make one that is called without
// reflection; a plain Go function in a Map, or a method of a published value, becomes one by
// reflection.
type Method struct {
	params   []string // their types
	variadic bool     // the last parameter takes any number
	any      bool     // any number of arguments
	raw      bool     // the payload is not looked at
	result   string   // its type, or "" when there is none
	call     func(ctx context.Context, a *Args, dst []byte) ([]byte, error)
}

// Func0 is a method without parameters.
func Func0[R any](f func(context.Context) (R, error)) Method {
	return Method{result: nameFor[R](),
		call: func(ctx context.Context, _ *Args, dst []byte) ([]byte, error) {
			r, err := f(ctx)
			return finish(dst, r, err)
		}}
}

// Func1 is a method of one parameter.
func Func1[A, R any](f func(context.Context, A) (R, error)) Method {
	return Method{params: []string{nameFor[A]()}, result: nameFor[R](),
		call: func(ctx context.Context, in *Args, dst []byte) ([]byte, error) {
			a, err := arg[A](in, 0)
			if err != nil {
				return dst, err
			}
			r, err := f(ctx, a)
			return finish(dst, r, err)
		}}
}

// Func2 is a method of two parameters.
func Func2[A, B, R any](f func(context.Context, A, B) (R, error)) Method {
	return Method{params: []string{nameFor[A](), nameFor[B]()}, result: nameFor[R](),
		call: func(ctx context.Context, in *Args, dst []byte) ([]byte, error) {
			a, err := arg[A](in, 0)
			if err != nil {
				return dst, err
			}
			b, err := arg[B](in, 1)
			if err != nil {
				return dst, err
			}
			r, err := f(ctx, a, b)
			return finish(dst, r, err)
		}}
}

// Func3 is a method of three parameters.
func Func3[A, B, C, R any](f func(context.Context, A, B, C) (R, error)) Method {
	return Method{params: []string{nameFor[A](), nameFor[B](), nameFor[C]()}, result: nameFor[R](),
		call: func(ctx context.Context, in *Args, dst []byte) ([]byte, error) {
			a, err := arg[A](in, 0)
			if err != nil {
				return dst, err
			}
			b, err := arg[B](in, 1)
			if err != nil {
				return dst, err
			}
			c, err := arg[C](in, 2)
			if err != nil {
				return dst, err
			}
			r, err := f(ctx, a, b, c)
			return finish(dst, r, err)
		}}
}

// Func is a method that reads its arguments itself, of which there may be any number.
func Func[R any](f func(context.Context, *Args) (R, error)) Method {
	return Method{any: true, result: nameFor[R](),
		call: func(ctx context.Context, in *Args, dst []byte) ([]byte, error) {
			r, err := f(ctx, in)
			return finish(dst, r, err)
		}}
}

// FuncRaw is a method of bytes: they are the caller's, and borrowed until f returns. What f returns
// may be the same bytes.
func FuncRaw(f func(context.Context, Raw) (Raw, error)) Method {
	return Method{raw: true, result: "bytes",
		call: func(ctx context.Context, in *Args, dst []byte) ([]byte, error) {
			r, err := f(ctx, in.raw)
			if err != nil {
				return dst, err
			}
			return append(dst, r...), nil
		}}
}

// badArgument marks the errors of arguments, as against those of the method itself.
type badArgument struct{ error }

// resultError says that a method has returned what cannot be sent.
type resultError struct{ error }

func (e resultError) Error() string { return "result cannot be encoded: " + e.error.Error() }

func (e resultError) Unwrap() error { return e.error }

func (e badArgument) Unwrap() error { return e.error }

func arg[A any](in *Args, i int) (A, error) {
	var a A
	plain, err := decodePlain(in.items[i], &a)
	switch {
	case !plain:
		return argSlow[A](in, i)
	case err != nil:
		return a, badArgument{fmt.Errorf("argument %d: %w", i+1, err)}
	}
	return a, nil
}

func argSlow[A any](in *Args, i int) (A, error) {
	a := new(A)
	if err := in.Decode(i, a); err != nil {
		return *a, badArgument{err}
	}
	return *a, nil
}

// finish appends the result of a method.
func finish[R any](dst []byte, r R, err error) ([]byte, error) {
	if err != nil {
		return dst, err
	}
	switch x := any(r).(type) {
	case float64:
		if dst, err = appendFloat(dst, x); err != nil {
			err = resultError{err}
		}
	case string:
		dst = appendString(dst, x)
	case int:
		dst = strconv.AppendInt(dst, int64(x), 10)
	case int64:
		dst = strconv.AppendInt(dst, x, 10)
	case bool:
		dst = strconv.AppendBool(dst, x)
	case struct{}: // nothing
	case Raw:
		dst = append(dst, x...)
	default:
		return finishSlow(dst, r) // not x, which would have to be on the heap for all
	}
	return dst, err
}

func finishSlow[R any](dst []byte, r R) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return dst, resultError{err}
	}
	return append(dst, b...), nil
}

func nameFor[T any]() string {
	t := reflect.TypeFor[T]()
	if t == reflect.TypeFor[struct{}]() {
		return ""
	}
	return t.String()
}

// check says whether so many arguments are right.
func (m *Method) check(n int) error {
	want, atLeast := len(m.params), ""
	if m.variadic {
		want--
		atLeast = "at least "
	}
	if m.any || m.raw || n == want || m.variadic && n > want {
		return nil
	}
	return badArgument{fmt.Errorf("arguments: %d, wanted %s%d", n, atLeast, want)}
}

// signature is m as Go would write it, behind its name.
func (m *Method) signature() string {
	params := strings.Join(m.params, ", ")
	switch {
	case m.any:
		params = "..."
	case m.raw:
		params = "bytes"
	case m.variadic:
		i := strings.LastIndex(params, "[]")
		params = params[:i] + "..." + params[i+len("[]"):]
	}
	if m.result == "" {
		return "(" + params + ")"
	}
	return "(" + params + ") " + m.result
}
