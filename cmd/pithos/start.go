package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/console"
	"github.com/pithos-ipc/pithos/daemon"
	"github.com/pithos-ipc/pithos/procfile"
)

func newStart(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	var registry string
	cmd := &cobra.Command{
		Use:   "start [FILE | APP | APP/PROCESS]...",
		Short: "Run applications in the background",
		Long: `Starts the application of a process file (pithos.yaml here, in the folder FILE, or
the file FILE itself) in the background, and waits until it is ready. The daemon that keeps it
running is started when there is none. The processes have the environment of this command.
APP/PROCESS, a process of an application that runs, is started again after it was stopped or has
failed; APP does so with all of them. --socket chooses the hub's socket where the file does not.`,
		Example: `  pithos start
  pithos start examples/tryrpc
  pithos start shop/api`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			r := starter{daemonFlag: d, registry: registry, out: cmd.OutOrStdout(),
				status: console.New(cmd.ErrOrStderr(), (&devFlags{}).look(cmd.ErrOrStderr()))}
			return r.run(args)
		},
	}
	d.registerJSON(cmd)
	registerRegistry(cmd, &registry)
	return cmd
}

// starter starts applications.
type starter struct {
	*daemonFlag
	registry string
	out      io.Writer
	status   *console.Console
}

// run sorts the arguments into files and targets; each file is read before anything starts.
func (r *starter) run(args []string) error {
	var files []*procfile.File
	var targets []string
	for _, arg := range args {
		if _, err := os.Stat(arg); err != nil && isTarget(arg) && r.runs(arg) {
			targets = append(targets, arg)
			continue
		}
		f, err := loadFile(arg, r.registry)
		if err != nil {
			return err
		}
		if err := r.socket.place(f); err != nil {
			return err
		}
		files = append(files, f)
	}
	r.daemonFlag = &daemonFlag{path: r.path, json: r.json, socket: &socketFlag{}}
	if err := r.ensure(); err != nil {
		return err
	}
	return r.ask(func(ctx context.Context, c *daemon.Client) error {
		hello, err := c.Hello(ctx)
		if err != nil {
			return err
		}
		if hello.Notice != "" {
			r.status.Note("%s", hello.Notice)
		}
		var errs []error
		if len(targets) > 0 {
			err := c.Resume(ctx, targets...)
			if err == nil {
				err = r.print(r.out, done{"started", targets}, "started %s\n",
					strings.Join(targets, " "))
			}
			errs = append(errs, err)
		}
		for _, f := range files {
			errs = append(errs, r.start(ctx, c, f))
		}
		return errors.Join(errs...)
	})
}

// isTarget says whether arg could be the name of an application or APP/PROCESS.
func isTarget(arg string) bool {
	return !strings.HasPrefix(arg, ".") && !strings.HasPrefix(arg, "/") &&
		strings.Count(arg, "/") <= 1
}

// runs says whether a daemon is there that knows the application of a target.
func (r *starter) runs(target string) bool {
	found := false
	_ = (&daemonFlag{path: r.path, socket: &socketFlag{}}).ask(
		func(ctx context.Context, c *daemon.Client) error {
			name, _, _ := strings.Cut(target, "/")
			_, err := c.Status(ctx, name)
			found = err == nil
			return nil
		})
	return found
}

// ensure starts a daemon when there is none.
func (r *starter) ensure() error {
	address, _, err := r.address()
	if err != nil || daemon.Alive(address) {
		return err
	}
	return r.spawn(context.Background())
}

// start starts one application, and shows meanwhile how far that is.
func (r *starter) start(ctx context.Context, c *daemon.Client, f *procfile.File) error {
	begun := time.Now()
	shown, halt := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { // waited for below
		defer close(ended)
		for r.status.Live() && pause(shown, 100*time.Millisecond) {
			if apps, err := c.Status(shown, f.Name); err == nil && len(apps) == 1 {
				r.status.Status(fmt.Sprintf("starting %s: %d of %d ready (%s)", f.Name,
					apps[0].Ready, apps[0].Total, time.Since(begun).Truncate(time.Second)))
			}
		}
	}()
	a, err := c.Start(ctx, f, given(f, r.registry), os.Environ())
	halt()
	<-ended
	r.status.Status("")
	if err != nil {
		return err
	}
	return r.print(r.out, a, "%s is running: %d of %d ready in %s\n", a.Name, a.Ready, a.Total,
		time.Since(begun).Round(10*time.Millisecond))
}

// registerRegistry makes the flag that stands in for a process file's registry.
func registerRegistry(cmd *cobra.Command, registry *string) {
	cmd.Flags().StringVar(registry, "registry", "", "where names are kept, instead of what the "+
		"file says: embedded, or an etcd:// URL")
}

// loadFile reads a process file, with the registry of a flag instead of its own.
func loadFile(path, registry string) (*procfile.File, error) {
	f, err := procfile.Load(path)
	if err != nil || registry == "" {
		return f, err
	}
	if f.Registry, err = procfile.ParseRegistry(registry); err != nil {
		return nil, fmt.Errorf("--registry: %w", err)
	}
	return f, nil
}

// given is the registry that a flag has put into f; empty: it is the file's own.
func given(f *procfile.File, flag string) string {
	if flag == "" {
		return ""
	}
	return f.Registry
}
