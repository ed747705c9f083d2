package object

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/pithos-ipc/pithos/wire"
)

// Map is an object that is put together by hand: functions become its methods, Methods are such
// already, and everything else is a property. Its names are taken as they are.
//
//	object.Map{"abs": object.Func1(abs), "max": math.Max, "PI": math.Pi}
type Map map[string]any

// table is what can be called at an object, and read. But for the pool it is immutable.
type table struct {
	object  string             // its name
	methods map[string]*Method // by the names for others; see alias
	values  map[string]func() any
	types   map[string]string // of the values
	alias   map[string]string // the names in Go of methods and values
	pool    argsPool
}

// tableOf collects what v has to offer: of a Map its entries, of any other value its exported
// methods and, of a struct or a pointer to one, its exported fields.
func tableOf(name string, v any) (*table, error) {
	t := &table{object: name, methods: make(map[string]*Method),
		values: make(map[string]func() any), types: make(map[string]string),
		alias: make(map[string]string)}
	if m, ok := v.(Map); ok {
		for key, x := range m {
			if err := t.add(key, reflect.ValueOf(x), x); err != nil {
				return nil, err
			}
		}
		return t.checked()
	}
	r := reflect.ValueOf(v)
	if !r.IsValid() {
		return nil, fmt.Errorf("object: %s is nil", name)
	}
	for i := range r.NumMethod() {
		in := r.Type().Method(i).Name
		if in == "Subscribe" || in == "Unsubscribe" {
			if _, ok := v.(Source); ok {
				continue // called by subscribers in their own way
			}
		}
		if err := t.add(t.rename(in), r.Method(i), nil); err != nil {
			return nil, err
		}
	}
	t.addFields(r)
	return t.checked()
}

// addFields adds the exported fields of a struct. They are read when they are asked for.
func (t *table) addFields(r reflect.Value) {
	if r.Kind() == reflect.Pointer {
		r = r.Elem()
	}
	if r.Kind() != reflect.Struct {
		return
	}
	for _, f := range reflect.VisibleFields(r.Type()) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind := f.Type.Kind()
		if !f.IsExported() || f.Anonymous || tag == "-" || kind == reflect.Func ||
			kind == reflect.Chan {
			continue
		}
		name := tag
		if name == "" {
			name = t.rename(f.Name)
		} else {
			t.alias[f.Name] = name
		}
		if t.methods[name] != nil {
			continue
		}
		t.values[name] = func() any { return r.FieldByIndex(f.Index).Interface() }
		t.types[name] = kindName(f.Type)
	}
}

func (t *table) rename(in string) string {
	name := NameOf(in)
	if name != in {
		t.alias[in] = name
	}
	return name
}

// add adds what is called name: v is a function, or x is a Method or a value.
func (t *table) add(name string, v reflect.Value, x any) error {
	if name == "" || len(name) > wire.MaxMethod {
		return fmt.Errorf("object: name %q in %s: bytes %d, limit 1 to %d", name, t.object,
			len(name), wire.MaxMethod)
	}
	if t.methods[name] != nil {
		return fmt.Errorf("object: %s has two methods that others would call %q", t.object, name)
	}
	if m, ok := x.(Method); ok {
		if m.call == nil {
			return fmt.Errorf("object: %s.%s is an empty Method", t.object, name)
		}
		t.methods[name] = &m
		return nil
	}
	if v.Kind() != reflect.Func {
		t.values[name] = func() any { return x }
		t.types[name] = kindName(reflect.TypeOf(x))
		return nil
	}
	m, err := methodOf(v)
	if err != nil {
		return fmt.Errorf("object: %s.%s: %w", t.object, name, err)
	}
	t.methods[name] = &m
	return nil
}

func (t *table) checked() (*table, error) {
	if len(t.methods)+len(t.values) == 0 {
		return nil, fmt.Errorf("object: %s has nothing to offer: no exported method or field",
			t.object)
	}
	return t, nil
}

// kindName is what JavaScript's typeof says of the JSON of a type.
func kindName(t reflect.Type) string {
	if t == nil {
		return "object"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	}
	if k := t.Kind(); k >= reflect.Int && k <= reflect.Float64 {
		return "number"
	}
	return "object"
}

// find returns the method called name, by either of its names.
func (t *table) find(name []byte) *Method {
	if m := t.methods[string(name)]; m != nil {
		return m
	}
	return t.methods[t.alias[string(name)]]
}

