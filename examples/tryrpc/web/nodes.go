package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/creachadair/jrpc2"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/registry"
)

var errNobody = errors.New("no node is there")

const maxReply = 1 << 20 // bytes

// nodes are the instances of a service, as the registry has them.
type nodes struct {
	service string
	current atomic.Pointer[snapshot]
	picker  balancer.RoundRobin
	http    *http.Client
	cancel  context.CancelFunc
	watch   sync.WaitGroup
}

// snapshot is who is there at one time: entries and candidates in the same order.
type snapshot struct {
	entries    []registry.Entry
	candidates []balancer.Candidate
}

// follow watches a service until close. It returns when it knows who is there, or ctx ends.
func follow(ctx context.Context, r registry.Registry, service string) (*nodes, error) {
	watching, cancel := context.WithCancel(context.Background())
	states, err := r.Watch(watching, service)
	if err != nil {
		cancel()
		return nil, err
	}
	n := &nodes{service: service, cancel: cancel,
		http: &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}}
	n.current.Store(&snapshot{})
	known := make(chan struct{})
	n.watch.Go(func() {
		first := sync.OnceFunc(func() { close(known) })
		ids := make(map[string]uint64) // of instances; a new one gets the next
		last := uint64(0)
		for entries := range states {
			s := &snapshot{entries: slices.Clone(entries)}
			for _, e := range entries {
				if ids[e.Instance] == 0 {
					last++
					ids[e.Instance] = last
				}
			}
			slices.SortFunc(s.entries, func(a, b registry.Entry) int {
				return int(ids[a.Instance]) - int(ids[b.Instance])
			})
			for _, e := range s.entries {
				s.candidates = append(s.candidates, balancer.Candidate{ID: ids[e.Instance]})
			}
			n.current.Store(s)
			first()
		}
	})
	select {
	case <-known:
		return n, nil
	case <-ctx.Done():
		n.close()
		return nil, fmt.Errorf("watch %s: %w", service, ctx.Err())
	}
}

func (n *nodes) close() {
	n.cancel()
	n.watch.Wait()
	n.http.CloseIdleConnections()
}

// call asks one node, and when it cannot be reached, or is gone before it has answered, the others
// in turn, also those that have come meanwhile: the methods may run twice. It returns the result
// and who gave it.
func (n *nodes) call(ctx context.Context, method string, args any) (json.RawMessage, string,
	error) {
	var failed []error
	for tried := []string(nil); ; {
		s := n.current.Load().without(tried)
		i := n.picker.Pick(s.candidates, 0)
		switch {
		case i < 0 && failed == nil:
			return nil, "", fmt.Errorf("%s: %w", n.service, errNobody)
		case i < 0:
			return nil, "", errors.Join(failed...)
		}
		address := s.entries[i].Address
		result, err := n.ask(ctx, address, method, args)
		if _, said := errors.AsType[*jrpc2.Error](err); err == nil || said {
			return result, address, err
		}
		failed = append(failed, fmt.Errorf("%s: %w", address, err))
		tried = append(tried, s.entries[i].Instance)
	}
}

// without returns s without some instances.
func (s *snapshot) without(instances []string) *snapshot {
	if len(instances) == 0 {
		return s
	}
	rest := &snapshot{}
	for i, e := range s.entries {
		if !slices.Contains(instances, e.Instance) {
			rest.entries = append(rest.entries, e)
			rest.candidates = append(rest.candidates, s.candidates[i])
		}
	}
	return rest
}

// request and reply are those of JSON-RPC 2.0. jrpc2's own client turns what happens to the
// connection into errors of JSON-RPC, and here the difference counts.
type request struct {
	Version string `json:"jsonrpc"`
	ID      int    `json:"id"`
	Method  string `json:"method"`
	Params  any    `json:"params"`
}

type reply struct {
	Result json.RawMessage `json:"result"`
	Error  *jrpc2.Error    `json:"error"`
}

// ask sends one request to one node. The error is a *jrpc2.Error if the node has answered with it.
func (n *nodes) ask(ctx context.Context, address, method string, args any) (json.RawMessage,
	error) {
	body, err := json.Marshal(request{"2.0", 1, method, args})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := n.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", answer.Status)
	}
	var got reply
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxReply))
	if err == nil {
		err = json.Unmarshal(body, &got)
	}
	switch {
	case err != nil:
		return nil, err
	case got.Error != nil:
		return nil, got.Error
	}
	return got.Result, nil
}
