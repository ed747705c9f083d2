package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pithos-ipc/pithos/app"
	"github.com/pithos-ipc/pithos/console"
	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/supervisor"
	"github.com/pithos-ipc/pithos/watch"
)

// devFlags are the flags of dev.
type devFlags struct {
	registry string
	noWatch  bool
	times    bool
	json     bool
	verbose  bool
}

func newDev(s *socketFlag) *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev [FILE]",
		Short: "Run an application in the foreground, with everything visible",
		Long: `Runs the application of a process file: pithos.yaml here, in the folder FILE, or
the file FILE itself. The hub comes first, then the processes in the order of their dependencies;
what they write comes in lines that begin with their names. Processes whose files change are
started again. --socket chooses the hub's socket where the file does not.

SIGINT (Ctrl-C), SIGTERM and SIGHUP (a terminal that is closed) stop everything in reverse order; a
second one kills what is left. A reader of its output that goes away stops everything, too.
When all processes have ended by themselves the application is over, and the exit code is that of
the first that failed, or 0.`,
		Example: `  pithos dev
  pithos dev examples/tryrpc
  pithos dev --registry etcd://127.0.0.1:2379 --no-watch shop.yaml
  pithos dev | grep api`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			outlivePipes()
			signals := make(chan os.Signal, 2)
			signal.Notify(signals, endings()...)
			defer signal.Stop(signals)
			d := dev{devFlags: f, socket: s, path: ".", signals: signals}
			if len(args) > 0 {
				d.path = args[0]
			}
			d.out = console.New(cmd.OutOrStdout(), f.look(cmd.OutOrStdout()))
			return d.run()
		},
	}
	flags := cmd.Flags()
	registerRegistry(cmd, &f.registry)
	flags.BoolVar(&f.noWatch, "no-watch", false, "restart nothing when files change")
	flags.BoolVarP(&f.times, "timestamps", "t", false, "begin each line with the time")
	flags.BoolVar(&f.json, "json", false, "print each line as a JSON object")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "print every change of a process's state")
	return cmd
}

// look is how the output looks: colours on a terminal, unless NO_COLOR is set or TERM is dumb.
func (f *devFlags) look(w io.Writer) console.Options {
	o := console.Options{Times: f.times, JSON: f.json, Events: f.verbose}
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || os.Getenv("TERM") == "dumb" {
		return o
	}
	o.Live, o.Color = true, os.Getenv("NO_COLOR") == ""
	o.Width = func() int {
		w, _, err := term.GetSize(int(file.Fd()))
		if err != nil {
			return 0
		}
		return w
	}
	return o
}

// dev is one run of an application in the foreground.
type dev struct {
	devFlags
	socket  *socketFlag
	path    string
	signals <-chan os.Signal
	out     *console.Console
	app     *app.App
	work    sync.WaitGroup // everything that ends after the application
}

func (d *dev) load() (*procfile.File, error) {
	f, err := loadFile(d.path, d.registry)
	if err != nil {
		return nil, err
	}
	return f, d.socket.place(f)
}

func (d *dev) run() error {
	f, err := d.load()
	if err != nil {
		return err
	}
	o, err := appOptions("")
	if err != nil {
		return err
	}
	if d.app, err = app.New(f, o); err != nil {
		return err
	}
	if err := hubFree(context.Background(), f, app.Socket(f, o)); err != nil {
		return err
	}
	return d.serve()
}

// serve runs the application until it is over or a signal comes.
func (d *dev) serve() error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	sup := d.app.Supervisor()
	sub := sup.Subscribe(supervisor.Filter{Events: true, Lines: true, Buffer: 1 << 14})
	d.work.Go(func() { d.show(sub) })
	ended := make(chan error, 1)
	go func() { ended <- d.app.Run(ctx) }() // waited for below
	d.out.Note("%s: %s", d.app.File().Name, strings.Join(d.app.Names(), ", "))

	over := make(chan int, 1)
	d.work.Go(func() {
		if code, err := d.app.Wait(ctx); err == nil {
			over <- code
		}
	})
	if !d.noWatch {
		d.work.Go(func() { d.watch(ctx) })
	}
	progress, halt := context.WithCancel(context.Background())
	d.work.Go(func() { d.progress(progress, ctx) })

	code, err := d.wait(ended, over, stop)
	stop()
	halt()
	d.work.Wait()
	d.out.Status("")
	if err == nil && code != 0 {
		return &exitError{code, fmt.Errorf("the application ended with exit code %d", code)}
	}
	return err
}

