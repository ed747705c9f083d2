package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/daemon"
)

func newList(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the applications that run in the background",
		Long: `Shows the applications of the daemon: how each of them does, how many of its
instances are ready, how long it has been running, and its process file. The state is that of the
instance that is worst off.`,
		Example: `  pithos list
  pithos list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.ask(func(ctx context.Context, c *daemon.Client) error {
				apps, err := c.Status(ctx)
				if err != nil {
					return err
				}
				if d.json {
					for i := range apps {
						apps[i].Processes = nil
					}
					return d.print(cmd.OutOrStdout(), apps, "")
				}
				return listApps(cmd.OutOrStdout(), apps, time.Now())
			})
		},
	}
	d.registerJSON(cmd)
	return cmd
}

func listApps(w io.Writer, apps []daemon.App, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "APP\tSTATE\tREADY\tUPTIME\tFILE")
	for _, a := range apps {
		fmt.Fprintf(t, "%s\t%s\t%d/%d\t%s\t%s\n", a.Name, a.State, a.Ready, a.Total,
			uptime(a.Started, now), a.File)
	}
	return t.Flush()
}

// uptime is the time since t, in its two largest units.
func uptime(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := max(0, now.Sub(t))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// memory is a number of bytes as people read it.
func memory(n int64) string {
	if n <= 0 {
		return "-"
	}
	return humanize.IBytes(uint64(n))
}
