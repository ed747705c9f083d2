package main

import (
	"context"
	"fmt"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/daemon"
)

func newScale(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	cmd := &cobra.Command{
		Use:   "scale APP/PROCESS NUMBER",
		Short: "Change how many instances of a process run",
		Long: `Changes how many instances of a process run, a number of 1 or more, or auto for
one for each processor that may be used, and waits until the new ones are ready and the others
gone. It holds until the application is started anew, or reloaded with another number in its
process file.`,
		Example: `  pithos scale shop/api 4
  pithos scale shop/api auto`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[1])
			if args[1] == "auto" {
				n, err = runtime.GOMAXPROCS(0), nil
			}
			if err != nil || n < 1 {
				return fmt.Errorf("%q: want a number of 1 or more, or auto", args[1])
			}
			return d.ask(func(ctx context.Context, c *daemon.Client) error {
				if err := c.Scale(ctx, args[0], n); err != nil {
					return err
				}
				return d.print(cmd.OutOrStdout(), scaled{args[0], n}, "%s: %d\n", args[0], n)
			})
		},
	}
	d.registerJSON(cmd)
	return cmd
}

type scaled struct {
	Target string `json:"target"`
	Scale  int    `json:"scale"`
}
