package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/handler"
	"github.com/creachadair/jrpc2/jhttp"

	"github.com/pithos-ipc/pithos/examples/tryrpc/names"
	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/service"
)

// settings are what the process file may say under config.
type settings struct {
	Listen string `json:"listen"` // host:port; port 0: any that is free
}

// tryRPC answers add and mul by JSON-RPC 2.0 over HTTP, and is in the registry as long as it does.
type tryRPC struct {
	settings settings
	log      *slog.Logger
	fail     func(error)
	names    *names.Names

	rpc    jhttp.Bridge
	server *http.Server
	entry  registry.Registration
	served chan struct{} // closed when the server has ended
	silent silent
}

func newTryRPC(e *service.Env) (service.Service, error) {
	s := &tryRPC{settings: settings{Listen: "127.0.0.1:0"}, log: e.Log, fail: e.Fail,
		served: make(chan struct{})}
	if err := e.Config(&s.settings); err != nil {
		return nil, err
	}
	var err error
	s.names, err = service.Dependency[*names.Names](e, names.Name)
	return s, err
}

// Start listens, serves, and announces where.
func (s *tryRPC) Start(ctx context.Context) error {
	l, err := net.Listen("tcp", s.settings.Listen)
	if err != nil {
		return err
	}
	s.rpc = jhttp.NewBridge(methods(), nil)
	s.silent.conns = make(map[net.Conn]bool)
	s.server = &http.Server{Handler: s.rpc, ReadHeaderTimeout: 5 * time.Second,
		ConnState: s.silent.track}
	go func() {
		defer close(s.served)
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.fail(err)
		}
	}()
	s.entry, err = s.names.Announce(ctx, registry.Entry{Service: "tryrpc",
		Address: "http://" + l.Addr().String()})
	if err != nil {
		return errors.Join(err, s.end(s.server.Close()))
	}
	s.log.Info("listening", "address", s.entry.Entry().Address)
	return nil
}

// Stop withdraws the address, so that nobody new comes, finishes what is under way, and ends.
func (s *tryRPC) Stop(ctx context.Context) error {
	err := s.entry.Withdraw(ctx)
	timer := time.AfterFunc(patience, s.silent.close)
	defer timer.Stop()
	return errors.Join(err, s.end(s.server.Shutdown(ctx)))
}

// end waits for what Start has begun.
func (s *tryRPC) end(err error) error {
	<-s.served
	return errors.Join(err, s.rpc.Close())
}

// methods are what can be called, with two numbers, as a list or by the names a and b.
func methods() jrpc2.Assigner {
	return assigner{
		"add": handle(func(a, b float64) float64 { return a + b }),
		"mul": handle(func(a, b float64) float64 { return a * b }),
	}
}

func handle(f func(a, b float64) float64) jrpc2.Handler {
	info, err := handler.Positional(func(_ context.Context, a, b *float64) (float64, error) {
		if a == nil || b == nil {
			return 0, jrpc2.Errorf(jrpc2.InvalidParams, "want two numbers, a and b")
		}
		result := f(*a, *b)
		if math.IsInf(result, 0) {
			return 0, jrpc2.Errorf(jrpc2.InvalidParams, "result is out of range")
		}
		return result, nil
	}, "a", "b")
	if err != nil {
		panic(err) // of the function above
	}
	return info.SetStrict(true).Wrap()
}

// assigner finds methods, and says which there are.
type assigner map[string]jrpc2.Handler

func (a assigner) Assign(_ context.Context, method string) jrpc2.Handler {
	if h, ok := a[method]; ok {
		return h
	}
	return func(context.Context, *jrpc2.Request) (any, error) {
		return nil, &jrpc2.Error{Code: jrpc2.MethodNotFound,
			Message: fmt.Sprintf("no method %q, there are add and mul", method)}
	}
}
