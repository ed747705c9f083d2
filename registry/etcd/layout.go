package etcd

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/pithos-ipc/pithos/registry"
)

// value is what a key holds.
type value struct {
	Address  string            `json:"address"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// folder returns what all keys of a service begin with.
func (r *Registry) folder(service string) string { return r.options.Prefix + "/" + service + "/" }

func (r *Registry) key(e registry.Entry) string { return r.folder(e.Service) + e.Instance }

// encode returns the value of an entry.
func encode(e registry.Entry) (string, error) {
	text, err := json.Marshal(value{e.Address, e.Metadata})
	return string(text), err
}

// decode returns the entry of a key in the folder of a service.
func (r *Registry) decode(service string, kv *mvccpb.KeyValue) (registry.Entry, error) {
	instance := strings.TrimPrefix(string(kv.Key), r.folder(service))
	var v value
	if err := json.Unmarshal(kv.Value, &v); err != nil {
		return registry.Entry{}, fmt.Errorf("value: %w", err)
	}
	e := registry.Entry{Service: service, Instance: instance, Address: v.Address,
		Metadata: v.Metadata}
	if err := registry.CheckName("instance", instance); err != nil {
		return registry.Entry{}, err
	}
	return e, e.CheckPlace()
}

// collect adds the entries of keys to a map by instance. Bad ones are skipped.
func (r *Registry) collect(into map[string]registry.Entry, service string,
	kvs ...*mvccpb.KeyValue) {
	for _, kv := range kvs {
		e, err := r.decode(service, kv)
		if err != nil {
			r.skip(string(kv.Key), err)
			delete(into, strings.TrimPrefix(string(kv.Key), r.folder(service)))
			continue
		}
		into[e.Instance] = e
	}
}

// maxSkipped is how many bad keys are remembered, so that each is logged once.
const maxSkipped = 1000

func (r *Registry) skip(key string, err error) {
	r.mu.Lock()
	known := r.skipped[key]
	if len(r.skipped) < maxSkipped {
		r.skipped[key] = true
	}
	r.mu.Unlock()
	if !known {
		r.log.Warn("skipped a key that is no entry", "key", key, "error", err)
	}
}
