package supervisor

import "fmt"

// A reload replaces the instances of a process one after the other.
//
//	index i:  old   Ready ───────────────────> Stopping -> gone
//	          fresh       Starting -> Ready ──────────────────> ...
//
// While fresh starts, old is an instance like any other. An old one that does not run is simply
// started again.
type reload struct {
	next  int   // index
	fresh *inst // nil: none is under way
	old   *inst // nil unless fresh is ready and it is being stopped
	err   error
	over  bool
}

// reload begins to reload procs.
func (l *loop) reload(procs []*proc) (check, error) {
	for _, p := range procs {
		switch {
		case p.reload != nil:
			return nil, fmt.Errorf("%w: %s", ErrBusy, p.spec.Name)
		case !p.want:
			return nil, fmt.Errorf("%w: %s", ErrStopped, p.spec.Name)
		}
	}
	var all []*reload
	for _, p := range procs {
		p.reload = &reload{}
		all = append(all, p.reload)
	}
	return func() (bool, error) {
		done := true
		for _, r := range all {
			if r.err != nil {
				return true, r.err
			}
			done = done && r.over
		}
		return done, nil
	}, nil
}

// goOn takes the reload of p a step further, if it can.
func (l *loop) goOn(p *proc) bool {
	r := p.reload
	switch {
	case !p.want:
		r.end(p, fmt.Errorf("%w: %s", ErrStopped, p.spec.Name))
	case r.old != nil:
		if p.holds(r.old) {
			return false
		}
		r.old, r.fresh = nil, nil
		r.next++
	case r.fresh != nil && r.fresh.state == Ready:
		r.old, r.fresh.candidate = p.at(r.next), false
		r.old.retired = true
	case r.fresh != nil && r.fresh.state == Failed:
		r.end(p, r.fresh.failure())
	case r.fresh != nil:
		return false
	case r.next >= p.scale:
		r.over = true
		p.reload = nil
	default:
		l.replace(p, r)
	}
	return true
}

// replace begins with the instance of index r.next.
func (l *loop) replace(p *proc, r *reload) {
	old := p.at(r.next)
	if old == nil || !old.state.running() {
		if old != nil {
			l.move(old, due, "")
			l.move(old, wanted, "")
		}
		r.next++
		return
	}
	r.fresh = &inst{p: p, index: r.next, state: Stopped, since: old.since, candidate: true}
	p.insts = append(p.insts, r.fresh)
}

// end gives the reload up; what is there of the new instance goes.
func (r *reload) end(p *proc, err error) {
	r.err, r.over = err, true
	p.reload = nil
	if r.fresh != nil && r.old == nil {
		r.fresh.retired = true
	}
}

// at returns the instance of that index which is not to be replaced by a candidate.
func (p *proc) at(index int) *inst {
	for _, i := range p.insts {
		if i.index == index && !i.candidate && !i.retired {
			return i
		}
	}
	return nil
}

func (p *proc) holds(i *inst) bool {
	for _, other := range p.insts {
		if other == i {
			return true
		}
	}
	return false
}
