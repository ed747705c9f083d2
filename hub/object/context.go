package object

import (
	"context"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

// callContext is the context of a call. That of a request costs allocations, which most methods do
// not need: they never look at it. So it is made when somebody does. After the call it is canceled,
// and refers to the request, which is another call's by then, no longer.
type callContext struct {
	mu   sync.Mutex
	r    *hub.Request    // nil when the call is over; guarded by mu
	made context.Context // nil: nobody has looked yet; guarded by mu
}

func (c *callContext) real() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		if c.r != nil {
			c.made = c.r.Context()
		} else { // the call is over
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			c.made = ctx
		}
	}
	return c.made
}

// end is the end of the call.
func (c *callContext) end() {
	c.mu.Lock()
	c.r = nil
	c.mu.Unlock()
}

func (c *callContext) Deadline() (time.Time, bool) { return c.real().Deadline() }

func (c *callContext) Done() <-chan struct{} { return c.real().Done() }

func (c *callContext) Err() error { return c.real().Err() }

func (c *callContext) Value(key any) any { return c.real().Value(key) }
