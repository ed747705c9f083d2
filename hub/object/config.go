package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/pithos-ipc/pithos/hub"
)

// ConfigName is the object of Pandora's config manager.
const ConfigName = "__PANDORA_HUB_CONFIG_MANAGER"

// Config keeps a value for each topic and tells whoever listens of each new one: Pandora's
// ConfigManager, for clients of both languages, any number of them. One process of a hub serves it.
type Config struct {
	pub   *Published    // immutable once ready
	ready chan struct{} // closed when pub is set

	turn   sync.Mutex // held while a value is told, so that all hear the last one last; before mu
	mu     sync.Mutex
	values map[string]json.RawMessage // guarded by mu
}

// ServeConfig publishes a Config without topics.
func ServeConfig(ctx context.Context, c *hub.Client, log *slog.Logger) (*Config, error) {
	m := &Config{values: make(map[string]json.RawMessage), ready: make(chan struct{})}
	defer close(m.ready)
	topics := func(of func(string) []string) Method {
		return Func(func(_ context.Context, a *Args) ([]string, error) {
			prefix, err := optional(a, 0)
			return of(prefix), err
		})
	}
	var err error
	m.pub, err = Publish(ctx, c, ConfigName, Map{
		"getConfig": Func(func(_ context.Context, a *Args) (Raw, error) {
			topic, err := optional(a, 0)
			if err != nil {
				return nil, err
			}
			return m.read(topic), nil
		}),
		"publish": Func(func(ctx context.Context, a *Args) (struct{}, error) {
			var topic string
			if err := a.Decode(0, &topic); err != nil {
				return struct{}{}, badArgument{err}
			}
			<-m.ready
			return struct{}{}, m.Set(ctx, topic, json.RawMessage(a.Raw(1)))
		}),
		"getAllTopics":           topics(m.Topics),
		"getAllSubscribedTopics": topics(m.subscribed),
	}, Options{Logger: log})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// optional is argument i, "" where JavaScript would take it for false.
func optional(a *Args, i int) (text string, err error) {
	if raw := a.Raw(i); len(raw) > 0 && string(raw) != "null" {
		if err = a.Decode(i, &text); err != nil {
			err = badArgument{err}
		}
	}
	return text, err
}

// read is the value of a topic, or without one an object of all.
func (m *Config) read(topic string) Raw {
	m.mu.Lock()
	defer m.mu.Unlock()
	if topic != "" {
		return Raw(m.values[topic])
	}
	b, _ := json.Marshal(m.values) // checked values under strings
	return b
}

// Set gives a topic a value, which encoding/json writes, keeps it for those who ask later, and
// tells those who listen.
func (m *Config) Set(ctx context.Context, topic string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("object: config %s: %w", topic, err)
	}
	if topic == "" {
		return fmt.Errorf("object: config: %w: the topic is empty", ErrArguments)
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	m.mu.Lock()
	m.values[topic] = raw
	m.mu.Unlock()
	return m.pub.Emit(ctx, topic, json.RawMessage(raw))
}

// Value is the value of a topic as JSON, nil when it has none.
func (m *Config) Value(topic string) json.RawMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[topic]
}

// Topics are the topics with a value, of those that begin with prefix.
func (m *Config) Topics(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return begin(sorted(m.values), prefix)
}

// Subscribed are the topics that anybody listens to, of those that begin with prefix.
func (m *Config) Subscribed(prefix string) []string { return begin(m.pub.Topics(), prefix) }

// subscribed waits for ServeConfig, which is under way when the first calls come.
func (m *Config) subscribed(prefix string) []string {
	<-m.ready
	return m.Subscribed(prefix)
}

func begin(all []string, prefix string) []string {
	some := []string{}
	for _, name := range all {
		if strings.HasPrefix(name, prefix) {
			some = append(some, name)
		}
	}
	return some
}

// Close takes the Config back.
func (m *Config) Close(ctx context.Context) error { return m.pub.Close(ctx) }

// ConfigClient reads the values of a Config, or of Pandora's ConfigManager.
type ConfigClient struct {
	route *hub.Route
	l     *Listener
}

// NewConfigClient returns a client of the config at the hub. It asks for nothing yet.
func NewConfigClient(c *hub.Client, log *slog.Logger) *ConfigClient {
	return &ConfigClient{route: c.Object(ConfigName), l: Listen(c, ConfigName, "", log)}
}

// Value is the value of a topic as JSON, nil when it has none.
func (c *ConfigClient) Value(ctx context.Context, topic string) (json.RawMessage, error) {
	return Call[json.RawMessage](ctx, c.route, "getConfig", topic)
}

// All are the values of all topics.
func (c *ConfigClient) All(ctx context.Context) (map[string]json.RawMessage, error) {
	return Call[map[string]json.RawMessage](ctx, c.route, "getConfig")
}

// Subscribe has f hear of the value that a topic has, nil when it has none, and then of each new
// one. f is called for one value after the other.
func (c *ConfigClient) Subscribe(ctx context.Context, topic string, f func(json.RawMessage)) (
	*Subscription, error) {
	first := make(chan struct{}) // closed when f has heard of the value that there was
	var told sync.Once
	s, err := c.l.Subscribe(ctx, topic, func(a *Args) {
		<-first
		f(append(json.RawMessage(nil), a.Raw(0)...))
	})
	if err != nil {
		return nil, err
	}
	defer told.Do(func() { close(first) })
	value, err := c.Value(ctx, topic)
	if err != nil {
		told.Do(func() { close(first) })
		return nil, errors.Join(err, s.Stop(ctx))
	}
	f(value)
	return s, nil
}

// Close ends all subscriptions.
func (c *ConfigClient) Close(ctx context.Context) error { return c.l.Close(ctx) }
