package service_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
	"github.com/pithos-ipc/pithos/service"
)

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newHub serves path until the end of the test.
func newHub(t testing.TB, path string) *hub.Hub {
	t.Helper()
	h := hub.New(hub.Options{})
	require.NoError(t, h.Listen(path))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = h.Close(ctx) // what it has dropped is not what is tested
	})
	return h
}

// TestHub has two services share the connection to a hub that comes late, and goes with them.
func TestHub(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	clients := make(chan *hub.Client, 2)
	joins := func(name string) service.Definition {
		return service.Definition{Name: name, New: func(e *service.Env) (service.Service, error) {
			c, err := e.Hub(ctx)
			clients <- c
			return &fake{name: name, diary: newDiary()}, err
		}}
	}
	ended := make(chan error, 1)
	go func() {
		ended <- service.Run(ctx, service.Options{Logger: slog.New(slog.DiscardHandler),
			Assignment: &service.Assignment{All: true, Application: "shop", Process: "web",
				Hub: path}}, joins("a"), joins("b"))
	}()
	time.Sleep(20 * time.Millisecond) // it may have asked in vain, or not
	h := newHub(t, path)
	one, two := <-clients, <-clients
	require.NotNil(t, one)
	require.Same(t, one, two)
	require.Equal(t, "shop", one.Location().AppName)
	require.Equal(t, "web", one.Location().ProcessName)
	cancel()
	require.NoError(t, <-ended)
	require.Eventually(t, func() bool {
		return h.Stats().Peers == 0 && len(h.Inspect(
			hub.InspectOptions{Peers: true}).Peers) == 0
	}, patience, time.Millisecond)
}

func TestNoHub(t *testing.T) {
	wants := service.Definition{Name: "a",
		New: func(e *service.Env) (service.Service, error) { return wantsHub{e}, nil }}
	o := service.Options{Assignment: &service.Assignment{All: true}}
	require.EqualError(t, run(t, patience, o, wants), "service: start a: service: hub for a: "+
		"the process has none: hub is not in PITHOS_SERVICES")
	wants.StartWithin = 50 * time.Millisecond
	o.Assignment.Hub = filepath.Join(t.TempDir(), "none.sock")
	require.ErrorContains(t, run(t, patience, o, wants),
		"a has not started within 50ms: service: hub for a: ")
}

// wantsHub is a service that starts with a hub.
type wantsHub struct{ env *service.Env }

func (w wantsHub) Start(ctx context.Context) error {
	_, err := w.env.Hub(ctx)
	return err
}

func (wantsHub) Stop(context.Context) error { return nil }

// calculator is what is published; Slow tells that it runs, and waits.
type calculator struct {
	inside  chan struct{}
	release chan struct{}
}

func (calculator) Add(a, b float64) float64 { return a + b }

func (c calculator) Slow() string {
	close(c.inside)
	<-c.release
	return "done"
}

// TestR24ObjectDrains publishes a service, and stops the process in the middle of a call: it is
// answered, then the service is stopped, and nobody finds the object any more.
func TestR24ObjectDrains(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	newHub(t, path)
	c, err := hub.Join(soon(t), path, hub.JoinOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })

	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	calc := calculator{make(chan struct{}), make(chan struct{})}
	d := newDiary()
	ready := make(chan struct{})
	f := &fake{name: "calc", diary: d}
	def := f.define()
	def.Object = func(s service.Service) any {
		require.Same(t, f, s)
		return calc
	}
	after := &fake{name: "after", diary: d}
	after.startedAfter = func(*service.Env) { close(ready) }
	ended := make(chan error, 1)
	go func() {
		ended <- service.Run(ctx, service.Options{Logger: slog.New(slog.DiscardHandler),
			Assignment: &service.Assignment{All: true, Hub: path}}, def, after.define("calc"))
	}()
	<-ready
	sum, err := object.Call[float64](soon(t), c.Object("calc"), "add", 1, 2)
	require.NoError(t, err, "who depends on it finds it")
	require.Equal(t, 3.0, sum)
	_, err = object.Call[struct{}](soon(t), c.Object("calc"), "stop")
	require.ErrorIs(t, err, object.ErrNoMethod)

	slow := make(chan string, 1)
	go func() {
		said, err := object.Call[string](soon(t), c.Object("calc"), "slow")
		if err != nil {
			said = err.Error()
		}
		slow <- said
	}()
	<-calc.inside
	cancel()
	require.Eventually(t, func() bool { // it is taken back before anything is stopped
		found, err := c.Lookup(soon(t), hub.Selector{ObjectName: "calc"})
		return err == nil && len(found) == 0
	}, patience, time.Millisecond)
	for _, line := range d.read() {
		require.NotContains(t, line, "calc stopped")
	}
	close(calc.release)
	require.Equal(t, "done", <-slow)
	require.NoError(t, <-ended)
	require.Contains(t, d.read()[len(d.read())-1], "calc stopped")
}

// TestObjectWithoutHub stops what it has started when it cannot be published.
func TestObjectWithoutHub(t *testing.T) {
	f := &fake{name: "calc", diary: newDiary()}
	def := f.define()
	def.Object = func(service.Service) any { return calculator{} }
	err := run(t, patience, service.Options{}, def)
	require.ErrorContains(t, err, "service: hub for calc: the process has none")
	require.Len(t, f.diary.read(), 2, "started and stopped")
}
