package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/hub"
)

// sender is what send is asked to do.
type sender struct {
	to        addressee
	action    string
	all       bool
	broadcast bool
	timeout   time.Duration
}

func newSend(s *socketFlag) *cobra.Command {
	var k sender
	cmd := &cobra.Command{
		Use:   "send object.method [-- argument...]",
		Short: "Send a message to an object, or an event to a process, and wait for nothing",
		Long: `Sends what call would send, as a oneway: nobody replies, and nobody says whether it
was carried out. One of those who are selected gets it, or with --all each of them. Where
nobody is selected the error says so.

With --event it is no method that is called: the processes that are selected get an event of
that name, which Node clients emit as a message; the one argument, any JSON or else a string, is the
data of that message. With --broadcast every peer of the hub gets it.`,
		Example: `  pithos send counter.add -- 5
  pithos send cache.flush --all
  pithos send --event reload --selector appName=shop -- '{"force":true}'
  pithos send --event shutdown --broadcast`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := k.parse(cmd, args); err != nil {
				return err
			}
			return atHub(cmd, s, k.timeout, func(ctx context.Context, c *hub.Client) error {
				return errors.Join(k.run(ctx, c), k.leave(c))
			})
		},
	}
	k.to.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&k.action, "event", "", "send an event of this name, call no method")
	flags.BoolVar(&k.all, "all", false, "to everybody who is selected")
	flags.BoolVar(&k.broadcast, "broadcast", false, "to every peer of the hub; with --event")
	registerTimeout(cmd, &k.timeout)
	return cmd
}

// parse reads the command line.
func (k *sender) parse(cmd *cobra.Command, args []string) (err error) {
	if k.action == "" {
		if k.broadcast {
			return errors.New("--broadcast: only with --event")
		}
		if err := addressed(cmd, args); err != nil {
			return err
		}
		return k.to.parse(args)
	}
	if k.to.selector, err = parseSelector(k.to.flag); err != nil {
		return fmt.Errorf("--selector %w", err)
	}
	switch none := k.to.selector == (hub.Selector{}); {
	case k.broadcast && !none:
		return errors.New("--broadcast and --selector: only one can be meant")
	case !k.broadcast && none:
		return errors.New("--event: to whom? want --selector, or --broadcast")
	case len(args) > 1:
		return fmt.Errorf("--event %s: %d arguments, at most one", k.action, len(args))
	}
	if len(args) == 1 {
		k.to.payload = argument(args[0])
	}
	return nil
}

// run sends. Whether there is anybody is asked first, since nobody will say so later.
func (k *sender) run(ctx context.Context, c *hub.Client) error {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	m := hub.Message{Method: k.to.method, Action: k.action, Payload: k.to.payload}
	if k.broadcast {
		return c.Broadcast(ctx, m)
	}
	found, err := c.Lookup(ctx, k.to.selector)
	if err != nil {
		return fmt.Errorf("%s: %w", k.to.name(), err)
	}
	if len(found) == 0 {
		return k.to.nobody(ctx, c)
	}
	route := c.Route(k.to.selector)
	if k.all {
		return route.SendAll(ctx, m)
	}
	return route.Send(ctx, m)
}

// leave ends c once the hub has taken what was sent.
func (k *sender) leave(c *hub.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	defer cancel()
	return c.Close(ctx)
}
