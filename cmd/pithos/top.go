package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/hub"
)

func newTop(s *socketFlag) *cobra.Command {
	var interval, timeout time.Duration
	var page string
	cmd := &cobra.Command{
		Use:   "top [methods|peers|objects|routes]",
		Short: "Watch the hub live on the terminal",
		Long: `Shows what ls lists, again and again, with rates: the methods that are called most,
calls in flight, how long they take; the peers and what waits for them.

Keys: m methods, p peers, o objects, r routes, tab the next of them; j and k or the arrows
scroll; + and - change the interval, space stops and goes on, q quits. A hub that goes away
is waited for.

Where standard output is not a terminal it looks twice, an interval apart, and prints the
table once.`,
		Example: `  pithos top
  pithos top peers --interval 500ms
  pithos top methods > now.txt`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			screen := topScreen{every: interval}
			if len(args) > 0 {
				page = args[0]
			}
			if err := screen.open(page); err != nil {
				return err
			}
			if interval < minWatch {
				return fmt.Errorf("--interval %s: want %s or more", interval, minWatch)
			}
			return atHub(cmd, s, timeout, func(ctx context.Context, c *hub.Client) error {
				return screen.run(ctx, cmd.OutOrStdout(), inspector(c, hub.InspectOptions{
					Peers: true, Objects: true, Routes: true, Methods: true}, timeout))
			})
		},
	}
	for _, p := range topPages {
		cmd.ValidArgs = append(cmd.ValidArgs, p.name)
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two looks")
	registerTimeout(cmd, &timeout)
	return cmd
}

// open chooses the page of that name; "" is the first.
func (s *topScreen) open(name string) error {
	var names []string
	for i, p := range topPages {
		if p.name == name || name == "" {
			s.page = i
			return nil
		}
		names = append(names, p.name)
	}
	return fmt.Errorf("no page %q: there are %s", name, strings.Join(names, ", "))
}

// run shows the screen on the terminal that out is, or prints it once.
func (s *topScreen) run(ctx context.Context, out io.Writer, look looker) error {
	t, err := openTerminal(out)
	if errors.Is(err, errNoTerminal) {
		return s.once(ctx, out, look)
	}
	if err != nil {
		return err
	}
	defer t.close()
	return s.live(ctx, t, look)
}

// once prints the screen without a terminal: as long and as wide as it is.
func (s *topScreen) once(ctx context.Context, out io.Writer, look looker) error {
	for i := range 2 {
		if i > 0 && !pause(ctx, s.every) {
			return ctx.Err()
		}
		in, err := look(ctx)
		if err != nil {
			return err
		}
		s.update(in, nil)
	}
	g := topPages[s.page].grid(s.view)
	lines := append(s.view.headline(), "")
	_, err := io.WriteString(out, strings.Join(append(lines, g.lines(0)...), "\n")+"\n")
	return err
}
