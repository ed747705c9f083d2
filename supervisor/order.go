package supervisor

import (
	"errors"
	"fmt"
	"slices"
)

// find returns the processes of these names in the order of start, all if there are none.
func (l *loop) find(names []string) ([]*proc, error) {
	var errs []error
	for _, n := range names {
		if l.procs[n] == nil {
			errs = append(errs, &UnknownError{n, "", nearest(n, l.names)})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var procs []*proc
	for _, n := range l.names {
		if len(names) == 0 || slices.Contains(names, n) {
			procs = append(procs, l.procs[n])
		}
	}
	return procs, nil
}

func (l *loop) all() []*proc {
	procs, _ := l.find(nil)
	return procs
}

// withNeeds adds what procs depend on.
func (l *loop) withNeeds(procs []*proc) []*proc {
	needed := make(map[*proc]bool)
	var visit func(p *proc)
	visit = func(p *proc) {
		if needed[p] {
			return
		}
		needed[p] = true
		for _, d := range p.spec.DependsOn {
			visit(l.procs[d.Name])
		}
	}
	for _, p := range procs {
		visit(p)
	}
	return slices.DeleteFunc(l.all(), func(p *proc) bool { return !needed[p] })
}

// want lets procs run; what failed begins anew.
func (l *loop) want(procs []*proc) {
	for _, p := range procs {
		if l.ending || p.removed {
			continue
		}
		p.want = true
		for _, i := range p.insts {
			switch i.state {
			case Failed, Exited, Stopped:
				i.hist, i.restarts, i.looping = history{}, 0, false
				l.move(i, wanted, "")
			case Backoff, CrashLoop:
				i.hist, i.restarts, i.looping = history{}, 0, false
				l.move(i, due, "")
			}
		}
	}
}

// needs is what the dependencies of a process say.
type needs int

const (
	needsMet needs = iota
	needsTime
	needsFailed
)

// needsOf says whether p may start, and if not, why.
func (l *loop) needsOf(p *proc) (needs, string) {
	for _, d := range p.spec.DependsOn {
		if n, why := l.needOf(d); n != needsMet {
			return n, why
		}
	}
	for _, n := range l.names {
		q := l.procs[n]
		if q.spec.Order < p.spec.Order && q.want && !q.settled() {
			return needsTime, fmt.Sprintf("waits for %s, which is of order %d", n, q.spec.Order)
		}
	}
	return needsMet, ""
}

// settled says whether nothing is expected of p soon.
func (p *proc) settled() bool {
	return !slices.ContainsFunc(p.insts, func(i *inst) bool {
		return !i.looping && (i.state == Pending || i.state == Starting || i.state == Backoff)
	})
}

func (l *loop) needOf(d Dependency) (needs, string) {
	on := l.procs[d.Name]
	if !on.want {
		return needsFailed, fmt.Sprintf("%s, which it depends on, is stopped", d.Name)
	}
	met, ready := 0, 0
	for _, i := range on.insts {
		switch {
		case i.state == Exited:
			met++
		case i.state == Ready && d.Until != UntilDone,
			i.state == Starting && i.pid() != 0 && d.Until == UntilStarted:
			met++
			ready++
		}
	}
	if len(on.insts) > 0 && met == len(on.insts) || on.served && ready > 0 {
		return needsMet, ""
	}
	for _, i := range on.insts {
		if i.state == Failed || i.state == CrashLoop || i.looping && i.state != Ready {
			return needsFailed, fmt.Sprintf("%s, which it depends on: %s", d.Name, i.trouble())
		}
	}
	return needsTime, fmt.Sprintf("waits for %s to be %v", d.Name, d.Until)
}

// mayStop says whether nothing that is stopped before p runs any more.
func (l *loop) mayStop(p *proc) (string, bool) {
	for _, n := range l.names {
		q := l.procs[n]
		before := q.spec.Order > p.spec.Order || slices.ContainsFunc(q.spec.DependsOn,
			func(d Dependency) bool { return d.Name == p.spec.Name })
		if before && !q.want && slices.ContainsFunc(q.insts, (*inst).running) {
			return n, false
		}
	}
	return "", true
}

// allReady says whether all instances of procs are ready or have ended well, and the first that
// never will be.
func (l *loop) allReady(procs []*proc) (bool, error) {
	done := true
	for _, p := range procs {
		if !p.want {
			return false, fmt.Errorf("%w: %s", ErrStopped, p.spec.Name)
		}
		for _, i := range p.insts {
			switch {
			case i.state == Failed, i.state == CrashLoop:
				return false, i.failure()
			case i.state != Ready && i.state != Exited, i.again, i.retired:
				done = false
			}
		}
		done = done && len(p.insts) > 0
	}
	return done, nil
}

// allGone says whether nothing of procs runs, or will.
func (l *loop) allGone(procs []*proc) bool {
	return !slices.ContainsFunc(procs, func(p *proc) bool {
		return p.want || slices.ContainsFunc(p.insts, func(i *inst) bool { return !i.state.over() })
	})
}

// allOver says whether nothing runs, or will by itself, and then which process failed first.
func (l *loop) allOver() (bool, error) {
	var first error
	for _, p := range l.all() {
		for _, i := range p.insts {
			if !i.state.over() || i.state == Stopped && p.want {
				return false, nil
			}
			if i.state == Failed && first == nil {
				first = i.failure()
			}
		}
		if p.want && len(p.insts) == 0 {
			return false, nil
		}
	}
	return true, first
}

// remove lets procs be forgotten when they have stopped.
func (l *loop) remove(procs []*proc) (check, error) {
	for _, n := range l.names {
		p := l.procs[n]
		if slices.Contains(procs, p) {
			continue
		}
		for _, d := range p.spec.DependsOn {
			if slices.Contains(procs, l.procs[d.Name]) {
				return nil, fmt.Errorf("supervisor: process %q depends on %q", n, d.Name)
			}
		}
	}
	for _, p := range procs {
		p.want, p.removed = false, true
	}
	return func() (bool, error) {
		return !slices.ContainsFunc(procs, func(p *proc) bool {
			return p.removed && l.procs[p.spec.Name] == p
		}), nil
	}, nil
}
