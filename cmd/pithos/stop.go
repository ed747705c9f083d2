package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/daemon"
)

func newStop(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	return d.targets(&cobra.Command{
		Use:   "stop APP | APP/PROCESS ...",
		Short: "Stop applications, or processes of them",
		Long: `Stops the processes of applications in the reverse order of their start, each within
its window, and returns when nothing of them is left. Of APP/PROCESS only that process is stopped,
and the application stays; "start APP/PROCESS" starts it again.`,
		Example: `  pithos stop shop
  pithos stop shop/api shop/web`,
		Args: cobra.MinimumNArgs(1),
	}, "stopped", (*daemon.Client).Stop)
}

// targets completes a command that does something to targets and has no result.
func (d *daemonFlag) targets(cmd *cobra.Command, past string,
	do func(*daemon.Client, context.Context, ...string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return d.ask(func(ctx context.Context, c *daemon.Client) error {
			if err := do(c, ctx, args...); err != nil {
				return err
			}
			return d.print(cmd.OutOrStdout(), done{past, args}, "%s %s\n", past,
				strings.Join(args, " "))
		})
	}
	d.registerJSON(cmd)
	return cmd
}
