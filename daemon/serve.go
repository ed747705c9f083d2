package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/supervisor"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// mux serves the methods, on the pool: they wait for processes.
func (s *Server) mux() *transport.Mux {
	var mux transport.Mux
	handle(s, &mux, methodHello, s.hello)
	handle(s, &mux, methodStart, s.start)
	handle(s, &mux, methodReload, s.reload)
	handle(s, &mux, methodStop, s.stop)
	handle(s, &mux, methodRestart, s.restart)
	handle(s, &mux, methodResume, s.resume)
	handle(s, &mux, methodScale, s.scale)
	handle(s, &mux, methodStatus, s.status)
	mux.HandleFunc(methodExit, s.leave)
	return &mux
}

// handle serves a method by a function of JSON to JSON.
func handle[In, Out any](s *Server, mux *transport.Mux, method string,
	f func(ctx context.Context, in In) (Out, error)) {
	mux.Handle(method, s.pool.Handler(transport.HandlerFunc(func(r *transport.Request) {
		var in In
		if err := json.Unmarshal(r.Body(), &in); err != nil {
			_ = r.Fail(wire.CodeInvalid, fmt.Sprintf("daemon: %s: %v", method, err))
			return
		}
		out, err := f(r.Context(), in)
		var body []byte
		if err == nil {
			body, err = json.Marshal(out)
		}
		if err != nil {
			_ = r.Fail(wire.CodeFailed, err.Error())
			return
		}
		if err := r.Reply(body); err != nil {
			s.o.Logger.Debug("reply", "method", method, "error", err)
		}
	})))
}

type nothing struct{}

func (s *Server) hello(context.Context, nothing) (Hello, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := Hello{PID: os.Getpid(), Started: s.started, Folder: s.o.Folder, Notice: s.notice}
	s.notice = ""
	return h, nil
}

// leave asks the owner of the server to end it. The reply comes when all is stopped, by the end of
// the connection: until then the caller waits.
func (s *Server) leave(r *transport.Request) {
	s.mu.Lock()
	first := !s.closing
	s.closing = true
	s.mu.Unlock()
	_ = r.Reply([]byte("{}"))
	if first {
		close(s.exit)
	}
}

// parse reads the resolved form of a file.
func parse(req startRequest) (*procfile.File, error) {
	none := func(string) (string, bool) { return "", false }
	f, err := procfile.Parse(req.File, []byte(req.Text), none)
	if err == nil && req.Registry != "" {
		f.Registry = req.Registry
	}
	return f, err
}

// start lets an application run and waits until it is ready.
func (s *Server) start(ctx context.Context, req startRequest) (App, error) {
	f, err := parse(req)
	if err != nil {
		return App{}, err
	}
	e, err := s.add(ctx, f, req)
	if err != nil {
		return App{}, err
	}
	err = e.app.Supervisor().Start(ctx)
	if errors.Is(err, supervisor.ErrClosed) { // it could not even run
		<-e.ended
		s.remove(e)
		return App{}, errors.Join(fmt.Errorf("%s ended while it was started", f.Name), e.err)
	}
	if err != nil {
		return App{}, fmt.Errorf("%w\nthe rest of %s runs on: see pithos ps %s, pithos log %s", err,
			f.Name, f.Name, f.Name)
	}
	return s.statusOf(ctx, e)
}

// reload takes a changed file over and replaces instances one after the other.
func (s *Server) reload(ctx context.Context, req startRequest) (Reloaded, error) {
	f, err := parse(req)
	if err != nil {
		return Reloaded{}, err
	}
	e, err := s.find(f.Name)
	if err != nil {
		return Reloaded{}, err
	}
	registry := s.registry(e, req)
	if registry != "" {
		f.Registry = registry
	}
	c, err := e.app.Update(ctx, f, req.Env)
	if err != nil {
		return Reloaded{}, err
	}
	s.mu.Lock()
	e.registry = registry
	s.save()
	s.mu.Unlock()
	out := Reloaded{Added: c.Added, Changed: c.Changed, Removed: c.Removed}
	sup := e.app.Supervisor()
	if len(c.Added) > 0 {
		if err := sup.Start(ctx, c.Added...); err != nil {
			return out, err
		}
	}
	for _, name := range e.app.Names() {
		wanted := len(req.Targets) == 0 || slices.Contains(req.Targets, name)
		if name == procfile.HubName || !wanted || slices.Contains(c.Added, name) ||
			!e.runs(ctx, name) {
			continue
		}
		if err := sup.Reload(ctx, name); err != nil {
			return out, err
		}
		out.Replaced = append(out.Replaced, name)
	}
	return out, nil
}

