package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/daemon"
)

func newExit(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	cmd := &cobra.Command{
		Use:   "exit",
		Short: "Stop all applications, and the daemon",
		Long: `Stops all applications as stop does, the one that was started last first, and then
the daemon, and returns when nothing is left.`,
		Example: `  pithos exit
  pithos exit --daemon /run/shop/daemon.sock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.ask(func(ctx context.Context, c *daemon.Client) error {
				if err := c.Exit(ctx); err != nil {
					return err
				}
				return d.print(cmd.OutOrStdout(), done{Done: "exited"}, "the daemon has ended\n")
			})
		},
	}
	d.registerJSON(cmd)
	return cmd
}
