// Package etcdtest runs genuine etcd servers for tests: alone or as a cluster, killed and started
// again at will.
//
//	s := etcdtest.Start(t)
//	r, err := etcd.Open(etcd.Options{Endpoints: []string{s.Endpoint()}})
//
// The server is built from its Go module, as the go.mod in the folder server says, by the go
// command on PATH, and kept in the user's cache. Data lies in folders of the test's own and is not
// synced to disk, which a killed process does not need.
//
// It finds server by the root of this module, above the test's working directory, and is of use
// within it only.
package etcdtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	command   = "go.etcd.io/etcd/server/v3" // what is built
	folder    = "registry/etcd/etcdtest/server"
	buildTime = 8 * time.Minute // on a cold cache of a small machine
	startTime = time.Minute
	tries     = 3 // to find ports that stay free
)

// Build returns the path of an etcd server. Where it cannot be built the test is skipped, or fails
// with CI=true.
func Build(t testing.TB) string {
	t.Helper()
	dir := source(t)
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		sum.Write(text)
	}
	fmt.Fprint(sum, runtime.Version(), runtime.GOARCH)
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "pithos-test")
	require.NoError(t, os.MkdirAll(cache, 0o700))
	path := filepath.Join(cache, "etcd-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	fresh := filepath.Join(t.TempDir(), "etcd") // another test may build, too
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", fresh, command)
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	build.WaitDelay = time.Second
	if out, err := build.CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("%s: %v\n%s", build, err, out))
	}
	text, err := os.ReadFile(fresh)
	require.NoError(t, err)
	temporary, err := os.CreateTemp(cache, "new-")
	require.NoError(t, err)
	_, err = temporary.Write(text)
	require.NoError(t, err)
	require.NoError(t, temporary.Chmod(0o700))
	require.NoError(t, temporary.Close())
	require.NoError(t, os.Rename(temporary.Name(), path))
	return path
}

// source returns the folder of the server's go.mod.
func source(t testing.TB) string {
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; ; dir = filepath.Dir(dir) {
		found := filepath.Join(dir, filepath.FromSlash(folder))
		if _, err := os.Stat(filepath.Join(found, "go.mod")); err == nil {
			return found
		}
		require.NotEqual(t, dir, filepath.Dir(dir), "no %s above the working directory", folder)
	}
}

// missing ends the test because something is not on this machine: a failure where CI is set.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, and CI=true wants it", what)
	}
	t.Skip(what)
}

// Server is one member of a cluster. Its methods are for the goroutine of the test.
type Server struct {
	t       testing.TB
	path    string
	name    string
	ports   ports
	args    []string
	process *exec.Cmd     // nil while it does not run
	ended   chan struct{} // closed when process has ended
	log     *os.File
}

// ports are those of 127.0.0.1 that a server listens at.
type ports struct{ client, peer, health string }

// Start runs a cluster of one until the end of the test; args are further flags of etcd.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return Cluster(t, 1, args...)[0]
}

// Cluster runs n members until the end of the test; args are further flags of each.
func Cluster(t testing.TB, n int, args ...string) []*Server {
	t.Helper()
	path := Build(t)
	for try := 1; ; try++ {
		servers, err := start(t, path, n, args)
		if err == nil {
			return servers
		}
		require.Less(t, try, tries, "%v", err)
	}
}

func start(t testing.TB, path string, n int, args []string) ([]*Server, error) {
	servers := make([]*Server, n)
	var cluster []string
	for i := range servers {
		s := &Server{t: t, path: path, name: fmt.Sprintf("m%d", i)}
		s.ports = ports{free(t), free(t), free(t)}
		cluster = append(cluster, s.name+"=http://"+s.ports.peer)
		servers[i] = s
	}
	for _, s := range servers {
		scheme := "http://"
		if strings.Contains(strings.Join(args, " "), "--cert-file") {
			scheme = "https://"
		}
		s.args = append([]string{
			"--name", s.name,
			"--data-dir", filepath.Join(t.TempDir(), s.name),
			"--listen-client-urls", scheme + s.ports.client,
			"--advertise-client-urls", scheme + s.ports.client,
			"--listen-peer-urls", "http://" + s.ports.peer,
			"--initial-advertise-peer-urls", "http://" + s.ports.peer,
			"--listen-metrics-urls", "http://" + s.ports.health,
			"--initial-cluster", strings.Join(cluster, ","),
			"--initial-cluster-state", "new",
			"--unsafe-no-fsync",
		}, args...)
		t.Cleanup(s.Kill)
		s.launch()
	}
	for _, s := range servers {
		if err := s.healthy(); err != nil {
			for _, s := range servers {
				s.Kill()
			}
			return nil, err
		}
	}
	return servers, nil
}

// free returns an address that nobody listens at. Its port is below those that systems give to
// outgoing connections, one of which could have it while a server is down.
func free(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 16_000+rand.IntN(16_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	require.Fail(t, "no free port")
	return ""
}

// Endpoint is where clients connect: host:port.
func (s *Server) Endpoint() string { return s.ports.client }

// Path is the program that runs.
func (s *Server) Path() string { return s.path }

// Kill ends the server as kill -9 does, and waits until it is gone.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill() // it may have gone by itself
	<-s.ended
	_ = s.log.Close()
	s.process = nil
}

// Restart starts a server that was killed, with its data, and waits until it is healthy.
func (s *Server) Restart() {
	s.t.Helper()
	require.Nil(s.t, s.process, "etcd runs")
	s.launch()
	require.NoError(s.t, s.healthy())
}

// Forget removes the data of a server that was killed, so that it starts as a new one.
func (s *Server) Forget() {
	s.t.Helper()
	require.Nil(s.t, s.process, "etcd runs")
	require.NoError(s.t, os.RemoveAll(s.args[3]))
}

// Process is the running server, for signals.
func (s *Server) Process() *os.Process { return s.process.Process }

func (s *Server) launch() {
	s.t.Helper()
	var err error
	s.log, err = os.CreateTemp(s.t.TempDir(), "etcd-*.log")
	require.NoError(s.t, err)
	s.process = exec.Command(s.path, s.args...)
	s.process.Stdout, s.process.Stderr = s.log, s.log
	require.NoError(s.t, s.process.Start())
	ended := make(chan struct{})
	s.ended = ended
	go func(process *exec.Cmd) {
		defer close(ended)
		_ = process.Wait()
	}(s.process)
}

// healthy waits until the server has a leader and answers.
func (s *Server) healthy() error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.After(startTime)
	for over := false; ; {
		reply, err := client.Get("http://" + s.ports.health + "/health")
		if err == nil {
			reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				return nil
			}
		}
		if over {
			text, _ := os.ReadFile(s.log.Name())
			return fmt.Errorf("etcd %s is not healthy: %v\n%s", s.name, err, text)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			over = true
		case <-s.ended:
			over = true
		}
	}
}
