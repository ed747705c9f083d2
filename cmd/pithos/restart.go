package main

import (
	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/daemon"
)

func newRestart(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	return d.targets(&cobra.Command{
		Use:   "restart APP | APP/PROCESS ...",
		Short: "Stop processes, and start them again",
		Long: `Stops processes and starts them again as they were started before, and waits until
they are ready. Of APP that is all processes but the hub. For no gap, and to take over what has
changed in the process file, there is reload.`,
		Example: `  pithos restart shop
  pithos restart shop/api`,
		Args: cobra.MinimumNArgs(1),
	}, "restarted", (*daemon.Client).Restart)
}
