package tryrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/internal/npmtest"
	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/etcd"
	"github.com/pithos-ipc/pithos/registry/etcd/etcdtest"
	"github.com/pithos-ipc/pithos/registry/hubreg"
	"github.com/pithos-ipc/pithos/service"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// patience bounds what takes no time, on a machine that does much else.
const patience = time.Minute

func TestMain(m *testing.M) { transporttest.VerifyNoLeaks(m) }

// build returns the path of a program of this module.
func build(t *testing.T, from string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(from))
	out, err := exec.Command("go", "build", "-o", path, from).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// process is a running program.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}

	mu  sync.Mutex
	out bytes.Buffer // guarded by mu
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start runs a program with an assignment until the end of the test.
func start(t *testing.T, program string, a service.Assignment) *process {
	t.Helper()
	text, err := json.Marshal(a)
	require.NoError(t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), service.Variable+"="+string(text))
	return run(t, cmd)
}

// run runs a command until the end of the test.
func run(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // its state says how
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// terminate ends the process by SIGTERM, and wants it to end well.
func (p *process) terminate() { p.t.Helper(); p.end(syscall.SIGTERM) }

func (p *process) end(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.Fail(p.t, "still there", "%s", p.output())
	}
	require.Zero(p.t, p.cmd.ProcessState.ExitCode(), "%s", p.output())
}

var addresses = regexp.MustCompile(`http://127\.0\.0\.1:\d+/?`)

// listening waits until the process has logged where, and returns it.
func (p *process) listening() string {
	p.t.Helper()
	var address string
	require.Eventually(p.t, func() bool {
		for line := range strings.Lines(p.output()) {
			if strings.Contains(line, "listening") && strings.HasSuffix(line, "\n") {
				address = strings.TrimSuffix(addresses.FindString(line), "/")
			}
		}
		return address != ""
	}, patience, 10*time.Millisecond)
	return address
}

// application is the processes of the example.
type application struct {
	t         *testing.T
	registry  string
	hub       string
	provider  string
	names     registry.Registry
	providers map[string]*process // by address
	web       string
}

// get asks the web process.
func (a *application) get(query string) (status int, body, node string) {
	a.t.Helper()
	reply, err := http.Get(a.web + query)
	require.NoError(a.t, err)
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	require.NoError(a.t, err)
	return reply.StatusCode, strings.TrimSpace(string(text)), reply.Header.Get("X-Node")
}

func (a *application) provide() *process {
	p := start(a.t, a.provider,
		service.Assignment{All: true, Registry: a.registry, Hub: a.hub})
	a.providers[p.listening()] = p
	return p
}

// await waits until so many nodes are announced.
func (a *application) await(n int) {
	a.t.Helper()
	require.Eventually(a.t, func() bool {
		ctx, cancel := context.WithTimeout(a.t.Context(), 5*time.Second)
		defer cancel()
		entries, err := a.names.Lookup(ctx, "tryrpc")
		return err == nil && len(entries) == n
	}, patience, 10*time.Millisecond)
}

// inTurns waits until the web process asks two nodes that are announced.
func (a *application) inTurns() {
	a.t.Helper()
	entries, err := a.names.Lookup(a.t.Context(), "tryrpc")
	require.NoError(a.t, err)
	waiting := make(map[string]bool)
	for _, e := range entries {
		waiting[e.Address] = true
	}
	require.Len(a.t, waiting, 2)
	begin := time.Now()
	require.Eventually(a.t, func() bool {
		_, _, node := a.get("/?method=add&a=1&b=2")
		delete(waiting, node)
		return len(waiting) == 0
	}, patience, time.Millisecond)
	a.t.Logf("both are asked after %v", time.Since(begin).Round(time.Millisecond))
}

