package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

var (
	// ErrClosed is what methods return when Run has ended.
	ErrClosed = errors.New("supervisor: ended")
	// ErrBusy is what Reload and Scale return while the process is being reloaded.
	ErrBusy = errors.New("supervisor: process is being reloaded")
	// ErrStopped is what waits for a process to be ready when somebody stops it.
	ErrStopped = errors.New("supervisor: process was stopped")

	errTwice = errors.New("supervisor: Run was called before")
)

// A FailedError says that an instance failed, or is in a crash loop.
type FailedError struct {
	Instance
	State  State
	Reason string
	Exit   *Exit // nil if it never ran
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("supervisor: %s#%d: %v: %s", e.Process, e.Index, e.State, e.Reason)
}

// Options are those of a Supervisor. The zero value works.
type Options struct {
	// Sink gets all lines of log, in batches, each of one process and in its order; of several
	// processes at a time. It owns them. When it returns an error it gets the same lines again,
	// later; while it is slow the LogPolicy of the process says what happens.
	Sink func([]Line) error
	// Cgroup is the folder of a cgroup v2 that may be written to, in which each instance gets one
	// of its own. By default it is that of the supervisor, if it is delegated; "none" is none.
	Cgroup string

	launcher launcher // instead of that of the system: for tests
}

// A Supervisor runs processes. Its methods may be called from any goroutine; those that wait do so
// until Run runs.
type Supervisor struct {
	opt     Options
	subs    subscriptions
	started atomic.Bool
	inbox   chan func() // run by the loop
	done    chan struct{}
	loop    *loop // of the goroutine of Run; of anybody when done is closed
}

// New returns a Supervisor of the processes in specs, or all that is wrong with them: a CycleError
// or an UnknownError among others.
func New(opt Options, specs ...Spec) (*Supervisor, error) {
	if err := checkWarden(); err != nil {
		return nil, err
	}
	s := &Supervisor{opt: opt, inbox: make(chan func(), 64), done: make(chan struct{})}
	s.loop = newLoop(s)
	if err := s.loop.apply(specs); err != nil {
		return nil, err
	}
	return s, nil
}

// Run starts all processes and keeps them running until ctx is done; then it stops them in reverse
// order, and returns when nothing of them is left and their logs are written. It returns what could
// not be ended or written, and nil if all was. It may be called once.
func (s *Supervisor) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return errTwice
	}
	defer s.subs.end()
	defer close(s.done)
	return s.loop.run(ctx)
}

// Start starts the processes of these names, of all if there are none, and those that they depend
// on, and waits until they are ready. Instances that have failed, or are in a crash loop, begin
// anew. If one fails, or comes into a crash loop, it returns a FailedError; the others go on.
func (s *Supervisor) Start(ctx context.Context, names ...string) error {
	return s.wait(ctx, func(l *loop) (check, error) {
		procs, err := l.find(names)
		if err != nil {
			return nil, err
		}
		procs = l.withNeeds(procs)
		l.want(procs)
		return func() (bool, error) { return l.allReady(procs) }, nil
	})
}

// Stop stops the processes of these names, of all if there are none, in reverse order, and waits
// until nothing of them is left. Those that depend on them, and are not named, run on.
func (s *Supervisor) Stop(ctx context.Context, names ...string) error {
	return s.wait(ctx, func(l *loop) (check, error) {
		procs, err := l.find(names)
		if err != nil {
			return nil, err
		}
		for _, p := range procs {
			p.want = false
		}
		return func() (bool, error) { return l.allGone(procs), nil }, nil
	})
}

// Restart stops the instances of these processes, all at once, starts them again, and waits as
// Start does. What was not running is started.
func (s *Supervisor) Restart(ctx context.Context, names ...string) error {
	return s.wait(ctx, func(l *loop) (check, error) {
		procs, err := l.find(names)
		if err != nil {
			return nil, err
		}
		for _, p := range procs {
			for _, i := range p.insts {
				i.again = i.state.running()
			}
		}
		l.want(l.withNeeds(procs))
		return func() (bool, error) { return l.allReady(procs) }, nil
	})
}

// Reload replaces the running instances of these processes one after the other: a new one is
// started, with the Spec of the last Apply; when it is ready the old one is stopped. So there are
// never fewer instances than Scale says. If a new one fails the old ones stay, and it returns a
// FailedError.
func (s *Supervisor) Reload(ctx context.Context, names ...string) error {
	return s.wait(ctx, func(l *loop) (check, error) {
		procs, err := l.find(names)
		if err != nil {
			return nil, err
		}
		return l.reload(procs)
	})
}

