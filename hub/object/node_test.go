package object_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/internal/nodetest"
	"github.com/pithos-ipc/pithos/hub/object"
	"github.com/pithos-ipc/pithos/internal/npmtest"
)

// nodeFolder has the cases, the driver and the lock file.
const nodeFolder = "../testdata/node"

// TestObjectsOfGoAndNode plays testdata/node/objects.js with Pandora's own clients: each line of
// them alone, and both mixed.
func TestObjectsOfGoAndNode(t *testing.T) {
	if testing.Short() {
		t.Skip("the Node clients take some seconds, and -short wants none of that")
	}
	clients := npmtest.Install(t, nodeFolder)
	for _, mode := range []string{"1", "2", "mixed"} {
		t.Run("clients "+mode, func(t *testing.T) {
			t.Setenv("PANDORA_TMP_DIR", t.TempDir())
			start(t, hub.PandoraPath())
			c := join(t, hub.PandoraPath(), "go")
			calc := newCalculator()
			p := publish(t, c, "gomath", calc, object.Options{Tag: "latest"})
			g := &gopher{c: join(t, hub.PandoraPath(), "gopher"), math: p, calc: calc,
				listeners: make(map[string]*object.Listener),
				heard:     make(map[string][]json.RawMessage)}
			publish(t, g.c, "gopher", g, object.Options{})
			n := nodetest.Drive(t, nodeFolder, clients, mode, []string{"objects"}, nil)
			require.Greater(t, n, 6, "cases played")
		})
	}
}

// gopher uses objects as the cases tell it to.
type gopher struct {
	c    *hub.Client
	math *object.Published
	calc *calculator

	mu        sync.Mutex
	listeners map[string]*object.Listener
	heard     map[string][]json.RawMessage
	config    *object.Config
	follower  *object.ConfigClient
}

func (g *gopher) route(name, tag string) *hub.Route {
	return g.c.Route(hub.Selector{ObjectName: name, ObjectTag: tag})
}

// shown is an error as the cases compare it.
func shown(err error) map[string]any {
	e, ok := errors.AsType[*object.Error](err)
	if !ok {
		return map[string]any{"message": err.Error()}
	}
	m := map[string]any{"name": e.Name, "message": e.Message, "code": e.Code}
	var more struct{ Details []int }
	if json.Unmarshal(e.Raw, &more) == nil && more.Details != nil {
		m["details"] = true
	}
	return m
}

func (g *gopher) Call(ctx context.Context, name, tag, method string, args []json.RawMessage) any {
	got, err := object.Invoke(ctx, g.route(name, tag), method, args...)
	if err != nil {
		return shown(err)
	}
	return map[string]any{"data": got}
}

func (g *gopher) Relay(ctx context.Context, name, tag, method string, args []json.RawMessage) (
	json.RawMessage, error) {
	return object.Invoke(ctx, g.route(name, tag), method, args...)
}

func (g *gopher) Get(ctx context.Context, name, tag, property string) (map[string]any, error) {
	got, err := object.Property[any](ctx, g.route(name, tag), property)
	return map[string]any{"data": got}, err
}

func (g *gopher) Introspect(ctx context.Context, name, tag string) (object.Introspection, error) {
	return object.Introspect(ctx, g.route(name, tag))
}

func (g *gopher) Emit(ctx context.Context, topic string, args ...any) error {
	return g.math.Emit(ctx, topic, args...)
}

func (g *gopher) Log() []string { return g.calc.noted() }

func (g *gopher) Listen(ctx context.Context, name, tag, topic string) error {
	g.mu.Lock()
	l := g.listeners[name]
	if l == nil {
		l = object.Listen(g.c, name, tag, nil)
		g.listeners[name] = l
	}
	g.mu.Unlock()
	_, err := l.Subscribe(ctx, topic, func(a *object.Args) {
		line := []json.RawMessage{}
		for i := range a.Len() {
			line = append(line, append(json.RawMessage{}, a.Raw(i)...))
		}
		b, _ := json.Marshal(line)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.heard[name] = append(g.heard[name], b)
	})
	if err != nil {
		g.mu.Lock()
		delete(g.listeners, name)
		g.mu.Unlock()
		return errors.Join(err, l.Close(ctx))
	}
	return nil
}

func (g *gopher) Heard(name string) []json.RawMessage {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]json.RawMessage{}, g.heard[name]...)
}

func (g *gopher) Stop(ctx context.Context, name string) error {
	g.mu.Lock()
	l := g.listeners[name]
	delete(g.listeners, name)
	g.mu.Unlock()
	return l.Close(ctx)
}

func (g *gopher) ServeConfig(ctx context.Context) (err error) {
	g.config, err = object.ServeConfig(ctx, g.c, nil)
	return err
}

func (g *gopher) SetConfig(ctx context.Context, topic string, v any) error {
	return g.config.Set(ctx, topic, v)
}

func (g *gopher) CloseConfig(ctx context.Context) error { return g.config.Close(ctx) }

func (g *gopher) FollowConfig(ctx context.Context, topic string) error {
	g.follower = object.NewConfigClient(g.c, nil)
	g.mu.Lock()
	g.heard["config"] = nil
	g.mu.Unlock()
	_, err := g.follower.Subscribe(ctx, topic, func(v json.RawMessage) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.heard["config"] = append(g.heard["config"], v)
	})
	return err
}

func (g *gopher) Followed() []json.RawMessage { return g.Heard("config") }

func (g *gopher) Config(ctx context.Context, topic string) (json.RawMessage, error) {
	return g.follower.Value(ctx, topic)
}

func (g *gopher) UnfollowConfig(ctx context.Context) error { return g.follower.Close(ctx) }