// invoke calls a method with the payload of a call, and appends its result.
func (t *table) invoke(ctx context.Context, name, payload, dst []byte, log *slog.Logger) (
	out []byte, err error) {
	m := t.find(name)
	if m == nil {
		return dst, &Error{Name: "TypeError", Code: codeNoMethod, wire: wire.CodeNoMethod,
			Message: t.object + " has no method " + string(name) + "; it has " + t.list()}
	}
	a := t.pool.take()
	defer t.pool.give(a)
	a.raw = payload
	if !m.raw {
		if err := a.parse(payload); err != nil {
			return dst, t.bad(name, m, err)
		}
		if err := m.check(len(a.items)); err != nil {
			return dst, t.bad(name, m, err)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			log.Error("method panicked", "object", t.object, "method", string(name), "panic", p,
				"stack", string(debug.Stack()))
			out, err = dst, &Error{Message: fmt.Sprintf("%s.%s panicked: %v", t.object, name, p),
				Code: codePanic, wire: wire.CodeInternal}
		}
	}()
	out, err = m.call(ctx, a, dst)
	if err != nil {
		return dst, t.failed(name, m, err)
	}
	return out, nil
}

// failed sorts the errors of a call.
func (t *table) failed(name []byte, m *Method, err error) error {
	if bad, ok := err.(badArgument); ok {
		return t.bad(name, m, bad.error)
	}
	if bad, ok := errors.AsType[resultError](err); ok {
		return &Error{Message: t.object + "." + string(name) + m.signature() + ": " + bad.Error(),
			Code: codeResult, wire: wire.CodeFailed}
	}
	return err
}

// bad says that the arguments are wrong, and which ones are right.
func (t *table) bad(name []byte, m *Method, err error) error {
	return &Error{Message: t.object + "." + string(name) + m.signature() + ": " + err.Error(),
		Name: "TypeError", Code: codeArguments, wire: wire.CodeInvalid}
}

// maxListed is how many methods an error lists.
const maxListed = 20

// list is the methods for an error.
func (t *table) list() string {
	if len(t.methods) == 0 {
		return "none"
	}
	var all []string
	for _, name := range sorted(t.methods) {
		if len(all) == maxListed {
			all = append(all, fmt.Sprintf("and %d more", len(t.methods)-maxListed))
			break
		}
		all = append(all, name+t.methods[name].signature())
	}
	return strings.Join(all, ", ")
}

// property appends the value of a property.
func (t *table) property(name string, dst []byte) ([]byte, error) {
	read := t.values[name]
	if read == nil {
		read = t.values[t.alias[name]]
	}
	if read == nil {
		known := "none"
		if len(t.values) > 0 {
			known = strings.Join(sorted(t.values), ", ")
		}
		return dst, &Error{Message: t.object + " has no property " + name + "; it has " + known,
			Name: "TypeError", Code: codeNoMethod, wire: wire.CodeNoMethod}
	}
	out, err := appendValue(dst, read())
	if err != nil {
		return dst, &Error{Message: t.object + "." + name + ": " + resultError{err}.Error(),
			Code: codeResult, wire: wire.CodeFailed}
	}
	return out, nil
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Introspection is what an object says of itself.
type Introspection struct {
	Methods    []MethodInfo   `json:"methods"`
	Properties []PropertyInfo `json:"properties"`
}

// MethodInfo is what an object says of one method.
type MethodInfo struct {
	Name      string `json:"name"`
	Length    int    `json:"length"`              // parameters, as JavaScript counts them
	Type      string `json:"type"`                // "function" or "generator"
	Signature string `json:"signature,omitempty"` // in Go's words, of an object served by Go
}

// PropertyInfo is what an object says of one property.
type PropertyInfo struct {
	Name string `json:"name"`
	Type string `json:"type"` // what JavaScript's typeof says
}

// introspect lists what there is, in the order of names.
func (t *table) introspect() Introspection {
	i := Introspection{Methods: []MethodInfo{}, Properties: []PropertyInfo{}}
	for _, name := range sorted(t.methods) {
		m := t.methods[name]
		length := len(m.params)
		if m.variadic {
			length-- // a rest parameter does not count
		}
		i.Methods = append(i.Methods, MethodInfo{name, length, "function", m.signature()})
	}
	for _, name := range sorted(t.values) {
		i.Properties = append(i.Properties, PropertyInfo{name, t.types[name]})
	}
	return i
}