// wait waits for the end: by itself, by a signal, by two, or because nobody sees what goes on.
func (d *dev) wait(ended <-chan error, over <-chan int, stop func()) (code int, err error) {
	forced, blind, unseen := false, d.out.Failed(), error(nil)
	for signals := 0; ; {
		select {
		case code = <-over:
			stop()
		case <-blind:
			blind = nil
			if signals == 0 { // else who read it was ended by the same
				unseen = fmt.Errorf("what goes on cannot be shown: %w", d.out.Err())
			}
			stop()
		case s := <-d.signals:
			if s == syscall.SIGHUP && signals > 0 {
				continue // a shell passes on what the kernel sends as well
			}
			signals++
			if signals == 1 {
				d.out.Note("%s: stopping; once more kills what is left", s)
				stop()
				continue
			}
			forced = true
			d.app.Supervisor().Kill()
		case err := <-ended:
			select { // over may come at the same time
			case code = <-over:
			default:
			}
			if forced {
				return 0, &exitError{130, errors.Join(errors.New("forced to stop by a second "+
					"signal"), err)}
			}
			return code, errors.Join(unseen, err)
		}
	}
}

// show prints what happens until sub ends.
func (d *dev) show(sub *supervisor.Subscription) {
	for m := range sub.C() {
		if m.Missed > 0 {
			d.out.Note("%d lines came faster than they could be shown", m.Missed)
		}
		switch {
		case m.Line != nil:
			d.out.Line(*m.Line)
		case m.Event != nil:
			d.out.Event(*m.Event)
		}
	}
}

// progress keeps the status up to date, and says how long the start took and what a stop waits for,
// until ctx ends. The application ends with running.
func (d *dev) progress(ctx, running context.Context) {
	begun, started := time.Now(), false
	for tick := 50 * time.Millisecond; running.Err() == nil; pause(running, tick) {
		procs, err := d.app.Supervisor().Snapshot(ctx)
		if err != nil {
			return
		}
		d.out.Know(procs)
		text := console.Starting(procs, time.Now())
		d.out.Status(text)
		if text == "" && !started {
			d.out.Note("started in %s", time.Since(begun).Round(10*time.Millisecond))
			started, tick = true, time.Second
		}
		if started && !d.out.Live() {
			<-running.Done() // nobody sees what would be asked for
		}
	}
	for said := ""; ; pause(ctx, 100*time.Millisecond) {
		procs, err := d.app.Supervisor().Snapshot(ctx)
		if err != nil || ctx.Err() != nil {
			return
		}
		d.out.Status(console.Stopping(procs, time.Now()))
		if text := console.Waiting(procs); text != said && text != "" && !d.out.Live() {
			d.out.Note("stopping: waiting for %s", text)
			said = text
		}
	}
}

// watch restarts what has changed, until ctx ends.
func (d *dev) watch(ctx context.Context) {
	w, err := watch.New(d.rules(), func(err error) { d.out.Note("watch: %v", err) })
	if err != nil {
		d.out.Note("files are not watched: %v", err)
		return
	}
	defer w.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-w.C():
			if d.changed(ctx, c) {
				w.Set(d.rules())
			}
		}
	}
}

// fileRule is the rule of the process file itself.
const fileRule = procfile.FileName

// rules says what matters to which process.
func (d *dev) rules() []watch.Rule {
	f := d.app.File()
	rules := []watch.Rule{{Name: fileRule, Paths: []string{f.Path}}}
	for _, p := range f.Processes {
		if !p.Watch.On || !f.Runs(p) {
			continue
		}
		r := watch.Rule{Name: p.Name, Paths: p.Watch.Paths,
			Ignore: append([]string{filepath.Base(f.Path)}, p.Watch.Ignore...)}
		if len(r.Paths) == 0 {
			r.Paths, r.Sources = []string{p.Dir}, true
		}
		rules = append(rules, r)
	}
	return rules
}

// changed acts on a change. It says whether the process file was read anew.
func (d *dev) changed(ctx context.Context, c watch.Change) (again bool) {
	var names []string
	for _, name := range c.Names {
		if name == fileRule {
			again = d.again(ctx)
			continue
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		d.out.Note("%s changed: restarting %s", filepath.Base(c.Paths[0]),
			strings.Join(names, ", "))
		d.order(ctx, d.app.Supervisor().Restart, names)
	}
	return again
}

// again reads the process file anew and says whether it has changed.
func (d *dev) again(ctx context.Context) bool {
	f, err := d.load()
	if err != nil {
		d.out.Note("%v; everything runs on as it was", err)
		return false
	}
	c, err := d.app.Update(ctx, f, nil)
	if err != nil {
		d.out.Note("%s: %v", f.Path, err)
	}
	if c.None() {
		return false
	}
	d.out.Note("%s changed: added %s, changed %s, removed %s", filepath.Base(f.Path),
		orNone(c.Added), orNone(c.Changed), orNone(c.Removed))
	d.order(ctx, d.app.Supervisor().Restart, c.Changed)
	d.order(ctx, d.app.Supervisor().Start, c.Added)
	return true
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// order has the supervisor do something, and does not wait for it: what comes of it is shown.
func (d *dev) order(ctx context.Context, do func(context.Context, ...string) error,
	names []string) {
	if len(names) == 0 {
		return
	}
	d.work.Go(func() {
		err := do(ctx, names...)
		var failed *supervisor.FailedError // which has been shown
		if err != nil && ctx.Err() == nil && !errors.As(err, &failed) {
			d.out.Note("%v", err)
		}
	})
}
