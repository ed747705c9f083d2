package main

import (
	"context"
	"fmt"
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
that process is replaced. When a new instance fails the old ones stay. The hub is not replaced.
The processes have the environment of this command.`,
		Example: `  pithos reload shop
  pithos reload shop/api`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.ask(func(ctx context.Context, c *daemon.Client) error {
				for _, arg := range args {
					r, err := reload(ctx, c, arg, registry)
					if err != nil {
						return err
					}
					d.print(cmd.OutOrStdout(), r, "reloaded %s: added %s, changed %s, removed %s, "+
						"replaced %s\n", arg, orNone(r.Added), orNone(r.Changed), orNone(r.Removed),
						orNone(r.Replaced))
				}
				return nil
			})
		},
	}
	d.register(cmd)
	d.registerJSON(cmd)
	cmd.Flags().StringVar(&registry, "registry", "", "where names are kept, instead of what the "+
		"file says: embedded, or an etcd:// URL")
	return cmd
}

// reload reloads one target. Its file is where the application was started from.
func reload(ctx context.Context, c *daemon.Client, target, registry string) (daemon.Reloaded,
	error) {
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
	if f.Hub.Path == "" {
		f.Hub.Path = apps[0].Hub // chosen at the start
	}
	var only []string
	if one {
		only = []string{process}
	}
	return c.Reload(ctx, f, os.Environ(), only)
}
