package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// metricsServer serves what a hub says about itself to Prometheus, over HTTP: /metrics, /healthz,
// and on request /debug/pprof/.
type metricsServer struct {
	http     http.Server
	listener net.Listener
	served   chan error
	leaving  atomic.Bool // the hub takes nobody any more
}

// metricsAddress tells a path from a host and a port. A port is for this machine only: numbers may
// tell who does what here, and profiles more.
func metricsAddress(address string) (network, where string, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok || strings.Contains(address, "/") {
		if path == "" {
			return "", "", fmt.Errorf("--metrics %q: no path", address)
		}
		return "unix", path, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", "", fmt.Errorf("--metrics %q: want the path of a socket, or a loopback address "+
			"and a port as in 127.0.0.1:9464", address)
	}
	ip, err := netip.ParseAddr(host)
	if host == "localhost" {
		ip, err = netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	if err != nil || !ip.IsLoopback() {
		return "", "", fmt.Errorf("--metrics %q: %q is no loopback address; want 127.0.0.1, ::1 "+
			"or localhost, or the path of a socket", address, host)
	}
	return "tcp", net.JoinHostPort(ip.String(), port), nil
}

// serveMetrics serves the numbers of h at address until close.
func serveMetrics(h *hub.Hub, address string, profiles bool, log *slog.Logger) (*metricsServer,
	error) {
	network, where, err := metricsAddress(address)
	if err != nil {
		return nil, err
	}
	l, err := listenMetrics(network, where)
	if err != nil {
		return nil, fmt.Errorf("--metrics %s: %w", address, err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(h), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, // names that look the same cost only themselves
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn)}))
	m := &metricsServer{listener: l, served: make(chan error, 1)}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if m.leaving.Load() {
			http.Error(w, "closing", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "ok, %d peers\n", h.Stats().Peers)
	})
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	m.http.Handler = onlyLocal(network, mux)
	m.http.ReadHeaderTimeout = 5 * time.Second
	m.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	go func() { m.served <- m.http.Serve(l) }()
	return m, nil
}

// listenMetrics listens. A path gets the same care as the hub's.
func listenMetrics(network, where string) (net.Listener, error) {
	if network == "unix" {
		return transport.ListenNet(where)
	}
	return net.Listen(network, where)
}

// onlyLocal refuses requests over TCP that name another host than a loopback one: those of a page
// in a browser whose name was made to lead here.
func onlyLocal(network string, next http.Handler) http.Handler {
	if network == "unix" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if host != "localhost" && (err != nil || !ip.IsLoopback()) {
			http.Error(w, "not a loopback host", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// address is where the numbers are, as a client asks for them.
func (m *metricsServer) address() string {
	if a := m.listener.Addr(); a.Network() == "unix" {
		return a.String()
	}
	return "http://" + m.listener.Addr().String() + "/metrics"
}

// leave has the health say that the hub is closing.
func (m *metricsServer) leave() {
	if m != nil {
		m.leaving.Store(true)
	}
}

// metricsGrace is how long requests that are being answered are waited for.
const metricsGrace = time.Second

// close ends it; those that are being answered have a moment to get their answer.
func (m *metricsServer) close() {
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), metricsGrace)
	defer cancel()
	if m.http.Shutdown(ctx) != nil {
		m.http.Close()
	}
	<-m.served
	m.listener.Close()
}
