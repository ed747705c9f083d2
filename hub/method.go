package hub

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxMethods is how many methods of an object are counted by name; the rest shares one name.
const maxMethods = 256

// otherMethods is the name that methods over maxMethods share.
const otherMethods = "(others)"

// object is the statistics of those who publish one name: its methods.
type object struct {
	name    string
	methods atomic.Pointer[map[string]*method] // immutable maps
	first   atomic.Pointer[method]             // of them, for objects of which only one is called
	mu      sync.Mutex                         // for making a new one
}

// method is the statistics of one method.
type method struct {
	object, name  string
	calls, failed atomic.Uint64
	took          recorder // of those that have ended, which are not inside any more
}

// method returns the statistics of the method called name, which may be borrowed.
func (o *object) method(name []byte) *method {
	if o == nil {
		return nil
	}
	if m := o.first.Load(); m != nil && m.name == string(name) {
		return m
	}
	if all := o.methods.Load(); all != nil {
		if m := (*all)[string(name)]; m != nil {
			return m
		}
	}
	return o.add(string(name))
}

func (o *object) add(name string) *method {
	o.mu.Lock()
	defer o.mu.Unlock()
	more := make(map[string]*method)
	if all := o.methods.Load(); all != nil {
		for k, v := range *all {
			more[k] = v
		}
	}
	if len(more) >= maxMethods {
		name = otherMethods
	}
	if m := more[name]; m != nil {
		return m
	}
	m := &method{object: o.name, name: name}
	more[name] = m
	o.methods.Store(&more)
	o.first.CompareAndSwap(nil, m)
	return m
}

// names are those of the object and of m.
func (m *method) names() (object, name string) {
	if m == nil {
		return "", ""
	}
	return m.object, m.name
}

// begin counts a call; nil counts nothing.
func (m *method) begin() {
	if m != nil {
		m.calls.Add(1)
	}
}

// end counts the end of a call.
func (m *method) end(took time.Duration, failed bool) {
	if m == nil {
		return
	}
	if failed {
		m.failed.Add(1)
	}
	m.took.add(took)
}
