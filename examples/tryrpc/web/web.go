package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/creachadair/jrpc2"

	"github.com/pithos-ipc/pithos/examples/tryrpc/names"
	"github.com/pithos-ipc/pithos/service"
)

// settings are what the process file may say under config.
type settings struct {
	Listen string `json:"listen"` // host:port
}

// web serves HTTP and asks the nodes.
type web struct {
	settings settings
	log      *slog.Logger
	fail     func(error)
	names    *names.Names

	nodes  *nodes
	server *http.Server
	served chan struct{} // closed when the server has ended
}

func newWeb(e *service.Env) (service.Service, error) {
	w := &web{settings: settings{Listen: "127.0.0.1:7001"}, log: e.Log, fail: e.Fail,
		served: make(chan struct{})}
	if err := e.Config(&w.settings); err != nil {
		return nil, err
	}
	var err error
	w.names, err = service.Dependency[*names.Names](e, names.Name)
	return w, err
}

// Start listens, follows the nodes, and serves.
func (w *web) Start(ctx context.Context) error {
	l, err := net.Listen("tcp", w.settings.Listen)
	if err != nil {
		return err
	}
	if w.nodes, err = follow(ctx, w.names, "tryrpc"); err != nil {
		return errors.Join(err, l.Close())
	}
	w.server = &http.Server{Handler: w, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		defer close(w.served)
		if err := w.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			w.fail(err)
		}
	}()
	w.log.Info("listening", "try", fmt.Sprintf("curl 'http://%s/?method=add&a=1&b=2'", l.Addr()))
	return nil
}

// Stop finishes the requests under way.
func (w *web) Stop(ctx context.Context) error {
	err := w.server.Shutdown(ctx)
	<-w.served
	w.nodes.close()
	return err
}

// ServeHTTP answers one request.
func (w *web) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		out.Header().Set("Allow", "GET, HEAD")
		http.Error(out, "method "+r.Method+", want GET", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path != "/" {
		http.NotFound(out, r)
		return
	}
	method, args, err := parse(r)
	if err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	result, node, err := w.nodes.call(ctx, method, args)
	if node != "" {
		out.Header().Set("X-Node", node)
	}
	if err != nil {
		w.log.Warn("call", "method", method, "node", node, "error", err)
		http.Error(out, err.Error(), status(err))
		return
	}
	out.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(out, "%s\n", result)
}

// parse reads ?method=add&a=1&b=2.
func parse(r *http.Request) (method string, args map[string]json.Number, err error) {
	const usage = "want /?method=add&a=1&b=2"
	query := r.URL.Query()
	if method = query.Get("method"); method == "" {
		return "", nil, errors.New("no method, " + usage)
	}
	args = make(map[string]json.Number, 2)
	for _, name := range []string{"a", "b"} {
		text := query.Get(name)
		if text == "" {
			return "", nil, fmt.Errorf("no %s, %s", name, usage)
		}
		number, err := strconv.ParseFloat(text, 64)
		if err != nil || number-number != 0 { // infinite, or not a number
			return "", nil, fmt.Errorf("%s is %q, want a number", name, text)
		}
		args[name] = json.Number(strconv.FormatFloat(number, 'g', -1, 64))
	}
	return method, args, nil
}

// status is the code of HTTP for what a node said, or did not.
func status(err error) int {
	said, ok := errors.AsType[*jrpc2.Error](err)
	switch {
	case errors.Is(err, errNobody):
		return http.StatusServiceUnavailable
	case !ok:
		return http.StatusBadGateway
	case said.Code == jrpc2.MethodNotFound:
		return http.StatusNotFound
	case said.Code == jrpc2.InvalidParams:
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}
