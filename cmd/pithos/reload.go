package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/daemon"
)

func newReload(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	var registry string
	cmd := &cobra.Command{
		Use:   "reload APP | APP/PROCESS ...",
		Short: "Take over a changed process file, and replace processes without a gap",
		Long: `Reads the process file of an application again. What is gone from it is stopped,
what is new is started; then each instance is replaced: a new one is started, and when it is
ready the old one is stopped. So there are never fewer than the file says. Of APP/PROCESS only
that process is replaced. When a new instance fails the old ones stay. The hub is not replaced, and
stays where it is.
A registry that start was given by --registry stays, until reload is given another.
The processes have the environment of this command.`,
		Example: `  pithos reload shop
  pithos reload shop/api`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.ask(func(ctx context.Context, c *daemon.Client) error {
				for _, arg := range args {
					r, err := reload(ctx, c, arg, registry, cmd.ErrOrStderr())
					if err == nil {
						err = d.print(cmd.OutOrStdout(), r, "reloaded %s: added %s, changed %s, "+
							"removed %s, replaced %s\n", arg, orNone(r.Added), orNone(r.Changed),
							orNone(r.Removed), orNone(r.Replaced))
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	d.registerJSON(cmd)
	registerRegistry(cmd, &registry)
	return cmd
}

// reload reloads one target. Its file is where the application was started from. A hub that runs
// stays where it is, wherever the file wants it: what it was told at its start may be newer.
func reload(ctx context.Context, c *daemon.Client, target, registry string,
	notes io.Writer) (daemon.Reloaded, error) {
	name, process, one := strings.Cut(target, "/")
	apps, err := c.Status(ctx, target)
	if err != nil {
		return daemon.Reloaded{}, err
	}
	f, err := loadFile(apps[0].File, registry)
	if err != nil {
		return daemon.Reloaded{}, err
	}
	if f.Name != name {
		return daemon.Reloaded{}, fmt.Errorf("the application in %s is now called %q, and was %q; "+
			"stop it and start it again", f.Path, f.Name, name)
	}
	if at := apps[0].Hub; f.Hub.Run && at != "" {
		if f.Hub.Path != "" && f.Hub.Path != at {
			fmt.Fprintf(notes, "the hub of %s stays at %s until that is stopped; %s wants it at "+
				"%s\n", name, at, f.Path, f.Hub.Path)
		}
		f.Hub.Path = at
	}
	var only []string
	if one {
		only = []string{process}
	}
	return c.Reload(ctx, f, given(f, registry), os.Environ(), only)
}
