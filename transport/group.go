package transport

import (
	"runtime"
	"sync/atomic"
)

// DefaultGroupMemory is the memory budget of a Group, in bytes.
const DefaultGroupMemory = 4 << 30

// Group is what connections share: a few loops, and a budget of memory for everything that they
// hold for their peers. One Group for a whole process bounds the process.
type Group struct {
	memory int64        // budget in bytes; immutable
	held   atomic.Int64 // bytes held by the connections; partner: charge
	lanes  atomic.Int64 // bytes of the lanes that listeners have made
	loops  loops
	pools  pools
	others portableConns // those that no loop drives
}

// NewGroup starts a Group. loops 0 means half of GOMAXPROCS, at least 1; memory 0 means
// DefaultGroupMemory. The portable loop has no use for loops.
func NewGroup(loops int, memory int64) (*Group, error) {
	if loops <= 0 {
		loops = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if memory <= 0 {
		memory = DefaultGroupMemory
	}
	g := &Group{memory: memory}
	if err := g.loops.start(loops); err != nil {
		return nil, err
	}
	return g, nil
}

// Held is the number of bytes that the connections of the group hold now.
func (g *Group) Held() int64 { return g.held.Load() }

// Close ends every connection that is left and stops the loops; it waits until nothing runs.
func (g *Group) Close() error {
	g.others.close()
	return g.loops.stop()
}

// charge adds n bytes to what is held; over the budget nothing is added and the error says so.
func (g *Group) charge(n int64) error {
	if v := g.held.Add(n); n > 0 && v > g.memory {
		g.held.Add(-n)
		return &LimitError{What: "bytes held by the group", Value: v, Limit: g.memory}
	}
	return nil
}

// request returns a zero Request.
func (g *Group) request() *Request {
	if r, ok := g.pools.requests.Get().(*Request); ok {
		return r
	}
	return new(Request)
}
