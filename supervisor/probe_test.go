package supervisor_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/supervisor"
)

func TestTCPProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	probe := supervisor.TCPProbe(l.Addr().String())
	require.NoError(t, probe(context.Background()))
	require.NoError(t, l.Close())
	require.Error(t, probe(context.Background()))
}

func TestHTTPProbe(t *testing.T) {
	var status atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
	}))
	defer s.Close()
	probe := supervisor.HTTPProbe(s.URL)
	for code, ready := range map[int64]bool{200: true, 302: true, 404: false, 500: false} {
		status.Store(code)
		require.Equal(t, ready, probe(context.Background()) == nil, "%d", code)
	}
}

// A process is ready when its probe says so, and what the probe said is the reason if it never
// does.
func TestExecProbe(t *testing.T) {
	dir := t.TempDir()
	web := sh("web", "echo $$ >pid; exec sleep 1000")
	web.Dir = dir
	web.Ready.Probe = supervisor.ExecProbe("sh", "-c",
		`test "$PITHOS_PROCESS" = web || exit 9
		 test -e open || { echo it is; echo not open >&2; exit 3; }`)
	web.Ready.Interval = 5 * time.Millisecond
	web.Ready.Window = 2 * time.Second
	web.Restart.Mode = supervisor.RestartNever
	r := start(t, supervisor.Options{}, web)
	require.ErrorContains(t, r.Start(r.ctx()),
		"web#0: failed: not ready within 2s: sh: exit status 3: not open")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "open"), nil, 0o600))
	web.Ready.Window = patience
	require.NoError(t, r.Apply(r.ctx(), web))
	require.NoError(t, r.Start(r.ctx()))
	require.Equal(t, supervisor.Ready, r.status("web", 0).State)

	require.Error(t, supervisor.ExecProbe("true")(context.Background()), "in no supervisor")
}

func TestInstanceOf(t *testing.T) {
	got := make(chan supervisor.Instance, 2)
	web := sh("web", "exec sleep 1000")
	web.Scale = 2
	web.Ready.Probe = func(ctx context.Context) error {
		i, ok := supervisor.InstanceOf(ctx)
		require.True(t, ok)
		got <- i
		return nil
	}
	r := start(t, supervisor.Options{}, web)
	require.NoError(t, r.Start(r.ctx()))
	seen := map[int]int{}
	for range 2 {
		i := <-got
		require.Equal(t, "web", i.Process)
		seen[i.Index] = i.PID
	}
	require.Equal(t, map[int]int{0: r.status("web", 0).PID, 1: r.status("web", 1).PID}, seen)
}
