package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/app"
	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/service"
	"github.com/pithos-ipc/pithos/supervisor"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

func TestMain(m *testing.M) {
	supervisor.Warden()
	transporttest.VerifyNoLeaks(m)
}

// parse makes a file of a text; it stands in a folder that is there.
func parse(t *testing.T, dir, text string) *procfile.File {
	t.Helper()
	f, err := procfile.Parse(filepath.Join(dir, "pithos.yaml"), []byte(text), os.LookupEnv)
	require.NoError(t, err)
	return f
}

var options = app.Options{
	Hub:    []string{"/bin/sh", "-c", "exec sleep 1000", "hub"},
	Socket: "/run/hub.sock",
	HubProbe: func(socket string) supervisor.Probe {
		return func(context.Context) error { return nil }
	},
	ObjectProbe: func(socket, name string) supervisor.Probe {
		return func(context.Context) error { return errors.New(socket + " " + name) }
	},
	Env:       []string{"FROM=options"},
	LogFolder: "/var/log/shop",
}

const shop = `
name: shop
env: {A: file, B: file}
hub: {pandora: true, max_body: 1MiB}
processes:
  api:
    command: api -x
    args: [y]
    env: {B: process}
    dir: sub
    scale: 2
    depends_on: [db]
    ready: {object: api, exec: [sh, -c, "echo a; echo not yet >&2; exit 3"]}
    log: {file: my.log}
  db: {command: /bin/db}
  spare: {command: spare, on_demand: true}
services:
  calc: {process: api, config: {n: 3}}
  trace: {process: weak-all}
`

func TestSpecs(t *testing.T) {
	f := parse(t, "/app", shop)
	specs, err := app.Specs(f, options)
	require.NoError(t, err)
	require.Len(t, specs, 3, "nobody demands the spare one")

	h := specs[0]
	require.Equal(t, "hub", h.Name)
	require.Equal(t, "/bin/sh", h.Command)
	require.Equal(t, []string{"-c", "exec sleep 1000", "hub", "--socket", "/run/hub.sock",
		"--pandora", "--max-body", "1048576"}, h.Args)
	require.Equal(t, "/var/log/shop/hub.log", h.Log.File)

	api, db := specs[1], specs[2]
	require.Equal(t, "api", api.Command)
	require.Equal(t, []string{"-x", "y"}, api.Args)
	require.Equal(t, "/app/sub", api.Dir)
	require.Equal(t, []string{"FROM=options", "PITHOS_SOCKET=/run/hub.sock", "A=file", "B=file",
		"B=process"}, api.Env)
	require.Equal(t, []supervisor.Dependency{{Name: "db"}, {Name: "hub"}}, api.DependsOn)
	require.Equal(t, []supervisor.Dependency{{Name: "hub"}}, db.DependsOn)
	require.Equal(t, "/app/my.log", api.Log.File)
	require.Equal(t, "/var/log/shop/db.log", db.Log.File)
	require.Nil(t, db.Ready.Probe)
	require.EqualError(t, api.Ready.Probe(t.Context()), "/run/hub.sock api")

	a, err := service.ParseAssignment(api.Services)
	require.NoError(t, err)
	require.Equal(t, service.Assignment{
		Application: "shop", Process: "api", Hub: "/run/hub.sock", Registry: "hub:",
		Services: map[string]service.Assigned{
			"calc":  {Config: json.RawMessage(`{"n":3}`)},
			"trace": {Weak: true},
		},
	}, a)
}

func TestNoServices(t *testing.T) {
	f := parse(t, "/app", "name: a\nhub: false\nprocesses: {x: {command: y}}")
	specs, err := app.Specs(f, options)
	require.NoError(t, err)
	require.Len(t, specs, 1, "no hub")
	require.Empty(t, specs[0].DependsOn)
	a, err := service.ParseAssignment(specs[0].Services)
	require.NoError(t, err)
	require.True(t, a.All, "every process runs what it knows")
	require.Empty(t, a.Hub)
	require.Empty(t, app.Socket(f, options))

	f = parse(t, "/app", "name: a\nhub: {run: false, path: h}\nprocesses: {x: {command: y}}")
	require.Equal(t, "/app/h", app.Socket(f, options), "somebody else's")
}