// Scale changes how many instances of a process run, and waits until the new ones are ready and the
// others gone. Those of the highest index go first. n may be Auto.
func (s *Supervisor) Scale(ctx context.Context, name string, n int) error {
	return s.wait(ctx, func(l *loop) (check, error) {
		procs, err := l.find([]string{name})
		if err != nil {
			return nil, err
		}
		if n != Auto && (n < 1 || n > maxScale) {
			return nil, fmt.Errorf("supervisor: scale %d of %s, want 1 to %d or Auto", n, name,
				maxScale)
		}
		p := procs[0]
		if p.reload != nil {
			return nil, fmt.Errorf("%w: %s", ErrBusy, name)
		}
		p.scale = instances(n)
		return func() (bool, error) {
			if !p.want {
				return len(p.insts) <= p.scale, nil
			}
			if done, err := l.allReady(procs); !done || err != nil {
				return done, err
			}
			return len(p.insts) == p.scale, nil
		}, nil
	})
}

// Apply adds processes, which Start then starts, and gives those that exist by the same name their
// new Spec. Running instances keep what they were started with until Restart or Reload; Scale
// changes at once, and a changed LogPolicy when no instance of the process runs. If something is
// wrong nothing is changed.
func (s *Supervisor) Apply(ctx context.Context, specs ...Spec) error {
	return s.wait(ctx, func(l *loop) (check, error) { return nil, l.apply(specs) })
}

// Remove stops the processes of these names as Stop does, and forgets them. It is an error if
// others depend on them.
func (s *Supervisor) Remove(ctx context.Context, names ...string) error {
	return s.wait(ctx, func(l *loop) (check, error) {
		if len(names) == 0 {
			return nil, nil
		}
		procs, err := l.find(names)
		if err != nil {
			return nil, err
		}
		return l.remove(procs)
	})
}

// Kill ends everything that runs by SIGKILL, at once and in no order, and makes Run end. It does
// not wait: it is for the second interrupt.
func (s *Supervisor) Kill() {
	s.post(func() { s.loop.killAll() })
}

// Wait waits until no process runs or will run by itself again, or Run has ended. It returns a
// FailedError of the first process, in the order of start, that failed.
func (s *Supervisor) Wait(ctx context.Context) error {
	err := s.wait(ctx, func(l *loop) (check, error) { return l.allOver, nil })
	if errors.Is(err, ErrClosed) {
		_, err = s.loop.allOver()
	}
	return err
}

// Snapshot returns the processes in the order in which they start.
func (s *Supervisor) Snapshot(ctx context.Context) ([]Process, error) {
	var procs []Process
	err := s.wait(ctx, func(l *loop) (check, error) {
		procs = l.snapshot()
		return nil, nil
	})
	if errors.Is(err, ErrClosed) {
		procs, err = s.loop.snapshot(), nil
	}
	measure(procs)
	return procs, err
}

// Tail returns up to n of the last lines of each instance of a process that the LogPolicy keeps, by
// time.
func (s *Supervisor) Tail(ctx context.Context, process string, n int) ([]Line, error) {
	var lines []Line
	tail := func(l *loop) (check, error) {
		procs, err := l.find([]string{process})
		if err != nil {
			return nil, err
		}
		lines = procs[0].tail(n)
		return nil, nil
	}
	err := s.wait(ctx, tail)
	if errors.Is(err, ErrClosed) {
		_, err = tail(s.loop)
	}
	return lines, err
}

// Subscribe returns messages as f wants them, from now on. It must be closed.
func (s *Supervisor) Subscribe(f Filter) *Subscription {
	f.Processes = slices.Clone(f.Processes)
	return s.subs.add(f)
}

// A check says whether what somebody waits for has happened. It runs on the loop.
type check func() (done bool, err error)

// wait runs order on the loop, and then waits until its check is done, if it returns one.
func (s *Supervisor) wait(ctx context.Context, order func(l *loop) (check, error)) error {
	w := &waiter{result: make(chan error, 1)}
	f := func() {
		var err error
		if w.check, err = order(s.loop); err != nil || w.check == nil {
			w.result <- err
			return
		}
		s.loop.waiters = append(s.loop.waiters, w)
	}
	select {
	case <-s.done:
		return ErrClosed
	default:
	}
	select {
	case s.inbox <- f:
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.result:
		return err
	case <-s.done:
		select {
		case err := <-w.result:
			return err
		default:
			return ErrClosed
		}
	case <-ctx.Done():
		s.post(func() { s.loop.forget(w) })
		return ctx.Err()
	}
}

// A waiter is somebody who waits for a check.
type waiter struct {
	check  check
	result chan error
}

// post lets the loop run f. It is lost when the loop has ended.
func (s *Supervisor) post(f func()) {
	select {
	case s.inbox <- f:
	case <-s.done:
	}
}
