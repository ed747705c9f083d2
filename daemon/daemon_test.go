package daemon_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/app"
	"github.com/pithos-ipc/pithos/daemon"
	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/supervisor"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

func TestMain(m *testing.M) {
	supervisor.Warden()
	transporttest.VerifyNoLeaks(m)
}

// bed is a daemon with its folder, and a connection to it.
type bed struct {
	dir    string
	server *daemon.Server
	client *daemon.Client
	ctx    context.Context
}

func options(dir string) daemon.Options {
	always := func(string) supervisor.Probe { return func(context.Context) error { return nil } }
	return daemon.Options{
		Folder: filepath.Join(dir, "state"),
		App: app.Options{Hub: []string{"/bin/sh", "-c", "exec sleep 1000", "hub"},
			Socket: filepath.Join(dir, "hub.sock"), HubProbe: always},
	}
}

func start(t *testing.T, dir string) *bed {
	t.Helper()
	return startWith(t, dir, options(dir))
}

func startWith(t *testing.T, dir string, o daemon.Options) *bed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	address := filepath.Join(dir, "daemon.sock")
	s, err := daemon.Listen(address, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	c, err := daemon.Dial(ctx, address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return &bed{dir, s, c, ctx}
}

func (b *bed) parse(t *testing.T, text string) *procfile.File {
	t.Helper()
	f, err := procfile.Parse(filepath.Join(b.dir, "pithos.yaml"), []byte(text), os.LookupEnv)
	require.NoError(t, err)
	return f
}

const shop = `
name: shop
processes:
  api: {command: [sh, -c, 'echo $WORD $$; exec sleep 1000'], scale: 2, depends_on: db}
  db: {command: sleep 1000}
`

// env is an environment in which there are commands, and one variable.
func env(word string) []string { return []string{"PATH=" + os.Getenv("PATH"), "WORD=" + word} }

func TestLife(t *testing.T) {
	b := start(t, t.TempDir())
	apps, err := b.client.Status(b.ctx)
	require.NoError(t, err)
	require.Empty(t, apps)

	a, err := b.client.Start(b.ctx, b.parse(t, shop), "", env("one"))
	require.NoError(t, err)
	require.Equal(t, "ready", a.State)
	require.Equal(t, 4, a.Ready)
	require.Equal(t, filepath.Join(b.dir, "hub.sock"), a.Hub)
	require.Equal(t, []string{"hub", "db", "api"}, []string{a.Processes[0].Name,
		a.Processes[1].Name, a.Processes[2].Name})
	require.NotZero(t, a.Processes[2].Instances[1].PID)

	_, err = b.client.Start(b.ctx, b.parse(t, shop), "", env("two"))
	require.ErrorContains(t, err, `application "shop" runs already, since `)

	require.NoError(t, b.client.Scale(b.ctx, "shop/api", 3))
	require.NoError(t, b.client.Stop(b.ctx, "shop/api"))
	apps, err = b.client.Status(b.ctx, "shop/api")
	require.NoError(t, err)
	require.Len(t, apps[0].Processes, 1)
	require.Len(t, apps[0].Processes[0].Instances, 3)
	require.Equal(t, "stopped", apps[0].Processes[0].State)
	require.NoError(t, b.client.Resume(b.ctx, "shop/api"))
	require.NoError(t, b.client.Restart(b.ctx, "shop"))
	require.NoError(t, b.client.Stop(b.ctx, "shop"))
	apps, err = b.client.Status(b.ctx)
	require.NoError(t, err)
	require.Empty(t, apps)
}

// lines returns what a log holds.
func lines(t *testing.T, path string) (texts []string) {
	t.Helper()
	l, all, err := daemon.OpenLog(path, 1000)
	require.NoError(t, err)
	defer l.Close()
	for _, line := range all {
		texts = append(texts, line.Text)
	}
	return texts
}

// TestReload replaces instances, with a new environment and a changed file.
func TestReload(t *testing.T) {
	b := start(t, t.TempDir())
	_, err := b.client.Start(b.ctx, b.parse(t, shop), "", env("one"))
	require.NoError(t, err)
	before, err := b.client.Status(b.ctx, "shop")
	require.NoError(t, err)

	changed := strings.Replace(shop, "  db: {command: sleep 1000}",
		"  db: {command: sleep 1000}\n  new: {command: sleep 1000}", 1)
	r, err := b.client.Reload(b.ctx, b.parse(t, changed), "", env("two"), []string{"api"})
	require.NoError(t, err)
	require.Equal(t, []string{"new"}, r.Added)
	require.Equal(t, []string{"api"}, r.Replaced)
	after, err := b.client.Status(b.ctx, "shop")
	require.NoError(t, err)
	pid := func(apps []daemon.App, process string) int {
		for _, p := range apps[0].Processes {
			if p.Name == process {
				return p.Instances[0].PID
			}
		}
		return 0
	}
	require.Equal(t, pid(before, "hub"), pid(after, "hub"))
	require.Equal(t, pid(before, "db"), pid(after, "db"))
	require.NotEqual(t, pid(before, "api"), pid(after, "api"))
	require.NotZero(t, pid(after, "new"))

	log := filepath.Join(daemon.LogFolder(filepath.Join(b.dir, "state"), "shop"), "api.log")
	require.Eventually(t, func() bool {
		return strings.Count(strings.Join(lines(t, log), "\n"), "two ") == 2
	}, 20*time.Second, 10*time.Millisecond)
	r, err = b.client.Reload(b.ctx, b.parse(t, shop), "", nil, []string{"db"})
	require.NoError(t, err)
	require.Equal(t, []string{"new"}, r.Removed)
}

func TestErrors(t *testing.T) {
	b := start(t, t.TempDir())
	require.EqualError(t, b.client.Stop(b.ctx, "shop"), `no application "shop": none is running`)
	_, err := b.client.Start(b.ctx, b.parse(t, shop), "", env("one"))
	require.NoError(t, err)
	for _, c := range []struct {
		err  error
		want string
	}{
		{b.client.Stop(b.ctx, "shap"), `no application "shap": running are shop`},
		{b.client.Stop(b.ctx, "shop/web"), `application shop has no process "web"; it has hub, `},
		{b.client.Restart(b.ctx, "x", "shop/y"), `no application "x"`},
		{b.client.Scale(b.ctx, "shop", 2), `"shop": want application/process`},
		{b.client.Scale(b.ctx, "shop/hub", 2), "there is one hub"},
		{b.client.Scale(b.ctx, "shop/api", 100_000), "scale 100000"},
	} {
		require.ErrorContains(t, c.err, c.want)
	}
	f := b.parse(t, shop)
	f.Name = "other"
	f.Processes[0].Command = []string{"./nosuch"}
	_, err = b.client.Start(b.ctx, f, "", env("one"))
	require.ErrorContains(t, err, "nosuch")
	require.ErrorContains(t, err, "the rest of other runs on")
	apps, err := b.client.Status(b.ctx, "other")
	require.NoError(t, err)
	require.Equal(t, "failed", apps[0].State)
}

// TestSecond starts a second daemon at the socket of a first.
func TestSecond(t *testing.T) {
	b := start(t, t.TempDir())
	_, err := daemon.Listen(filepath.Join(b.dir, "daemon.sock"), options(b.dir))
	require.ErrorIs(t, err, transport.ErrInUse)
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	o := options(dir)
	o.Check = func(_ context.Context, f *procfile.File, socket string) error {
		return errors.New(f.Name + " not at " + filepath.Base(socket))
	}
	b := startWith(t, dir, o)
	_, err := b.client.Start(b.ctx, b.parse(t, shop), "", nil)
	require.EqualError(t, err, "shop not at hub.sock")
}

// TestRunsAlready wants to hear that of an application, and not that its own hub is in its way.
func TestRunsAlready(t *testing.T) {
	dir := t.TempDir()
	o := options(dir)
	checks := 0
	o.Check = func(context.Context, *procfile.File, string) error {
		if checks++; checks > 1 {
			return errors.New("the socket is taken")
		}
		return nil
	}
	b := startWith(t, dir, o)
	_, err := b.client.Start(b.ctx, b.parse(t, shop), "", env("one"))
	require.NoError(t, err)
	_, err = b.client.Start(b.ctx, b.parse(t, shop), "", env("one"))
	require.ErrorContains(t, err, `application "shop" runs already, since `)
}

// TestAlive finds who listens at a path that is longer than an address of the system.
func TestAlive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	require.NoError(t, os.MkdirAll(dir, 0o700))
	address := filepath.Join(dir, "daemon.sock")
	require.False(t, daemon.Alive(address))
	l, err := transport.ListenNet(address)
	require.NoError(t, err)
	require.True(t, daemon.Alive(address))
	require.NoError(t, l.Close())
	require.False(t, daemon.Alive(address))
}

