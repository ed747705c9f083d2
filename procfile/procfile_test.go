package procfile_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/supervisor"
)

// environment is what the variables of the tests stand for.
func environment(name string) (string, bool) {
	v, ok := map[string]string{"N": "3", "HERE": "there", "EMPTY": "", "WORD": "false"}[name]
	return v, ok
}

func parse(text string) (*procfile.File, error) {
	return procfile.Parse("/app/pithos.yaml", []byte(text), environment)
}

func mustParse(t testing.TB, text string) *procfile.File {
	t.Helper()
	f, err := parse(text)
	require.NoError(t, err)
	return f
}

// full uses every field.
const full = `
name: shop
x-defaults: &defaults
  restart: on-failure
  env: {LEVEL: info}
env:
  TZ: UTC
  PORT: 8080
hub:
  run: true
  path: run/hub.sock
  pandora: true
  max_body: 1MiB
  max_batch: 2MiB
  max_outbox: 3MiB
  max_pending: 4
  max_queue: 6MiB
  max_total: 7MiB
  max_conns: 5
  policy: drop-oldest
  balancer: random
  log: {file: log/hub.log}
registry:
  endpoints: [one:2379, two]
  prefix: /shop/
  user: me
  password: ${HERE}/
  tls: {ca: ca.pem, cert: cert.pem, key: key.pem, server_name: etcd}
  ttl: 20s
  patient: true
processes:
  db:
    command: ["/bin/db", "--listen", ":1"]
    order: -5
    ready: {tcp: "localhost:1", interval: 1s, timeout: 2s, window: 3s}
  api:
    <<: *defaults
    command: go run ./api --title "a b" '$HOME' $${X}
    args: [-v, 7]
    dir: sub
    scale: ${N}
    on_demand: ${WORD}
    depends_on: {db: started}
    ready:
      notify: true
      object: api
      http: http://localhost:8080/health
      exec: [test, -f, x]
      after: 0s
      watchdog: 5s
    stop: {signal: SIGINT, window: 30s}
    log: {file: ~/api.log, max_size: 2MiB, max_files: 7, compress: true, full: block}
    limits: {memory: 512MiB, cpu: 1.5, processes: 100, open_files: 4096}
    watch: {paths: [src, /etc/hosts], ignore: "*.md"}
  batch:
    command: batch
    scale: auto
    depends_on: [db, api]
    restart: {policy: never, delay: 1s, max_delay: 2s, stable: 3s, burst: 4, give_up: true}
    ready: notify
    watch: false
services:
  calc: {process: api, config: {deep: [1, -2.5, true, null, "${N}"], "a key": {}}}
  trace: {process: weak-all}
  both: {process: [api, batch]}
`

func TestEveryField(t *testing.T) {
	f := mustParse(t, full)
	require.Equal(t, "shop", f.Name)
	require.Equal(t, map[string]string{"TZ": "UTC", "PORT": "8080"}, f.Env)
	require.Equal(t, procfile.Hub{Run: true, Path: "/app/run/hub.sock", Pandora: true,
		MaxBody: 1 << 20, MaxBatch: 2 << 20, MaxOutbox: 3 << 20, MaxPending: 4,
		MaxQueue: 6 << 20, MaxTotal: 7 << 20, MaxConns: 5, Policy: "drop-oldest",
		Balancer: "random",
		Log:      supervisor.LogPolicy{File: "/app/log/hub.log", MaxSize: 10 << 20, MaxFiles: 5},
	}, f.Hub)
	require.Equal(t, "etcds://me:there%2F@one:2379,two/shop?ca=%2Fapp%2Fca.pem&"+
		"cert=%2Fapp%2Fcert.pem&key=%2Fapp%2Fkey.pem&patient=true&server_name=etcd&ttl=20s",
		f.Registry)
	require.Len(t, f.Processes, 3)

	home, err := os.UserHomeDir()
	require.NoError(t, err)
	require.Equal(t, procfile.Process{
		Name:    "api",
		Command: []string{"go", "run", "./api", "--title", "a b", "$HOME", "${X}", "-v", "7"},
		Env:     map[string]string{"LEVEL": "info"}, Dir: "/app/sub", Scale: 3,
		DependsOn: []supervisor.Dependency{{Name: "db", Until: supervisor.UntilStarted}},
		Ready: procfile.Ready{
			Policy: supervisor.Readiness{Notify: true, Interval: 250 * time.Millisecond,
				Timeout: 5 * time.Second, Window: time.Minute, Watchdog: 5 * time.Second},
			Object: "api", HTTP: "http://localhost:8080/health", Exec: []string{"test", "-f", "x"},
		},
		Restart: supervisor.RestartPolicy{Mode: supervisor.RestartOnFailure,
			Delay: 100 * time.Millisecond, MaxDelay: 30 * time.Second, Stable: 10 * time.Second,
			Burst: 5},
		Stop: supervisor.StopPolicy{Signal: syscall.SIGINT, Window: 30 * time.Second},
		Log: supervisor.LogPolicy{File: filepath.Join(home, "api.log"), MaxSize: 2 << 20,
			MaxFiles: 7, Compress: true, Full: supervisor.Block},
		Limits: supervisor.Limits{Memory: 512 << 20, CPU: 1.5, Processes: 100, OpenFiles: 4096},
		Watch: procfile.Watch{On: true, Paths: []string{"/app/src", "/etc/hosts"},
			Ignore: []string{"*.md"}},
	}, *f.Process("api"))

	db, batch := f.Process("db"), f.Process("batch")
	require.Equal(t, -5, db.Order)
	require.Equal(t, "localhost:1", db.Ready.TCP)
	require.Equal(t, "/app", db.Dir)
	require.Equal(t, runtime.GOMAXPROCS(0), batch.Scale)
	require.Equal(t, []supervisor.Dependency{{Name: "db"}, {Name: "api"}}, batch.DependsOn)
	require.Equal(t, supervisor.RestartPolicy{Mode: supervisor.RestartNever, Delay: time.Second,
		MaxDelay: 2 * time.Second, Stable: 3 * time.Second, Burst: 4, GiveUp: true}, batch.Restart)
	require.True(t, batch.Ready.Policy.Notify)
	require.False(t, batch.Watch.On)

	require.Equal(t, map[string]any{"a key": map[string]any{},
		"deep": []any{uint64(1), -2.5, true, nil, "3"}}, f.Services[0].Config)
	require.Equal(t, []string{"api", "batch"}, f.Services[2].Processes)
}

