package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/pithos-ipc/pithos/hub/object"
)

// Options are how a process runs its services. The zero value is what Main uses.
type Options struct {
	// Assignment of the process; nil: what the environment says, see Variable.
	Assignment *Assignment
	// Logger is what the loggers of the services are made from; nil: slog's default.
	Logger *slog.Logger
	// Force ends the process at once when it is closed: Run returns ErrForced, whatever still runs.
	Force <-chan struct{}
}

// Main runs the services of a process until it gets SIGTERM or SIGINT, and does not return. A
// second signal forces the end. The process exits with 0 when all services have started and stopped
// well, with 1 when one has not, which is written to standard error, and with 128 and the number of
// the signal when it was forced.
func Main(defs ...Definition) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	ctx, stop := context.WithCancel(context.Background())
	force := make(chan struct{})
	var second os.Signal
	go func() {
		<-signals
		stop()
		second = <-signals
		close(force)
	}()
	err := Run(ctx, Options{Force: force}, defs...)
	code := 0
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if errors.Is(err, ErrForced) {
		<-force
		code = 128 + int(second.(syscall.Signal))
	}
	os.Exit(code)
}

// Run runs services until ctx ends or one of them fails:
//
//	starting ---- all have started ----> running ---- ctx ends, Env.Fail ----> stopping ----> end
//	    |                                                                         ^
//	    +---- one has not, or ctx ends: stop those that have ---------------------+
//
// A service starts when all that it depends on have started, and stops when all that depend on it
// have stopped; independent ones do so side by side. A Start or Stop that takes longer than its
// window is left behind, and the others go on. Run returns what went wrong, joined; nil when
// nothing did, also when ctx ends before all have started.
func Run(ctx context.Context, o Options, defs ...Definition) error {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Assignment == nil {
		a, err := ParseAssignment(os.Getenv(Variable))
		if err != nil {
			return err
		}
		o.Assignment = &a
	}
	nodes, err := choose(defs, *o.Assignment)
	if err != nil {
		return err
	}
	p := &process{options: o, log: o.Logger, nodes: nodes, told: ctx,
		hub: newMembership(o.Assignment, o.Logger)}
	if len(nodes) == 0 {
		p.log.Warn("no services are assigned to this process")
	}
	return p.run()
}

// process runs services.
type process struct {
	options Options
	log     *slog.Logger
	nodes   []*node         // in the order of their definitions
	told    context.Context // ends when the process is to stop
	fail    context.CancelCauseFunc
	hub     *membership

	mu   sync.Mutex
	errs []error // guarded by mu
}

func (p *process) run() error {
	ctx, fail := context.WithCancelCause(p.told)
	defer fail(nil)
	p.fail = fail
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.start(ctx)
		if ctx.Err() == nil {
			p.live(ctx)
		}
		if err := context.Cause(ctx); p.told.Err() == nil {
			p.failed(err)
		}
		p.notify(stopping)
		p.stop()
	}()
	select {
	case <-over:
		p.mu.Lock()
		defer p.mu.Unlock()
		return errors.Join(p.errs...)
	case <-p.options.Force:
		fail(ErrForced)
		return ErrForced
	}
}

// failed notes what went wrong, once each.
func (p *process) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, known := range p.errs {
		if errors.Is(known, err) {
			return
		}
	}
	p.errs = append(p.errs, err)
}

