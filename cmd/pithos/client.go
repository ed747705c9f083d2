package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

// join comes online at the hub for a verb, within timeout.
func join(ctx context.Context, s *socketFlag, verb string, timeout time.Duration) (*hub.Client,
	error) {
	address, err := s.address()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := hub.Join(ctx, address, hub.JoinOptions{
		Location: hub.Location{AppName: "pithos", ProcessName: verb}})
	if err != nil {
		return nil, explainDial(address, timeout, err)
	}
	return c, nil
}

// leaveTime is how long a verb takes to leave the hub at most.
const leaveTime = time.Second

// leave ends c. What a verb wanted is done then, so that nothing is left to be said.
func leave(c *hub.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	_ = c.Close(ctx)
}

// looker asks the hub what it has to say about itself.
type looker func(context.Context) (*hub.Inspection, error)

// inspector is a looker that waits for timeout at most.
func inspector(c *hub.Client, o hub.InspectOptions, timeout time.Duration) looker {
	return func(ctx context.Context) (*hub.Inspection, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		in, err := c.Inspect(ctx, o)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("the hub has not answered within %s: %w", timeout, err)
		}
		return in, err
	}
}
