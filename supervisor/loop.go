package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A loop owns all state: everything here and in the procs and insts below it is its goroutine's.
type loop struct {
	s        *Supervisor
	procs    map[string]*proc
	names    []string // in the order of start
	waiters  []*waiter
	launcher launcher
	lastRun  uint64
	ending   bool           // all shall be stopped, and nothing started
	killed   bool           // by SIGKILL
	closers  sync.WaitGroup // journals of removed processes

	mu   sync.Mutex
	errs []error // guarded by mu; for Run to return
}

// A proc is a process: its Spec and its instances.
type proc struct {
	spec    *Spec
	want    bool
	scale   int
	insts   []*inst
	reload  *reload
	journal *journal // nil until the first start
	removed bool
	served  bool // all instances were ready at one time since it was wanted
}

func newLoop(s *Supervisor) *loop { return &loop{s: s, procs: make(map[string]*proc)} }

// apply adds specs, or replaces those of the same names, if all is right afterwards.
func (l *loop) apply(specs []Spec) error {
	if l.ending {
		return ErrClosed
	}
	all, given := make(map[string]*Spec), make(map[string]bool)
	for n, p := range l.procs {
		all[n] = p.spec
	}
	var errs []error
	for _, spec := range specs {
		whole, err := spec.whole()
		errs = append(errs, err)
		if given[spec.Name] {
			errs = append(errs, fmt.Errorf("supervisor: two processes with the name %q", spec.Name))
		}
		given[spec.Name], all[spec.Name] = true, &whole
	}
	names := slices.Sorted(maps.Keys(all))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := checkGraph(all, names); err != nil {
		return err
	}
	for n := range given {
		p := l.procs[n]
		if p == nil {
			p = &proc{scale: all[n].Scale}
			l.procs[n] = p
		} else if p.spec.Scale != all[n].Scale && p.reload == nil {
			p.scale = all[n].Scale
		}
		p.spec, p.removed = all[n], false
	}
	l.names = startOrder(all, names)
	return nil
}

// startOrder sorts names by Order, then so that dependencies come first, then by name.
func startOrder(specs map[string]*Spec, names []string) []string {
	slices.SortStableFunc(names, func(a, b string) int { return specs[a].Order - specs[b].Order })
	sorted, seen := make([]string, 0, len(names)), make(map[string]bool)
	var visit func(n string)
	visit = func(n string) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, d := range specs[n].DependsOn {
			visit(d.Name)
		}
		sorted = append(sorted, n)
	}
	for _, n := range names {
		visit(n)
	}
	return sorted
}

// run is the loop.
func (l *loop) run(ctx context.Context) error {
	if l.launcher = l.s.opt.launcher; l.launcher == nil {
		inner, err := newLauncher(l.s.opt, l.warnAll)
		if err != nil {
			return err
		}
		l.launcher = &host{launcher: inner}
	}
	for _, p := range l.procs {
		p.want = true
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	end := ctx.Done()
	for l.settle(); !l.ending || !l.allGone(l.all()); l.settle() {
		timer.Reset(l.untilNext())
		select {
		case f := <-l.s.inbox:
			f()
		case <-timer.C:
			l.timers()
		case <-end:
			end = nil
			l.end()
		}
	}
	return l.close()
}

// end stops all.
func (l *loop) end() {
	l.ending = true
	for _, p := range l.procs {
		p.want = false
	}
}

func (l *loop) killAll() {
	l.end()
	l.killed = true
	for _, p := range l.procs {
		for _, i := range p.insts {
			l.kill(i)
		}
	}
}

// close ends the launcher and the journals. Nothing runs any more.
func (l *loop) close() error {
	l.await(func() { l.fail(l.launcher.close()) })
	for _, p := range l.procs {
		l.closeJournal(p)
	}
	l.await(l.closers.Wait)
	return errors.Join(l.errs...)
}

// await runs f, which may wait for others, and does meanwhile what is posted, so that nobody waits
// for the loop.
func (l *loop) await(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		select {
		case g := <-l.s.inbox:
			g()
		case <-done:
			return
		}
	}
}

