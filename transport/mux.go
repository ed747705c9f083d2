package transport

import (
	"strconv"

	"github.com/pithos-ipc/pithos/wire"
)

// Middleware wraps a Handler in another one.
type Middleware func(Handler) Handler

// Mux is a Handler that chooses one by the method of the request. It is filled before it serves and
// not changed afterwards; the zero value is empty.
type Mux struct {
	handlers map[string]Handler
	wrap     []Middleware
	fallback Handler
}

// Use adds middleware. It wraps the handlers that are added after it; the first is the outermost.
func (m *Mux) Use(w ...Middleware) { m.wrap = append(m.wrap, w...) }

// Handle lets h serve method. A method that has a handler already is a fault of the program: panic.
func (m *Mux) Handle(method string, h Handler) {
	if m.handlers == nil {
		m.handlers = make(map[string]Handler)
	}
	if _, twice := m.handlers[method]; twice {
		panic("transport: two handlers for method " + strconv.Quote(method))
	}
	m.handlers[method] = m.wrapped(h)
}

// HandleFunc is Handle for a function.
func (m *Mux) HandleFunc(method string, f func(*Request)) { m.Handle(method, HandlerFunc(f)) }

// Fallback lets h serve every method that has no handler.
func (m *Mux) Fallback(h Handler) { m.fallback = m.wrapped(h) }

func (m *Mux) wrapped(h Handler) Handler {
	for i := len(m.wrap) - 1; i >= 0; i-- {
		h = m.wrap[i](h)
	}
	return h
}

// Serve hands r to the handler of its method, or answers wire.CodeNoMethod.
func (m *Mux) Serve(r *Request) {
	if h, ok := m.handlers[string(r.Method())]; ok {
		h.Serve(r)
		return
	}
	if m.fallback != nil {
		m.fallback.Serve(r)
		return
	}
	if !r.Oneway() {
		_ = r.Fail(wire.CodeNoMethod, strconv.Quote(string(r.Method())))
	}
}