// load asks without a pause until stop is called, which wants every answer to be right.
func (a *application) load() (stop func()) {
	var asked atomic.Int64
	over := make(chan struct{})
	failed := make(chan string, 100)
	var callers sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	for range 8 {
		callers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				reply, err := client.Get(fmt.Sprintf("%s/?method=add&a=%d&b=1", a.web, i))
				if err != nil {
					failed <- err.Error()
					return
				}
				text, err := io.ReadAll(reply.Body)
				reply.Body.Close()
				if err != nil || string(text) != fmt.Sprintf("%d\n", i+1) {
					failed <- fmt.Sprintf("%s: %q, %v", reply.Status, text, err)
					return
				}
				asked.Add(1)
			}
		})
	}
	begin := time.Now()
	return func() {
		a.t.Helper()
		close(over)
		callers.Wait()
		client.CloseIdleConnections()
		close(failed)
		for f := range failed {
			a.t.Error(f)
		}
		require.Positive(a.t, asked.Load())
		a.t.Logf("%d requests in %v", asked.Load(), time.Since(begin).Round(time.Millisecond))
	}
}

func newApplication(t *testing.T, address, hub string, names registry.Registry) *application {
	a := &application{t: t, registry: address, hub: hub, names: names,
		provider: build(t, "./provider"), providers: make(map[string]*process)}
	web := start(t, build(t, "./web"), service.Assignment{All: true, Registry: address, Hub: hub,
		Services: map[string]service.Assigned{
			"web": {Config: json.RawMessage(`{"listen":"127.0.0.1:0"}`)}}})
	a.web = web.listening()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return a
}

// TestWithEtcd plays the life of the application against a genuine etcd.
func TestWithEtcd(t *testing.T) {
	s := etcdtest.Start(t)
	names, err := etcd.Open(etcd.Options{Endpoints: []string{s.Endpoint()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, names.Close(context.Background())) })
	play(t, "etcd://"+s.Endpoint()+"?ttl=2s", "", names)
}

// TestWithHub plays it against a hub, which is restarted under load in the middle.
func TestWithHub(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	h := listen(t, path)
	client, err := hub.Join(t.Context(), path, hub.JoinOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close(context.Background())) })
	names := hubreg.New(client)
	t.Cleanup(func() { require.NoError(t, names.Close(context.Background())) })
	a := play(t, "hub:", path, names)

	a.provide()
	a.await(1)
	require.Eventually(t, func() bool {
		status, _, _ := a.get("/?method=add&a=1&b=2")
		return status == http.StatusOK
	}, patience, 10*time.Millisecond)
	stop := a.load()
	_ = h.Close(t.Context()) // what it has dropped is not what is tested
	listen(t, path)
	a.await(1)
	time.Sleep(hubreg.Grace + 500*time.Millisecond) // the web process would have lost it by now
	stop()
}

func listen(t *testing.T, path string) *hub.Hub {
	t.Helper()
	h := hub.New(hub.Options{})
	require.NoError(t, h.Listen(path))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = h.Close(ctx)
	})
	return h
}

func play(t *testing.T, address, hub string, names registry.Registry) *application {
	a := newApplication(t, address, hub, names)
	status, body, _ := a.get("/?method=add&a=1&b=2")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "tryrpc: no node is there", body)

	first, second := a.provide(), a.provide()
	a.inTurns()
	answers(t, a)

	stop := a.load()
	first.kill()
	a.await(1)
	third := a.provide()
	a.await(2)
	second.terminate()
	entries, err := names.Lookup(t.Context(), "tryrpc")
	require.NoError(t, err)
	require.Len(t, entries, 1, "gone with its process")
	require.Equal(t, third.listening(), entries[0].Address)
	stop()
	third.terminate()
	a.await(0)
	return a
}

// answers asks for what is right and for what is wrong.
func answers(t *testing.T, a *application) {
	for _, c := range []struct {
		query  string
		status int
		body   string
	}{
		{"/?method=add&a=1&b=2", 200, "3"},
		{"/?method=mul&a=3&b=-4.5", 200, "-13.5"},
		{"/?method=add&a=0.1&b=1e3", 200, "1000.1"},
		{"/?method=sub&a=1&b=2", 404, `[-32601] no method "sub", there are add and mul`},
		{"/?method=" + url.QueryEscape(`a"b`) + "&a=1&b=2", 404,
			`[-32601] no method "a\"b", there are add and mul`},
		{"/", 400, "no method, want /?method=add&a=1&b=2"},
		{"/?method=add&a=1", 400, "no b, want /?method=add&a=1&b=2"},
		{"/?method=add&a=x&b=1", 400, `a is "x", want a number`},
		{"/?method=add&a=NaN&b=1", 400, `a is "NaN", want a number`},
		{"/?method=mul&a=1e308&b=1e308", 400, "[-32602] result is out of range"},
		{"/favicon.ico", 404, "404 page not found"},
	} {
		status, body, _ := a.get(c.query)
		require.Equal(t, c.status, status, c.query)
		require.Equal(t, c.body, body, c.query)
	}
}

