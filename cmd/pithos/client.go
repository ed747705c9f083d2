package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/hub"
)

// registerTimeout makes the flag of those who ask the hub.
func registerTimeout(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, "timeout", 5*time.Second, "longest time to wait for the hub")
}

// atHub runs f with a client that is online at the hub under the verb's name, until a signal comes.
// The client comes within timeout.
func atHub(cmd *cobra.Command, s *socketFlag, timeout time.Duration,
	f func(context.Context, *hub.Client) error) error {
	if timeout <= 0 {
		return fmt.Errorf("--timeout %s: want more than 0", timeout)
	}
	return interruptible(cmd, func(ctx context.Context) error {
		c, err := join(ctx, s, cmd.Name(), timeout)
		if err != nil {
			return err
		}
		defer leave(c)
		return f(ctx, c)
	})
}

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