// settle starts and stops what is not as it is wanted, until nothing is left to do now.
func (l *loop) settle() {
	for changed := true; changed; {
		changed = false
		for _, n := range slices.Clone(l.names) {
			p := l.procs[n]
			changed = l.fit(p) || changed
			for _, i := range slices.Clone(p.insts) {
				changed = l.advance(i) || changed
			}
		}
	}
	l.waiters = slices.DeleteFunc(l.waiters, func(w *waiter) bool {
		done, err := w.check()
		if done || err != nil {
			w.result <- err
		}
		return done || err != nil
	})
}

func (l *loop) forget(w *waiter) {
	l.waiters = slices.DeleteFunc(l.waiters, func(other *waiter) bool { return other == w })
}

// fit makes the list of instances as long as it shall be, and goes on with a reload.
func (l *loop) fit(p *proc) bool {
	before := len(p.insts)
	p.insts = slices.DeleteFunc(p.insts, func(i *inst) bool {
		surplus := i.retired || i.index >= p.scale || p.removed
		return surplus && (i.state == Stopped || !i.state.running() && !l.wanted(i))
	})
	for index := range p.scale {
		has := slices.ContainsFunc(p.insts, func(i *inst) bool { return i.index == index })
		if !has && !p.removed {
			p.insts = append(p.insts, &inst{p: p, index: index, state: Stopped, since: time.Now()})
		}
	}
	slices.SortStableFunc(p.insts, func(a, b *inst) int { return a.index - b.index })
	changed := len(p.insts) != before
	if p.reload != nil {
		changed = l.goOn(p) || changed
	}
	if !p.served && p.want {
		p.served = len(p.insts) > 0 && !slices.ContainsFunc(p.insts, func(i *inst) bool {
			return i.state != Ready
		})
	}
	p.served = p.served && p.want
	if p.removed && len(p.insts) == 0 {
		l.drop(p)
		return true
	}
	return changed
}

// drop forgets a removed process.
func (l *loop) drop(p *proc) {
	if l.procs[p.spec.Name] != p {
		return
	}
	delete(l.procs, p.spec.Name)
	l.names = slices.DeleteFunc(l.names, func(n string) bool { return n == p.spec.Name })
	l.closeJournal(p)
}

// closeJournal lets the journal of p write what it has, without waiting for it.
func (l *loop) closeJournal(p *proc) {
	if j := p.journal; j != nil {
		p.journal = nil
		l.closers.Go(func() { l.fail(j.close()) })
	}
}

// fail notes an error for Run to return. Anybody may call it.
func (l *loop) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

// untilNext returns how long nothing happens by time alone.
func (l *loop) untilNext() time.Duration {
	next := time.Hour
	for _, p := range l.procs {
		for _, i := range p.insts {
			for _, t := range []time.Time{i.due, i.readyAt()} {
				if !t.IsZero() {
					next = min(next, time.Until(t))
				}
			}
		}
	}
	return max(next, 0)
}

// timers does what is due.
func (l *loop) timers() {
	now := time.Now()
	for _, p := range l.procs {
		for _, i := range p.insts {
			if t := i.readyAt(); !t.IsZero() && !t.After(now) {
				i.run.aged = true
				l.readied(i)
			}
			if !i.due.IsZero() && !i.due.After(now) {
				i.due = time.Time{}
				l.due(i)
			}
		}
	}
}

// move takes i to the state that follows, and tells.
func (l *loop) move(i *inst, h happening, reason string) bool {
	from := i.state
	to := next(from, h)
	if to == from {
		return false
	}
	i.state, i.since, i.reason, i.due = to, time.Now(), reason, time.Time{}
	l.s.subs.event(Event{
		Time: i.since, Process: i.p.spec.Name, Index: i.index, PID: i.pid(), From: from, To: to,
		Reason: reason,
	})
	return true
}

// warn tells of something about a process that needs attention.
func (l *loop) warn(process string, i *inst, text string) {
	e := Event{Time: time.Now(), Process: process, Warning: text}
	if i != nil {
		e.Index, e.PID, e.From, e.To = i.index, i.pid(), i.state, i.state
	}
	l.s.subs.event(e)
}

// warnAll tells of something that is about no process. Anybody may call it.
func (l *loop) warnAll(text string) { l.warn("", nil, text) }

func (l *loop) random() float64 { return rand.Float64() }