// TestNoTime wants a time of 0 in a file to be none, and not the supervisor's default.
func TestNoTime(t *testing.T) {
	f := parse(t, t.TempDir(), `
name: a
hub: false
processes: {x: {command: y, ready: {after: 0s}, stop: {window: 0s}}}
`)
	specs, err := app.Specs(f, options)
	require.NoError(t, err)
	require.Negative(t, specs[0].Ready.After)
	require.Equal(t, time.Nanosecond, specs[0].Stop.Window)
}

func TestProbes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := parse(t, t.TempDir(), `
name: a
processes: {x: {command: y, ready: {tcp: "`+l.Addr().String()+`", object: o}}}
`)
	specs, err := app.Specs(f, options)
	require.NoError(t, err)
	probe := specs[1].Ready.Probe
	require.EqualError(t, probe(t.Context()), "/run/hub.sock o", "the first one succeeds")
	require.NoError(t, l.Close())
	require.ErrorContains(t, probe(t.Context()), "connection refused")
}

// run runs an application until the test ends.
func run(t *testing.T, f *procfile.File) *app.App {
	t.Helper()
	o := options
	o.LogFolder = ""
	a, err := app.New(f, o)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	return a
}

// TestExitCode wants the code of the first that failed, once all but the hub are over.
func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		processes string
		want      int
	}{
		{"{a: {command: 'true', restart: never}, b: {command: 'true', restart: on-failure}}", 0},
		{"{a: {command: [sh, -c, 'exit 3'], restart: never}, b: {command: 'true', restart: never}}",
			3},
		{"{a: {command: [sh, -c, 'kill -9 $$'], restart: never}}", 1},
		{"{a: {command: ./nosuch, restart: never}}", 1},
		{"{a: {command: [sh, -c, 'exit 4'], restart: {delay: 1ms, burst: 3, give_up: true}}}", 4},
	} {
		a := run(t, parse(t, t.TempDir(), "name: a\nprocesses: "+c.processes))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		code, err := a.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, c.want, code, c.processes)
	}
}

func TestUpdate(t *testing.T) {
	dir := t.TempDir()
	const file = "name: a\nprocesses:\n" +
		"  stays: {command: sleep 1000}\n  goes: {command: sleep 1000}\n" +
		"  changes: {command: sleep 1000, ready: {exec: 'true'}}\n"
	a := run(t, parse(t, dir, file))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	require.NoError(t, a.Supervisor().Start(ctx))
	require.Equal(t, []string{"hub", "stays", "goes", "changes"}, a.Names())

	c, err := a.Update(ctx, parse(t, dir, file), nil)
	require.NoError(t, err)
	require.True(t, c.None(), "%v", c)

	c, err = a.Update(ctx, parse(t, dir, strings.NewReplacer("goes", "comes",
		"exec: 'true'", "exec: 'test 1'").Replace(file)), nil)
	require.NoError(t, err)
	require.Equal(t, app.Changes{Added: []string{"comes"}, Changed: []string{"changes"},
		Removed: []string{"goes"}}, c)
	require.NoError(t, a.Supervisor().Start(ctx, c.Added...))
	require.Equal(t, []string{"hub", "stays", "comes", "changes"}, a.Names())
	require.NotNil(t, a.File().Process("comes"))

	_, err = a.Update(ctx, parse(t, dir, strings.Replace(file, "name: a", "name: b", 1)), nil)
	require.ErrorContains(t, err, `the application is now called "b", and was "a"`)
}

// TestUpdateHoldsUpNobody asks for the file while an update waits for a process that does not end.
func TestUpdateHoldsUpNobody(t *testing.T) {
	dir := t.TempDir()
	const file = "name: a\nprocesses:\n  stays: {command: sleep 1000}\n"
	a := run(t, parse(t, dir, file+"  goes:\n"+
		"    command: [sh, -c, 'trap \"\" TERM; touch deaf; while :; do sleep 1; done']\n"+
		"    ready: {exec: test -f deaf, interval: 10ms}\n    stop: {window: 1h}\n"))
	t.Cleanup(a.Supervisor().Kill)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	require.NoError(t, a.Supervisor().Start(ctx))

	updated := make(chan error, 1)
	f := parse(t, dir, file)
	go func() {
		_, err := a.Update(ctx, f, nil)
		updated <- err
	}()
	require.Eventually(t, func() bool { return a.File() == f }, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, []string{"hub", "stays"}, a.Names())
	require.Empty(t, updated, "it waits for the process that goes")
	a.Supervisor().Kill()
	<-updated
}