// live tells that the process is ready, and that it is alive, until ctx ends.
func (p *process) live(ctx context.Context) {
	p.log.Info("ready", "services", len(p.nodes))
	p.notify(ready)
	every := watchdog()
	if every == 0 {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if p.healthy(ctx, every) {
			p.notify(alive)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// healthy asks every Checker, side by side.
func (p *process) healthy(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answers := make(chan error, len(p.nodes)) // a Check that ignores ctx is left behind
	for _, n := range p.nodes {
		go func() {
			c, ok := n.service.(Checker)
			if !ok {
				answers <- nil
				return
			}
			err := c.Check(ctx)
			if err != nil {
				p.log.Error("check", "service", n.Name, "error", err)
			}
			answers <- err
		}()
	}
	for range p.nodes {
		select {
		case err := <-answers:
			if err != nil {
				return false
			}
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// start starts all services, and returns when each has started or will not.
func (p *process) start(ctx context.Context) {
	var all sync.WaitGroup
	for _, n := range p.nodes {
		all.Go(func() {
			defer close(n.begun)
			for _, needed := range n.needs {
				<-needed.begun
				if needed.service == nil {
					return // which says why by itself
				}
			}
			if ctx.Err() != nil {
				return
			}
			if err := p.startOne(ctx, n); err != nil {
				p.log.Error("start", "service", n.Name, "error", err)
				p.fail(err)
			}
		})
	}
	all.Wait()
}

func (p *process) startOne(ctx context.Context, n *node) error {
	begin := time.Now()
	late := fmt.Errorf("service: %s has not started within %v", n.Name, n.StartWithin)
	ctx, cancel := context.WithTimeoutCause(ctx, n.StartWithin, late)
	defer cancel()
	env := &Env{
		Name: n.Name, Log: p.log.With("service", n.Name), Assignment: *p.options.Assignment,
		config: n.assigned.Config, dependencies: make(map[string]Service), fail: p.fail,
		hub: p.hub,
	}
	for _, needed := range n.needs {
		env.dependencies[needed.Name] = needed.service
	}
	done := make(chan error, 1)
	var s Service
	var o *object.Published
	go func() {
		var err error
		s, o, err = begun(ctx, n, env)
		done <- err
	}()
	over, err := finish(ctx, done, n.StopWithin)
	switch {
	case !over:
		err = fmt.Errorf("service: %s neither starts nor gives up", n.Name)
		p.failed(err) // also when the process is to stop
		return err
	case err != nil && errors.Is(context.Cause(ctx), late):
		return fmt.Errorf("%w: %w", late, err)
	case err != nil:
		return fmt.Errorf("service: start %s: %w", n.Name, err)
	}
	n.service, n.object = s, o
	p.log.Debug("started", "service", n.Name, "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

// begun makes, starts and publishes the service of n.
func begun(ctx context.Context, n *node, env *Env) (Service, *object.Published, error) {
	s, err := n.New(env)
	if err != nil {
		return nil, nil, err
	}
	if s == nil {
		return nil, nil, errors.New("no service came of New")
	}
	if err := s.Start(ctx); err != nil || n.Object == nil {
		return s, nil, err
	}
	c, err := env.Hub(ctx)
	if err == nil {
		var o *object.Published
		o, err = object.Publish(ctx, c, n.Name, n.Object(s), object.Options{Logger: env.Log})
		if err == nil {
			return s, o, nil
		}
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.StopWithin)
	defer cancel()
	return nil, nil, errors.Join(err, s.Stop(stopping))
}

// finish waits for what comes through done: until ctx ends, and then for as long as grace. It says
// whether anything came.
func finish(ctx context.Context, done <-chan error, grace time.Duration) (over bool, err error) {
	select {
	case err := <-done:
		return true, err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return true, err
	case <-timer.C:
		return false, nil
	}
}

// stop stops all services that have started, leaves the hub, and returns when that is over.
func (p *process) stop() {
	var all sync.WaitGroup
	for _, n := range p.nodes {
		all.Go(func() {
			defer close(n.ended)
			for _, by := range n.neededBy {
				<-by.ended
			}
			if n.service != nil {
				p.stopOne(n)
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), StopWithin)
	defer cancel()
	if err := p.hub.leave(ctx); err != nil {
		p.failed(fmt.Errorf("service: leave the hub: %w", err))
	}
}

func (p *process) stopOne(n *node) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), n.StopWithin)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		var drained error
		if n.object != nil {
			drained = n.object.Close(ctx)
		}
		done <- errors.Join(drained, n.service.Stop(ctx))
	}()
	over, err := finish(ctx, done, 0)
	switch {
	case !over:
		err = fmt.Errorf("service: %s has not stopped within %v", n.Name, n.StopWithin)
	case err != nil:
		err = fmt.Errorf("service: stop %s: %w", n.Name, err)
	}
	if err != nil {
		p.log.Error("stop", "service", n.Name, "error", err)
		p.failed(err)
		return
	}
	p.log.Debug("stopped", "service", n.Name, "took", time.Since(begin).Round(time.Millisecond))
}