// TestRoundTrip wants the resolved form to mean the same.
func TestRoundTrip(t *testing.T) {
	for _, text := range []string{full, "name: a\nprocesses: {x: {command: y}}"} {
		f := mustParse(t, text)
		out, err := f.Marshal()
		require.NoError(t, err)
		again, err := parse(string(out))
		require.NoError(t, err, "%s", out)
		require.Equal(t, f, again)
	}
}

func TestShortForms(t *testing.T) {
	const rest = "\nname: a\nprocesses: {x: {command: y}}"
	require.False(t, mustParse(t, "hub: false"+rest).Hub.Run)
	require.True(t, mustParse(t, "hub: true"+rest).Hub.Run)
	require.Equal(t, "/app/h.sock", mustParse(t, "hub: h.sock"+rest).Hub.Path)
	require.Equal(t, "@h", mustParse(t, "hub: '@h'"+rest).Hub.Path)
	require.Equal(t, procfile.Embedded, mustParse(t, "registry: embedded"+rest).Registry)
	require.Equal(t, "etcd://h:1", mustParse(t, "registry: etcd://h:1"+rest).Registry)
	require.Equal(t, "etcds://h:1",
		mustParse(t, "registry: {endpoints: h:1, tls: {}}"+rest).Registry)
}

func TestAssigned(t *testing.T) {
	f := mustParse(t, `
name: a
processes:
  one: {command: x}
  two: {command: x, on_demand: true}
  three: {command: x, on_demand: true}
services:
  a: {process: one}
  b: {process: two}
  c: {process: weak-all}
`)
	assigned := func(p string) (names string) {
		for _, s := range f.Assigned(f.Process(p)) {
			names += s.Name
		}
		return names
	}
	require.Equal(t, "ac", assigned("one"))
	require.Equal(t, "bc", assigned("two"))
	require.Empty(t, assigned("three"))
	require.False(t, f.Runs(f.Process("three")))

	f = mustParse(t, "name: a\nprocesses: {x: {command: y, on_demand: true}}\n"+
		"services: {s: {process: all}}")
	require.True(t, f.Runs(f.Process("x")), "all starts processes on demand")
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	_, err := procfile.Load(dir)
	require.EqualError(t, err, "no pithos.yaml in "+dir+"; \"pithos init\" writes one")
	_, err = procfile.Load(filepath.Join(dir, "x.yaml"))
	require.EqualError(t, err, "there is no "+dir+"/x.yaml; \"pithos init\" writes a process file")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "pithos.yaml"), 0o700))
	_, err = procfile.Load(dir)
	require.ErrorContains(t, err, "pithos.yaml: not a file but d")

	path := filepath.Join(dir, "other.yaml")
	require.NoError(t, os.WriteFile(path, []byte("name: a\nprocesses: {x: {command: y}}"), 0o600))
	f, err := procfile.Load(path)
	require.NoError(t, err)
	require.Equal(t, path, f.Path)
	require.NoError(t, os.Truncate(path, procfile.MaxSize+1))
	_, err = procfile.Load(path)
	require.ErrorContains(t, err, "262145 bytes, limit 262144")
}

// TestDeep wants an error, not a stack that grows without limit.
func TestDeep(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("[", 100_000),
		"name: a\nx-a: " + strings.Repeat("{a: ", 1000),
		strings.Repeat("- ", 100_000) + "a",
		"? " + strings.Repeat("? ", 50_000) + "a",
	} {
		_, err := parse(text)
		require.Error(t, err)
	}
}

// TestManyAliases wants a limit where aliases of aliases make a short file a large one.
func TestManyAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("name: a\nprocesses: {x: {command: y}}\nx-0: &a0 [1, 1]\n")
	for i := range 40 {
		prev, next := string(rune('0'+i)), string(rune('0'+i+1))
		b.WriteString("x-" + next + ": &a" + next + " [*a" + prev + ", *a" + prev + "]\n")
	}
	_, err := parse(b.String())
	require.ErrorContains(t, err, "over 100000 values once all aliases are followed")
}

// TestScaleAuto wants the processors that may be used, which are fewer in a container, say.
func TestScaleAuto(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 1))
	f, err := procfile.Parse("/app/pithos.yaml", []byte("name: a\n"+
		"processes: {x: {command: y, scale: auto}}"), os.LookupEnv)
	require.NoError(t, err)
	require.Equal(t, runtime.NumCPU()+1, f.Processes[0].Scale)
}
