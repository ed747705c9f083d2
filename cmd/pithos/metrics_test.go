package main

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
)

// fetch asks a hub's metrics for a page, at a socket's path or at an address.
func fetch(t *testing.T, at, page, host string) (status int, body string) {
	t.Helper()
	network := "tcp"
	if strings.Contains(at, "/") {
		network = "unix"
	}
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}}
	defer tr.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+host+page, nil)
	require.NoError(t, err)
	r, err := tr.RoundTrip(request)
	require.NoError(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(text)
}

func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	path, numbers := filepath.Join(dir, "hub.sock"), filepath.Join(dir, "metrics.sock")
	h := startHub(t, nil, []string{path}, "--socket", path, "--metrics", numbers, "--pprof")
	line, err := h.stdout.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "metrics at "+numbers+"\n", line)
	st, err := os.Stat(numbers)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), st.Mode().Perm())
	t.Setenv(socketVariable, path)
	serveMath(t, path)
	require.Zero(t, pithos("", "call", "math.abs", "--", "-1").code)
	require.NotZero(t, pithos("", "call", "math.abs").code)

	var code int
	var body string
	await(t, func() bool { // those who have called leave on their own time
		code, body = fetch(t, numbers, "/metrics", "hub")
		require.Equal(t, 200, code, body)
		return strings.Contains(body, "\npithos_hub_peers 1\n")
	})
	for _, want := range []string{
		"pithos_hub_objects 1", "pithos_hub_pending_calls 0",
		`pithos_hub_calls_total{method="abs",object="math"} 2`,
		`pithos_hub_calls_failed_total{method="abs",object="math"} 1`,
		`pithos_hub_calls_in_flight{method="abs",object="math"} 0`,
		`pithos_hub_call_duration_seconds_bucket{method="abs",object="math",le="10"} 2`,
		`pithos_hub_call_duration_seconds_count{method="abs",object="math"} 2`,
		`pithos_hub_events_total{event="timed_out"} 0`, "go_goroutines ",
	} {
		require.True(t, strings.Contains(body, "\n"+want), want)
	}
	code, body = fetch(t, numbers, "/healthz", "hub")
	require.Equal(t, 200, code)
	require.Equal(t, "ok, 1 peers\n", body)
	code, _ = fetch(t, numbers, "/debug/pprof/goroutine?debug=1", "hub")
	require.Equal(t, 200, code)
	code, _ = fetch(t, numbers, "/nosuch", "hub")
	require.Equal(t, 404, code)
	require.Zero(t, h.stop(syscall.SIGTERM))
	requireGone(t, numbers)
}

// TestMetricsNames calls methods whose names begin alike, or cannot be printed.
func TestMetricsNames(t *testing.T) {
	dir := t.TempDir()
	path, numbers := filepath.Join(dir, "hub.sock"), filepath.Join(dir, "metrics.sock")
	h := startHub(t, nil, []string{path}, "--socket", path, "--metrics", numbers)
	t.Setenv(socketVariable, path)
	c := serveMath(t, path)
	long := strings.Repeat("long", 100)
	for _, method := range []string{long + "1", long + "2", "a\x01", `a\x01`, "a\xff", "a\xfe"} {
		_, err := c.Object("math").Do(t.Context(), hub.Message{Method: method}, nil)
		require.Error(t, err)
	}
	code, body := fetch(t, numbers, "/metrics", "hub")
	require.Equal(t, 200, code, body)
	for _, method := range []string{long + "1", long + "2", "a\x01", `a\\x01`, `\"a\\xff\"`,
		`\"a\\xfe\"`} {
		require.Contains(t, body, `pithos_hub_calls_total{method="`+method+`",object="math"} 1`)
	}
	require.Zero(t, h.stop(syscall.SIGTERM))
}

// A port is for this machine only, whatever name a page in a browser gives to it.
func TestMetricsPort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	h := startHub(t, nil, []string{path}, "--socket", path, "--metrics", "localhost:0")
	line, err := h.stdout.ReadString('\n')
	require.NoError(t, err)
	at := strings.TrimSuffix(strings.TrimPrefix(line, "metrics at http://"), "/metrics\n")
	for host, want := range map[string]int{at: 200, "localhost": 200, "[::1]:80": 200,
		"evil.example": 403, "10.0.0.1": 403} {
		code, _ := fetch(t, at, "/healthz", host)
		require.Equal(t, want, code, host)
	}
	code, _ := fetch(t, at, "/debug/pprof/", at)
	require.Equal(t, 404, code, "nobody has asked for profiles")
	require.Zero(t, h.stop(syscall.SIGTERM))
}

func TestMetricsFlags(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	for _, c := range []struct{ args, want string }{
		{"--pprof", "--pprof: where? want --metrics with an address"},
		{"--metrics 9464", `--metrics "9464": want the path of a socket, or a loopback address ` +
			"and a port as in 127.0.0.1:9464"},
		{"--metrics 0.0.0.0:9464", `--metrics "0.0.0.0:9464": "0.0.0.0" is no loopback address; ` +
			"want 127.0.0.1, ::1 or localhost, or the path of a socket"},
		{"--metrics :9464", `--metrics ":9464": "" is no loopback address; want 127.0.0.1, ::1 ` +
			"or localhost, or the path of a socket"},
		{"--metrics unix:", `--metrics "unix:": no path`},
	} {
		args := append([]string{"hub", "--socket", path}, strings.Fields(c.args)...)
		pithos("", args...).requireFails(t, "", "pithos: "+c.want+"\n")
	}
	r := pithos("", "hub", "--socket", path, "--metrics", path+"/no/folder")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "pithos: --metrics "+path+"/no/folder: transport: listen ")
	requireGone(t, path)
}
