package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/valyala/bytebufferpool"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/wire"
)

// Call calls a method at one of those that route finds, and reads its result, without reflection
// for plain types (numbers, strings, booleans, raw JSON). An R of struct{} wants no result. Errors:
// *Error of the method or the hub, those of ctx, transport.ErrConnLost when the hub went away.
//
//	root, err := object.Call[float64](ctx, client.Object("math"), "sqrt", 2.0)
func Call[R any](ctx context.Context, route *hub.Route, method string, args ...any) (R, error) {
	var r R
	reply, buf, err := invoke(ctx, route, method, args)
	if err != nil {
		return r, err
	}
	defer bytebufferpool.Put(buf)
	return result[R](method, reply)
}

// Property reads a property of one of those that route finds.
func Property[R any](ctx context.Context, route *hub.Route, property string) (R, error) {
	var r R
	reply, err := route.Do(ctx, hub.Message{Method: property, Action: hub.ActionGetProperty}, nil)
	if err != nil {
		return r, failure(err)
	}
	return result[R](property, reply)
}

// Introspect asks one of those that route finds what can be called there.
func Introspect(ctx context.Context, route *hub.Route) (Introspection, error) {
	var i Introspection
	reply, err := route.Do(ctx, hub.Message{Action: hub.ActionIntrospect}, nil)
	if err != nil {
		return i, failure(err)
	}
	if err := json.Unmarshal(reply, &i); err != nil {
		return i, fmt.Errorf("object: introspection: %w", err)
	}
	return i, nil
}

// Invoke calls a method with arguments that are JSON already, and returns its result as JSON, empty
// when it has none: for callers that learn of methods at run time.
func Invoke(ctx context.Context, route *hub.Route, method string, args ...json.RawMessage) (
	json.RawMessage, error) {
	b := []byte{'['}
	for i, a := range args {
		if !json.Valid(a) {
			return nil, fmt.Errorf("object: %s: argument %d is not JSON: %w", method, i+1,
				notA(a, "JSON value", ""))
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, a...)
	}
	reply, err := route.Call(ctx, method, append(b, ']'), nil)
	return reply, failure(err)
}

// InvokeRaw calls a method with a payload that passes as it is, and returns that of the reply, in
// buf when it fits there; see Raw.
func InvokeRaw(ctx context.Context, route *hub.Route, method string, payload, buf []byte) (
	[]byte, error) {
	reply, err := route.Call(ctx, method, payload, buf)
	return reply, failure(err)
}

// minReply is how many bytes of a reply there is always room for, in a buffer that is reused.
const minReply = 512

// invoke sends a call. The reply may lie in the buffer, which is the caller's to give back.
func invoke(ctx context.Context, route *hub.Route, method string, args []any) (
	[]byte, *bytebufferpool.ByteBuffer, error) {
	b := bytebufferpool.Get()
	var err error
	if b.B, err = appendArgs(b.B[:0], args); err != nil {
		bytebufferpool.Put(b)
		return nil, nil, fmt.Errorf("object: %s: %w", method, err)
	}
	n := len(b.B)
	b.B = slices.Grow(b.B, minReply)
	reply, err := route.Call(ctx, method, b.B[:n], b.B[n:cap(b.B)])
	if err != nil {
		bytebufferpool.Put(b)
		return nil, nil, failure(err)
	}
	return reply, b, nil
}

// result reads the payload of a reply.
func result[R any](method string, reply []byte) (R, error) {
	var r R
	switch p := any(&r).(type) {
	case *struct{}:
		return r, nil
	case *Raw:
		*p = append(*p, reply...)
		return r, nil
	}
	if len(reply) == 0 {
		return r, nil // undefined, which is nothing in Go
	}
	if !json.Valid(reply) {
		return r, fmt.Errorf("object: result of %s is not JSON", method)
	}
	raw := js.Value(reply)
	plain, err := decodePlain(raw, &r)
	if !plain {
		if err = json.Unmarshal(raw, &r); err != nil {
			err = notA(raw, nameFor[R](), err.Error())
		}
	}
	if err != nil {
		return r, fmt.Errorf("object: result of %s: %w", method, err)
	}
	return r, nil
}

// failure makes an *Error of the error that a call has ended with; others stay as they are.
func failure(err error) error {
	r, ok := errors.AsType[*hub.RemoteError](err)
	if !ok {
		return err
	}
	text := r.Message
	if r.Raw != nil {
		text = string(r.Raw)
	}
	e := remote(r.Code, text)
	if e.Message == "" && e.Raw == nil {
		e.Message = r.Code.String()
	}
	e.cause = r
	return e
}

// nobody says that an object is not served anywhere.
func nobody(s hub.Selector) error {
	text := "nobody serves object " + s.ObjectName
	if s.ObjectTag != "" {
		text += " with tag " + s.ObjectTag
	}
	return &Error{Name: "Error", Message: text, wire: wire.CodeNoRoute}
}

func isNobody(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.wire == wire.CodeNoRoute
}
