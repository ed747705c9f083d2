// Package app runs one application: it makes specs for package supervisor of a process file, puts
// the hub in front of them, and carries changes of the file over to what runs.
//
//	procfile.File --Specs--> [hub] <- process <- process ...   supervisor.Supervisor
//	      |                                                          ^
//	      '-- changed --Update--> added, changed, removed -----------'
//
// Every process depends on the hub, if the application has one, and is told by PITHOS_SERVICES
// which services it runs and where hub and registry are; PITHOS_SOCKET has the hub's socket, for
// those who call the hub without package service.
//
// The package does not read the file, does not print, and knows no signals: cmd/pithos and package
// daemon do. It imports nothing of the kernel: how to ask a hub is in Options.
package app

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/supervisor"
)

// Options are what an application needs beside its file.
type Options struct {
	// Hub is the command that runs a hub, with the arguments that come before its flags.
	Hub []string
	// Socket is the hub's socket where the file names none.
	Socket string
	// HubProbe asks whether a hub answers at a socket.
	HubProbe func(socket string) supervisor.Probe
	// ObjectProbe asks whether the instance that it is about has published an object of that name.
	ObjectProbe func(socket, name string) supervisor.Probe
	// Env is the environment of the processes, beside the supervisor's own.
	Env []string
	// LogFolder is where the logs go whose files are not named; empty: nowhere.
	LogFolder string
	// Sink gets all lines of log, see supervisor.Options.
	Sink func([]supervisor.Line) error
}

// An App is one application. All methods may be called from any goroutine.
type App struct {
	sup *supervisor.Supervisor

	updating sync.Mutex // held throughout Update, which waits for processes; before mu

	mu    sync.Mutex // what follows changes under both, and may be read under either
	o     Options
	file  *procfile.File
	specs []supervisor.Spec
}

// New makes an application of a file. It runs within Run.
func New(f *procfile.File, o Options) (*App, error) {
	specs, err := Specs(f, o)
	if err != nil {
		return nil, err
	}
	sup, err := supervisor.New(supervisor.Options{Sink: o.Sink}, specs...)
	if err != nil {
		return nil, err
	}
	return &App{o: o, sup: sup, file: f, specs: specs}, nil
}

// Run starts all and keeps it running until ctx is done. Then it stops all, and returns when
// nothing is left.
func (a *App) Run(ctx context.Context) error { return a.sup.Run(ctx) }

// Supervisor is what runs the processes.
func (a *App) Supervisor() *supervisor.Supervisor { return a.sup }

// File is the process file as it was applied last. It must not be changed.
func (a *App) File() *procfile.File {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file
}

// Names returns the names of the processes, that of the hub first.
func (a *App) Names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return namesOf(a.specs)
}

func namesOf(specs []supervisor.Spec) []string {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	return names
}

// Changes are the processes that differ between two files.
type Changes struct {
	Added, Changed, Removed []string
}

// None says whether nothing differs.
func (c Changes) None() bool { return len(c.Added)+len(c.Changed)+len(c.Removed) == 0 }

// Update carries a new file over: what is gone is stopped. What has changed runs on as it was until
// it is restarted or reloaded, and what is new has to be started, which is up to the caller. If
// something is wrong with f nothing changes. env is the new Options.Env; nil: as it was.
func (a *App) Update(ctx context.Context, f *procfile.File, env []string) (Changes, error) {
	a.updating.Lock()
	defer a.updating.Unlock()
	if f.Name != a.file.Name {
		return Changes{}, fmt.Errorf("the application is now called %q, and was %q; stop it and "+
			"start it again", f.Name, a.file.Name)
	}
	o := a.o
	if env != nil {
		o.Env = env
	}
	specs, err := Specs(f, o)
	if err != nil {
		return Changes{}, err
	}
	c := compare(a.file, f, a.specs, specs)
	if err := a.sup.Apply(ctx, specs...); err != nil {
		return Changes{}, err
	}
	a.mu.Lock()
	a.o, a.file, a.specs = o, f, specs
	a.mu.Unlock()
	return c, a.sup.Remove(ctx, c.Removed...)
}

// compare finds what differs. Probes are functions, and compared by what the file says of them.
func compare(was, is *procfile.File, before, after []supervisor.Spec) (c Changes) {
	for _, s := range after {
		i := slices.IndexFunc(before, func(old supervisor.Spec) bool { return old.Name == s.Name })
		if i < 0 {
			c.Added = append(c.Added, s.Name)
			continue
		}
		old := before[i]
		old.Ready.Probe, s.Ready.Probe = nil, nil
		if s.Name == procfile.HubName {
			old.Env = s.Env // it has no use for it
		}
		if !reflect.DeepEqual(old, s) || !sameReady(was.Process(s.Name), is.Process(s.Name)) {
			c.Changed = append(c.Changed, s.Name)
		}
	}
	for _, old := range before {
		if !slices.ContainsFunc(after, func(s supervisor.Spec) bool { return s.Name == old.Name }) {
			c.Removed = append(c.Removed, old.Name)
		}
	}
	return c
}

func sameReady(a, b *procfile.Process) bool {
	return a == nil || b == nil || reflect.DeepEqual(a.Ready, b.Ready)
}

// Wait waits until no process of the application runs, or will run by itself, but for the hub; or
// until ctx is done or Run has ended. It returns the exit code of the application: 0 if all ended
// with success, else that of the first process, in the order of start, that did not, and 1 if it
// never ran or was killed by a signal.
func (a *App) Wait(ctx context.Context) (code int, err error) {
	sub := a.sup.Subscribe(supervisor.Filter{Events: true})
	defer sub.Close()
	for {
		procs, err := a.sup.Snapshot(ctx)
		if err != nil {
			return 0, err
		}
		if code, over := verdict(procs); over {
			return code, nil
		}
		select {
		case _, open := <-sub.C():
			if !open {
				procs, err := a.sup.Snapshot(ctx)
				code, _ := verdict(procs)
				return code, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// verdict says whether all is over, and what the exit code is then.
func verdict(procs []supervisor.Process) (code int, over bool) {
	for _, p := range procs {
		if p.Name == procfile.HubName {
			continue
		}
		for _, i := range p.Instances {
			switch i.State {
			case supervisor.Exited, supervisor.Stopped:
			case supervisor.Failed:
				if code == 0 {
					code = codeOf(i.Exit)
				}
			default:
				return 0, false
			}
		}
		if p.Wanted && len(p.Instances) == 0 {
			return 0, false // not begun yet
		}
	}
	return code, true
}

func codeOf(e *supervisor.Exit) int {
	if e == nil || e.Code <= 0 {
		return 1
	}
	return e.Code
}