// registry is what stands in for the file's registry in a reload.
func (s *Server) registry(e *entry, req startRequest) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(req.Registry, e.registry)
}

// runs says whether a process shall run: one that was stopped is not reloaded.
func (e *entry) runs(ctx context.Context, name string) bool {
	procs, err := e.app.Supervisor().Snapshot(ctx)
	if err != nil {
		return false
	}
	for _, p := range procs {
		if p.Name == name {
			return p.Wanted
		}
	}
	return false
}

// A selection is an application and some of its processes; none: all of it.
type selection struct {
	entry *entry
	names []string
}

// resolve finds what targets stand for. Of a fault nothing is done.
func (s *Server) resolve(list []string) ([]selection, error) {
	var found []selection
	var errs []error
	for _, t := range list {
		name, process, one := strings.Cut(t, "/")
		e, err := s.find(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var names []string
		if one {
			if all := e.app.Names(); !slices.Contains(all, process) {
				errs = append(errs, fmt.Errorf("application %s has no process %q; it has %s", name,
					process, strings.Join(all, ", ")))
				continue
			}
			names = []string{process}
		}
		i := slices.IndexFunc(found, func(f selection) bool { return f.entry == e })
		switch {
		case i < 0:
			found = append(found, selection{e, names})
		case names == nil || found[i].names == nil:
			found[i].names = nil
		default:
			found[i].names = append(found[i].names, process)
		}
	}
	return found, errors.Join(errs...)
}

// each does something to all that targets stand for, and joins what went wrong.
func (s *Server) each(req targets, do func(selection) error) (nothing, error) {
	all, err := s.resolve(req.Targets)
	if err != nil {
		return nothing{}, err
	}
	var errs []error
	for _, t := range all {
		errs = append(errs, do(t))
	}
	return nothing{}, errors.Join(errs...)
}

func (s *Server) stop(ctx context.Context, req targets) (nothing, error) {
	return s.each(req, func(t selection) error {
		if t.names != nil {
			return t.entry.app.Supervisor().Stop(ctx, t.names...)
		}
		return s.end(ctx, t.entry)
	})
}

// end stops an application, and forgets it when nothing of it is left, which is later if ctx ends
// before.
func (s *Server) end(ctx context.Context, e *entry) error {
	e.stop()
	select {
	case <-e.ended:
		s.remove(e)
		s.o.Logger.Info("stopped", "app", e.name())
		return e.err
	case <-ctx.Done():
		go func() { // ends with the application
			<-e.ended
			s.remove(e)
		}()
		return ctx.Err()
	}
}

func (s *Server) restart(ctx context.Context, req targets) (nothing, error) {
	return s.each(req, func(t selection) error {
		names := t.names
		if names == nil { // all but the hub, without which nobody could call anybody
			names = slices.DeleteFunc(t.entry.app.Names(), func(n string) bool {
				return n == procfile.HubName
			})
		}
		return t.entry.app.Supervisor().Restart(ctx, names...)
	})
}

func (s *Server) resume(ctx context.Context, req targets) (nothing, error) {
	return s.each(req, func(t selection) error {
		return t.entry.app.Supervisor().Start(ctx, t.names...)
	})
}

func (s *Server) scale(ctx context.Context, req scaleRequest) (nothing, error) {
	all, err := s.resolve([]string{req.Target})
	if err != nil {
		return nothing{}, err
	}
	if all[0].names == nil {
		return nothing{}, fmt.Errorf("%q: want application/process", req.Target)
	}
	if all[0].names[0] == procfile.HubName {
		return nothing{}, errors.New("there is one hub")
	}
	return nothing{}, all[0].entry.app.Supervisor().Scale(ctx, all[0].names[0], req.Scale)
}

// status returns the applications, or those in targets; of a target with a process only that.
func (s *Server) status(ctx context.Context, req targets) ([]App, error) {
	var all []selection
	if len(req.Targets) == 0 {
		for _, e := range s.entries() {
			all = append(all, selection{entry: e})
		}
	} else {
		var err error
		if all, err = s.resolve(req.Targets); err != nil {
			return nil, err
		}
	}
	apps := []App{}
	for _, t := range all {
		a, err := s.statusOf(ctx, t.entry)
		if err != nil {
			return nil, err
		}
		if t.names != nil {
			a.Processes = slices.DeleteFunc(a.Processes, func(p Process) bool {
				return !slices.Contains(t.names, p.Name)
			})
		}
		apps = append(apps, a)
	}
	return apps, nil
}
