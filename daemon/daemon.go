// Package daemon keeps applications running in the background, and lets commands ask for them.
//
//	pithos start, ps, ... -- Client --- private Unix socket, package transport --- Server
//	                                                                                  |
//	                              one app.App, with its supervisor and hub, for each application
//
// A call is a method's name and JSON both ways: the types in protocol.go. Whoever may connect to
// the socket (its user, and root) may do everything that the user could.
//
// # State
//
// What the daemon has to remember beyond its life is in one folder: the logs of its applications,
// and while it runs a file that says so. A daemon that finds that file at its start knows that the
// last one was killed; what that left (sockets without a listener) is removed, and the first
// command is told. Processes are not left: the wardens of package supervisor see to that.
//
// The package does not read process files: commands do, in their own environment, and send the
// resolved form. It does not run at boot; systemd or cron may start it.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/app"
	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/supervisor"
	"github.com/pithos-ipc/pithos/transport"
)

// Options are what a Server needs.
type Options struct {
	// App are the options of every application; Env and LogFolder are set for each.
	App app.Options
	// Check looks whether an application can start, before anything of it does; nil: it can.
	Check func(ctx context.Context, f *procfile.File, socket string) error
	// Folder is where the state is; it is made where it is missing.
	Folder string
	Logger *slog.Logger
}

// A Server is the daemon. Its methods may be called from any goroutine.
type Server struct {
	o        Options
	started  time.Time
	listener *transport.Listener
	pool     *transport.Pool
	exit     chan struct{} // closed when a command asks for the end

	mu      sync.Mutex
	apps    []*entry // in the order of their starts; guarded by mu
	closing bool     // guarded by mu
	notice  string   // for the first command; guarded by mu
}

// An entry is one application that was started.
type entry struct {
	app     *app.App
	started time.Time
	stop    context.CancelFunc
	ended   chan struct{} // closed when nothing of it is left
	err     error         // what could not be ended or written; valid once ended is closed

	registry string // stands in for the file's, if it is not empty; guarded by Server.mu
}

// Listen starts a daemon at address. transport.ErrInUse says that there is one already.
func Listen(address string, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, err
	}
	s := &Server{o: o, started: time.Now(), exit: make(chan struct{}),
		pool: transport.NewPool(64, 1024)}
	never := time.Duration(0)
	l, err := transport.Listen(address, transport.Options{Handler: s.mux(), BusyPoll: &never,
		Authorize: transport.SameUser})
	if err != nil {
		s.pool.Close()
		return nil, err
	}
	s.listener = l
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notice = s.clean()
	if s.notice != "" {
		o.Logger.Warn(s.notice)
	}
	s.save()
	return s, nil
}

// Exit is closed when a command has asked the daemon to end; Close is the caller's then.
func (s *Server) Exit() <-chan struct{} { return s.exit }

// Kill ends everything that runs at once. Close waits for it as usual.
func (s *Server) Kill() {
	for _, e := range s.entries() {
		e.app.Supervisor().Kill()
	}
}

// Close stops all applications, the last one first, and ends the daemon. It returns when nothing of
// them is left.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	err := errors.Join(s.stopAll(), s.forget()) // before the next one may listen
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var dropped *transport.DroppedError // a client that has not taken its reply
	if e := s.listener.Close(ctx); !errors.As(e, &dropped) {
		err = errors.Join(err, e)
	}
	s.pool.Close()
	return err
}

func (s *Server) stopAll() error {
	var errs []error
	for _, e := range slices.Backward(s.entries()) {
		e.stop()
		<-e.ended
		errs = append(errs, e.err)
		s.remove(e)
	}
	return errors.Join(errs...)
}

func (s *Server) entries() []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.apps)
}

func (s *Server) remove(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps = slices.DeleteFunc(s.apps, func(other *entry) bool { return other == e })
	s.save()
}

// find returns the application of that name, or an error that names those there are.
func (s *Server) find(name string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, e := range s.apps {
		if e.name() == name {
			return e, nil
		}
		names = append(names, e.name())
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no application %q: none is running", name)
	}
	return nil, fmt.Errorf("no application %q: running are %s", name, strings.Join(names, ", "))
}

func (e *entry) name() string { return e.app.File().Name }

// hub is the socket of the hub that e runs; empty: it has none of its own.
func (s *Server) hub(e *entry) string {
	f := e.app.File()
	if !f.Hub.Run {
		return ""
	}
	return app.Socket(f, s.o.App)
}

// add makes an application of a file and lets it run.
func (s *Server) add(ctx context.Context, f *procfile.File, req startRequest) (*entry,
	error) {
	o := s.appOptions(f.Name, req.Env)
	if err := s.mayRun(f.Name); err != nil {
		return nil, err
	}
	if s.o.Check != nil {
		if err := s.o.Check(ctx, f, app.Socket(f, o)); err != nil {
			return nil, err
		}
	}
	a, err := app.New(f, o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.LogFolder, 0o700); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayRunLocked(f.Name); err != nil { // somebody else was faster
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	e := &entry{app: a, started: time.Now(), stop: stop, ended: make(chan struct{}),
		registry: req.Registry}
	s.apps = append(s.apps, e)
	s.save()
	go func() { // waited for by ended
		e.err = a.Run(run)
		close(e.ended)
	}()
	s.o.Logger.Info("started", "app", f.Name, "file", f.Path)
	return e, nil
}

// mayRun says why an application of that name cannot be added, if it cannot.
func (s *Server) mayRun(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mayRunLocked(name)
}

func (s *Server) mayRunLocked(name string) error {
	for _, e := range s.apps {
		if e.name() == name {
			return fmt.Errorf("application %q runs already, since %s; reload takes over a "+
				"changed file", name, e.started.Format(time.DateTime))
		}
	}
	if s.closing {
		return errors.New("the daemon is ending")
	}
	return nil
}

// LogFolder is where the logs of an application are, within the folder of the state.
func LogFolder(state, application string) string {
	return filepath.Join(state, "log", application)
}

func (s *Server) appOptions(name string, env []string) app.Options {
	o := s.o.App
	o.Env = env
	o.LogFolder = LogFolder(s.o.Folder, name)
	return o
}

// remnant is how long what a killed daemon has left may take to go.
const remnant = 2 * time.Second

// statusOf returns what there is to know of e.
func (s *Server) statusOf(ctx context.Context, e *entry) (App, error) {
	f := e.app.File()
	a := App{Name: f.Name, File: f.Path, Started: e.started, Hub: s.hub(e)}
	procs, err := e.app.Supervisor().Snapshot(ctx)
	if err != nil {
		return a, err
	}
	worst := supervisor.Ready
	for _, p := range procs {
		a.Processes = append(a.Processes, processOf(p))
		if !p.Wanted {
			continue
		}
		for _, i := range p.Instances {
			a.Total++
			if i.State == supervisor.Ready {
				a.Ready++
			}
			if graver(i.State, worst) {
				worst = i.State
			}
		}
	}
	a.State = worst.String()
	if a.Total == 0 {
		a.State = supervisor.Stopped.String()
	}
	return a, nil
}

// graver says whether a says more about an application than b does.
func graver(a, b supervisor.State) bool {
	order := [...]supervisor.State{supervisor.Ready, supervisor.Exited, supervisor.Stopped,
		supervisor.Pending, supervisor.Starting, supervisor.Stopping, supervisor.Backoff,
		supervisor.Failed, supervisor.CrashLoop}
	return slices.Index(order[:], a) > slices.Index(order[:], b)
}