// TestProcessFile holds the process file against the services that there are.
func TestProcessFile(t *testing.T) {
	f, err := procfile.Load(".")
	require.NoError(t, err)
	require.Equal(t, 2, f.Process("provider").Scale)
	for process, service := range map[string]string{"provider": "tryrpc", "web": "web"} {
		assigned := f.Assigned(f.Process(process))
		require.Len(t, assigned, 1)
		require.Equal(t, service, assigned[0].Name)
	}
}

// TestJayson calls the provider with the client from npm.
func TestJayson(t *testing.T) {
	clients := npmtest.Install(t, "testdata/node")
	s := etcdtest.Start(t)
	p := start(t, build(t, "./provider"),
		service.Assignment{All: true, Registry: "etcd://" + s.Endpoint()})
	node := exec.CommandContext(t.Context(), "node", "testdata/node/call.js", p.listening())
	node.Env = append(os.Environ(), "CLIENTS="+clients)
	out, err := node.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, []string{
		`{"id":"the-id","result":3}`,
		`{"id":"the-id","result":13.5}`,
		`{"id":"the-id","error":{"code":-32601,` +
			`"message":"no method \"sub\", there are add and mul"}}`,
		`{"id":"the-id","error":{"code":-32602,"message":"invalid parameters",` +
			`"data":"[-32602] got 1 parameters, want 2"}}`,
		`{"id":"the-id","error":{"code":-32602,"message":"invalid parameters","data":"json: ` +
			`cannot unmarshal string into Go struct field .a of type float64"}}`,
		`{"id":"the-id","error":{"code":-32602,"message":"invalid parameters",` +
			`"data":"json: unknown field \"c\""}}`,
		`{"id":"the-id","error":{"code":-32602,"message":"result is out of range"}}`,
		`[2,-32601]`,
	}, strings.Split(strings.TrimSpace(string(out)), "\n"))
}

// TestWhatIsWrong has processes that end at once and say why. That of an etcd that is not there is
// in provider.
func TestWhatIsWrong(t *testing.T) {
	program := build(t, "./provider")
	tryrpc := func(config string) service.Assignment {
		return service.Assignment{All: true, Registry: "etcd://127.0.0.1:1",
			Services: map[string]service.Assigned{"tryrpc": {Config: json.RawMessage(config)}}}
	}
	for name, c := range map[string]struct {
		a   service.Assignment
		err string
	}{
		"no registry": {service.Assignment{All: true}, `registry "", want hub: or etcd://`},
		"unknown service": {
			service.Assignment{Services: map[string]service.Assigned{"web": {}}},
			"service: web is assigned to this process, which knows only registry, tryrpc",
		},
		"config": {tryrpc(`{"port":1}`), `config of tryrpc: json: unknown field "port"`},
		"port":   {tryrpc(`{"listen":"127.0.0.1:99999"}`), "invalid port"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, program, c.a)
			select {
			case <-p.ended:
			case <-time.After(patience):
				require.Fail(t, "still there")
			}
			require.Equal(t, 1, p.cmd.ProcessState.ExitCode())
			require.Contains(t, p.output(), c.err)
		})
	}
}

// TestPatient has a provider that starts before etcd is there.
func TestPatient(t *testing.T) {
	s := etcdtest.Start(t)
	s.Kill()
	p := start(t, build(t, "./provider"), service.Assignment{All: true,
		Registry: "etcd://" + s.Endpoint() + "?ttl=2s&patient=true"})
	address := p.listening()
	require.Contains(t, p.output(), "etcd is out of reach, trying on")
	s.Restart()
	names, err := etcd.Open(etcd.Options{Endpoints: []string{s.Endpoint()}})
	require.NoError(t, err)
	defer names.Close(context.Background())
	require.Eventually(t, func() bool {
		entries, err := names.Lookup(t.Context(), "tryrpc")
		return err == nil && len(entries) == 1 && entries[0].Address == address
	}, patience, 10*time.Millisecond)
	p.terminate()
}
