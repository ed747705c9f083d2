package object

import (
	"context"
	"sync"
)

// Source is a value that wants to know who listens to it. Subscribe is called when a topic gets its
// first subscriber, Unsubscribe when it has lost its last one; both one after the other. Values
// that do not care leave it out: Published.Emit reaches the subscribers anyway.
type Source interface {
	Subscribe(ctx context.Context, topic string) error
	Unsubscribe(ctx context.Context, topic string) error
}

// topics is who has subscribed to what.
type topics struct {
	source Source // or nil

	turn sync.Mutex // held while source is called; before mu

	mu  sync.Mutex
	all map[string]map[string]bool // topic -> clients; guarded by mu
}

// subscribe puts a client on a topic. It is there once, however often it subscribes.
func (t *topics) subscribe(ctx context.Context, topic, id string) error {
	t.turn.Lock()
	defer t.turn.Unlock()
	t.mu.Lock()
	first := len(t.all[topic]) == 0
	if first {
		if t.all == nil {
			t.all = make(map[string]map[string]bool)
		}
		t.all[topic] = make(map[string]bool)
	}
	t.all[topic][id] = true
	t.mu.Unlock()
	if !first || t.source == nil {
		return nil
	}
	if err := t.source.Subscribe(ctx, topic); err != nil {
		t.drop(topic, id)
		return err
	}
	return nil
}

// unsubscribe takes a client off a topic; one that is not on it is no error.
func (t *topics) unsubscribe(ctx context.Context, topic, id string) error {
	t.turn.Lock()
	defer t.turn.Unlock()
	if !t.drop(topic, id) || t.source == nil {
		return nil
	}
	return t.source.Unsubscribe(ctx, topic)
}

// drop says true when the topic has lost its last subscriber.
func (t *topics) drop(topic, id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := t.all[topic]
	if !ids[id] {
		return false
	}
	if delete(ids, id); len(ids) > 0 {
		return false
	}
	delete(t.all, topic)
	return true
}

// forget takes a client that has gone off everything.
func (t *topics) forget(ctx context.Context, id string) {
	t.turn.Lock()
	defer t.turn.Unlock()
	var empty []string
	t.mu.Lock()
	for topic, ids := range t.all {
		if !ids[id] {
			continue
		}
		if delete(ids, id); len(ids) == 0 {
			delete(t.all, topic)
			empty = append(empty, topic)
		}
	}
	t.mu.Unlock()
	for _, topic := range empty {
		if t.source != nil {
			_ = t.source.Unsubscribe(ctx, topic) // there is nobody left to tell
		}
	}
}

// has says whether anybody listens to a topic.
func (t *topics) has(topic string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all[topic]) > 0
}

// names are the topics that anybody listens to.
func (t *topics) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return sorted(t.all)
}
