package object

import (
	"context"
	"fmt"
	"reflect"
	"strings"
)

// methodOf makes a Method of a Go function. Its parameters may begin with a context; its results
// may end with an error. Several results become a list.
func methodOf(f reflect.Value) (Method, error) {
	contextType, rawType := reflect.TypeFor[context.Context](), reflect.TypeFor[Raw]()
	t := f.Type()
	c := caller{f: f}
	var m Method
	for i := range t.NumIn() {
		p := t.In(i)
		switch {
		case i == 0 && p == contextType:
			c.ctx = true
			continue
		case p == contextType:
			return m, fmt.Errorf("parameter %d is a context, which has to come first", i+1)
		case p == rawType && t.NumIn() == i+1 && len(m.params) == 0 && !t.IsVariadic():
			m.raw = true
			continue
		}
		if kind := p.Kind(); kind == reflect.Chan || kind == reflect.Func {
			return m, fmt.Errorf("parameter %d is a %s, for which there is no JSON", i+1, p)
		}
		m.params = append(m.params, p.String())
		c.in = append(c.in, p)
	}
	m.variadic, c.variadic, c.raw = t.IsVariadic(), t.IsVariadic(), m.raw
	c.out = t.NumOut()
	if c.out > 0 && t.Out(c.out-1) == reflect.TypeFor[error]() {
		c.out--
		c.fails = true
	}
	var results []string
	for i := range c.out {
		r := t.Out(i)
		if kind := r.Kind(); kind == reflect.Chan || kind == reflect.Func {
			return m, fmt.Errorf("result %d is a %s, for which there is no JSON", i+1, r)
		}
		results = append(results, r.String())
	}
	m.result = strings.Join(results, ", ")
	c.rawOut = c.out == 1 && t.Out(0) == rawType
	if c.out > 1 {
		m.result = "(" + m.result + ")"
	}
	m.call = c.call
	return m, nil
}

// caller calls a Go function by reflection.
type caller struct {
	f        reflect.Value
	in       []reflect.Type // of the arguments
	out      int            // results, without the error
	ctx      bool           // the first parameter is a context
	raw      bool           // the only other one is a Raw
	rawOut   bool           // the only result is a Raw
	variadic bool
	fails    bool // the last result is an error
}

func (c *caller) call(ctx context.Context, a *Args, dst []byte) ([]byte, error) {
	in := make([]reflect.Value, 0, len(a.items)+1)
	if c.ctx {
		in = append(in, reflect.ValueOf(ctx))
	}
	if c.raw {
		in = append(in, reflect.ValueOf(Raw(a.raw)))
	}
	for i := range a.items {
		if c.raw {
			break
		}
		t := c.in[min(i, len(c.in)-1)]
		if c.variadic && i >= len(c.in)-1 {
			t = t.Elem()
		}
		p := reflect.New(t)
		if err := a.Decode(i, p.Interface()); err != nil {
			return dst, badArgument{err}
		}
		in = append(in, p.Elem())
	}
	out := c.f.Call(in)
	if c.fails {
		if err, _ := out[c.out].Interface().(error); err != nil {
			return dst, err
		}
	}
	return c.append(dst, out[:c.out])
}

// append appends the results.
func (c *caller) append(dst []byte, out []reflect.Value) ([]byte, error) {
	if c.rawOut {
		return append(dst, out[0].Bytes()...), nil
	}
	for i, r := range out {
		switch {
		case i > 0:
			dst = append(dst, ',')
		case len(out) > 1:
			dst = append(dst, '[')
		}
		var err error
		if dst, err = appendValue(dst, r.Interface()); err != nil {
			return dst, resultError{err}
		}
	}
	if len(out) > 1 {
		dst = append(dst, ']')
	}
	return dst, nil
}
