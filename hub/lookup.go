package hub

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pithos-ipc/pithos/transport"
)

// Provider is something that is published: an object, or with Publication 0 the location of a peer.
type Provider struct {
	Peer        uint64 // the hub's number of the peer
	Publication uint64 // the peer's own number of what it has published
	Selector    Selector
	Info        json.RawMessage // what Object.Info said
	raw         string
}

// UnmarshalJSON reads a provider as the hub writes it. Values of a selector that are not strings,
// which Pandora's clients may publish, are shown as their JSON.
func (p *Provider) UnmarshalJSON(b []byte) error {
	var w struct {
		Peer, Publication uint64
		Selector          json.RawMessage
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(w.Selector, &fields) // what is no object has no fields
	text := func(key string) (s string) {
		if json.Unmarshal(fields[key], &s) != nil {
			s = string(fields[key])
		}
		return s
	}
	*p = Provider{Peer: w.Peer, Publication: w.Publication, Info: fields["info"],
		raw: string(w.Selector)}
	p.Selector = Selector{ObjectName: text("objectName"), ObjectTag: text("objectTag"),
		Location: Location{AppName: text("appName"), ProcessName: text("processName"),
			PID: text("pid"), ClientID: text("clientId")}}
	return nil
}

// Lookup returns everything published that s matches: objects, and locations.
func (c *Client) Lookup(ctx context.Context, s Selector) ([]Provider, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("hub: selector: %w", err)
	}
	reply, err := c.ask(ctx, methodLookup, raw)
	if err != nil {
		return nil, err
	}
	return parseProviders(reply)
}

// List returns everything published.
func (c *Client) List(ctx context.Context) ([]Provider, error) { return c.Lookup(ctx, Selector{}) }

func parseProviders(reply []byte) ([]Provider, error) {
	var list struct{ Providers []Provider }
	if err := json.Unmarshal(reply, &list); err != nil {
		return nil, fmt.Errorf("hub: list of providers: %w", err)
	}
	return list.Providers, nil
}

// Event is that something came or went.
type Event struct {
	Up       bool // it came; otherwise it went
	Provider Provider
}

// Watch tells of what comes and goes at the hub, until it is stopped.
type Watch struct {
	c      *Client
	number uint64
	body   []byte // of the request
	f      func(Event)
	known  []Provider // loop only
	listed bool       // the hub has answered on this session; loop only
	early  []event    // that came before its answer; loop only
}

// event is one as the hub writes it. Those with a version up to that of a list are in the list.
type event struct {
	Watch, Version uint64
	Event          string
	Provider       Provider
}

// Watch calls f for everything that is published and that s matches, and then whenever something
// comes or goes. f is called on the loop of the connection, one event after the other, so it must
// not block. After a rejoin it is told the difference. Watch returns when f has heard of what is
// there.
func (c *Client) Watch(ctx context.Context, s Selector, f func(Event)) (*Watch, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("hub: selector: %w", err)
	}
	session, err := c.online(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.last++
	w := &Watch{c: c, number: c.last, f: f}
	w.body = fmt.Appendf(nil, `{"watch":%d,"selector":%s}`, w.number, raw)
	c.watches[w.number] = w
	c.mu.Unlock()
	if err := w.begin(ctx, session); err != nil {
		c.forget(w)
		return nil, fmt.Errorf("hub: watch: %w", err)
	}
	return w, nil
}

func (c *Client) forget(w *Watch) {
	c.mu.Lock()
	delete(c.watches, w.number)
	c.mu.Unlock()
}

// Stop ends the watch.
func (w *Watch) Stop(ctx context.Context) error {
	w.c.forget(w)
	s := w.c.session.Load()
	if s == nil {
		return nil
	}
	_, err := s.conn.Do(ctx, transport.Message{Method: methodUnwatch,
		Body: appendNumber(nil, `{"watch":`, w.number)}, nil)
	return remote(err)
}

// begin has the hub watch. The list that it answers with is taken on the loop, before any event.
func (w *Watch) begin(ctx context.Context, s *session) error {
	done := make(chan error, 1)
	err := s.conn.Go(transport.Message{Method: methodWatch, Body: w.body}, nil,
		func(reply []byte, err error) {
			if err == nil {
				err = w.list(reply)
			}
			done <- err
		})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return remote(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// list takes what is there when the watch begins, and the events that were quicker.
func (w *Watch) list(reply []byte) error {
	var list struct {
		Providers []Provider
		Version   uint64
	}
	if err := json.Unmarshal(reply, &list); err != nil {
		return fmt.Errorf("hub: list of providers: %w", err)
	}
	w.replace(list.Providers)
	w.listed = true
	early := w.early
	w.early = nil
	for _, e := range early {
		if e.Version > list.Version {
			w.take(e)
		}
	}
	return nil
}

// replace tells the difference between what is known and what there is. Providers are the same when
// their selectors are, as the hub that numbered them may be another one.
func (w *Watch) replace(all []Provider) {
	was := make(map[string]int)
	for _, p := range w.known {
		was[p.raw]++
	}
	var come []Provider
	for _, p := range all {
		if was[p.raw]--; was[p.raw] < 0 {
			come = append(come, p)
		}
	}
	for _, p := range w.known {
		if was[p.raw] > 0 {
			was[p.raw]--
			w.f(Event{Provider: p})
		}
	}
	w.known = all
	for _, p := range come {
		w.f(Event{Up: true, Provider: p})
	}
}

// watchAll begins all watches again.
func (c *Client) watchAll(ctx context.Context, s *session) error {
	c.mu.Lock()
	all := make([]*Watch, 0, len(c.watches))
	for _, w := range c.watches {
		all = append(all, w)
	}
	c.mu.Unlock()
	for _, w := range all {
		w.listed, w.early = false, nil // the last loop is gone, this one has no event yet
		if err := w.begin(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// event takes one event of a watch.
func (c *Client) event(body []byte) {
	var e event
	if json.Unmarshal(body, &e) != nil {
		return
	}
	c.mu.Lock()
	w := c.watches[e.Watch]
	c.mu.Unlock()
	switch {
	case w == nil:
	case !w.listed:
		w.early = append(w.early, e)
	default:
		w.take(e)
	}
}

// take tells one event.
func (w *Watch) take(e event) {
	if e.Event == eventUp {
		w.known = append(w.known, e.Provider)
		w.f(Event{Up: true, Provider: e.Provider})
		return
	}
	for i, p := range w.known {
		if p.Peer == e.Provider.Peer && p.Publication == e.Provider.Publication &&
			p.raw == e.Provider.raw {
			w.known = append(w.known[:i], w.known[i+1:]...)
			break
		}
	}
	w.f(Event{Provider: e.Provider})
}
