package object

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/wire"
)

// What errors.Is finds in the error of a call, whether the object is served by Go or by Node.
var (
	// ErrNoMethod says that the object has no such method or property. Its text lists those that
	// there are.
	ErrNoMethod = errors.New("object: no such method")
	// ErrArguments says that the arguments are not what the method takes. Its text says what is.
	ErrArguments = errors.New("object: wrong arguments")
	// ErrResult says that a method has returned what has no JSON.
	ErrResult = errors.New("object: result cannot be encoded")
	// ErrPanic says that a method has panicked.
	ErrPanic = errors.New("object: panic")
)

// Error is an error of a method, as it crosses: what Go and JavaScript both know of one. A method
// may return one to say all of it; of any other error its text becomes the message, and its methods
// Name() string and Code() string, where it has them, say the rest.
type Error struct {
	Name    string // the class: "Error" unless it was named
	Message string
	Code    string // "" when it has none

	// Raw is the error as JSON, with everything else that it carries: its stack and other fields.
	// In an error that a method returns it is sent in place of the fields above, when it is an
	// object. So an error that came from elsewhere passes as it is.
	Raw json.RawMessage

	wire  wire.Code // that it came with
	cause error     // as the hub's client gave it; nil in an error that is on its way out
}

// Unwrap is the error of the hub's client, through which errors.Is finds those of the transport.
func (e *Error) Unwrap() error { return e.cause }

// Error is the message, behind the name when that says more.
func (e *Error) Error() string {
	if e.Name == "" || e.Name == "Error" {
		return e.Message
	}
	return e.Name + ": " + e.Message
}

// The codes of the errors that this package makes.
const (
	codeNoMethod  = "ERR_NO_METHOD"
	codeArguments = "ERR_ARGUMENTS"
	codeResult    = "ERR_RESULT"
	codePanic     = "ERR_PANIC"
)

// timeoutName is what Pandora calls the error of a call whose time is over.
const timeoutName = "MessengerRequestTimeoutError"

// Is finds the sentinels above, wire's errors by the code that the call ended with, and
// context.DeadlineExceeded in a time that was over.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNoMethod:
		return e.Code == codeNoMethod
	case ErrArguments:
		return e.Code == codeArguments
	case ErrResult:
		return e.Code == codeResult
	case ErrPanic:
		return e.Code == codePanic
	case context.DeadlineExceeded:
		return e.wire == wire.CodeDeadline || e.Name == timeoutName
	case context.Canceled:
		return e.wire == wire.CodeCanceled
	}
	return false
}

// WireCode is the code that the call ended with: wire.CodeNoRoute when nobody serves the object,
// wire.CodePeerLost when its process went away in the middle of the call.
func (e *Error) WireCode() wire.Code { return e.wire }

// named and coded are what an error may tell of itself.
type (
	named interface{ Name() string }
	coded interface{ Code() string }
)

// describe turns the error of a method into what crosses.
func describe(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := &Error{Name: "Error", Message: err.Error(), wire: wire.CodeFailed}
	switch {
	case errors.Is(err, context.Canceled):
		e.wire = wire.CodeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		e.wire, e.Name = wire.CodeDeadline, timeoutName
	}
	if n, ok := errors.AsType[interface {
		error
		named
	}](err); ok {
		e.Name = n.Name()
	}
	if c, ok := errors.AsType[interface {
		error
		coded
	}](err); ok {
		e.Code = c.Code()
	}
	return e
}

// text is e as JSON, with the keys in the order in which JavaScript lists an error's own ones.
func (e *Error) text() string {
	if js.KindOf(e.Raw) == js.Object && json.Valid(e.Raw) {
		return string(e.Raw)
	}
	name := e.Name
	if name == "" {
		name = "Error"
	}
	b := appendString([]byte(`{"stack":`), name+": "+e.Message)
	b = appendString(append(b, `,"message":`...), e.Message)
	b = appendString(append(b, `,"name":`...), name)
	if e.Code != "" {
		b = appendString(append(b, `,"code":`...), e.Code)
	}
	return string(append(b, '}'))
}

// code is what a call ends with because of e.
func (e *Error) code() wire.Code {
	if e.wire == wire.CodeOK {
		return wire.CodeFailed
	}
	return e.wire
}

// remote reads the error that a call ended with: JSON from a method, or the words of the hub.
func remote(code wire.Code, text string) *Error {
	e := &Error{Name: "Error", Message: text, wire: code}
	raw := []byte(text)
	if !json.Valid(raw) {
		if code == wire.CodeDeadline {
			e.Name = timeoutName
		}
		return e
	}
	raw = js.Value(raw)
	e.Raw = raw
	switch js.KindOf(raw) {
	case js.String: // not every provider throws an Error
		e.Message = string(js.AppendString(nil, raw))
	case js.Object:
		for _, f := range []struct {
			key  string
			into *string
		}{{"name", &e.Name}, {"message", &e.Message}, {"code", &e.Code}} {
			v := js.Field(raw, f.key)
			if kind := js.KindOf(v); kind == js.String || kind == js.Number {
				*f.into = string(js.AppendToString(nil, v))
			}
		}
	}
	return e
}