// TestExit asks for the end: the client's wait is over when all is.
func TestExit(t *testing.T) {
	b := start(t, t.TempDir())
	_, err := b.client.Start(b.ctx, b.parse(t, shop), "", env("one"))
	require.NoError(t, err)
	closed := make(chan error, 1)
	go func() {
		<-b.server.Exit()
		closed <- b.server.Close()
	}()
	require.NoError(t, b.client.Exit(b.ctx))
	require.NoError(t, <-closed)
	_, err = os.Stat(filepath.Join(b.dir, "state", "daemon.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestAfterKill finds the state of a daemon that was killed, with a socket that nobody listens at.
func TestAfterKill(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "state"), 0o700))
	stale := filepath.Join(dir, "stale.sock")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "state", "daemon.json"), []byte(
		`{"pid": 77, "started": "2026-01-02T03:04:05Z", "apps": [{"name": "shop", "hub": "`+stale+
			`"}]}`), 0o600))
	makeStale(t, stale)
	b := start(t, dir)
	h, err := b.client.Hello(b.ctx)
	require.NoError(t, err)
	require.Contains(t, h.Notice, "the daemon before (pid 77, started 2026-01-02 03:04:05) was "+
		"killed while it ran shop: start them again")
	require.NotContains(t, h.Notice, "still there")
	_, err = os.Lstat(stale)
	require.ErrorIs(t, err, os.ErrNotExist)
	h, err = b.client.Hello(b.ctx)
	require.NoError(t, err)
	require.Empty(t, h.Notice, "said once")
	require.Equal(t, os.Getpid(), h.PID)
}

// makeStale leaves a socket file behind, as a server that was killed does.
func makeStale(t *testing.T, path string) {
	t.Helper()
	l, err := transport.Listen(path, transport.Options{})
	require.NoError(t, err)
	require.NoError(t, os.Rename(path, path+".moved"))
	require.NoError(t, l.Close(context.Background()))
	require.NoError(t, os.Rename(path+".moved", path))
}

// TestBrokenState starts where the state cannot be read.
func TestBrokenState(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "state"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "state", "daemon.json"), []byte("{"), 0o600))
	b := start(t, dir)
	h, err := b.client.Hello(b.ctx)
	require.NoError(t, err)
	require.Contains(t, h.Notice, "what it left cannot be read")
}
