package supervisor

import (
	"context"
	"fmt"
	"time"
)

// A run is one run of an instance, from the order to start it until nothing of it is left. Its
// fields are the loop's, but for those that never change.
type run struct {
	id      uint64
	spec    *Spec // as it was at the start, immutable
	pid     int   // of the leader; 0 until it is known
	started time.Time

	ctx    context.Context // of its probes; ends with it
	cancel context.CancelFunc

	aged      bool  // it has run for Ready.After
	notified  bool  // READY=1 came
	probed    bool  // the probe succeeded
	probeErr  error // its last answer
	killed    bool  // SIGKILL was sent, or will be as soon as there is a pid
	permanent bool  // it could not start, and never will
	failure   string
	exit      *Exit // of the leader
}

// launch starts i, whose dependencies are there.
func (l *loop) launch(i *inst) {
	p := i.p
	idle := true
	for _, other := range p.insts {
		idle = idle && !other.running()
	}
	if p.journal != nil && p.journal.policy != p.spec.Log && idle {
		l.closeJournal(p)
	}
	if p.journal == nil {
		name := p.spec.Name
		p.journal = openJournal(name, p.spec.Log, l.s.opt.Sink, &l.s.subs, func(text string) {
			l.warn(name, nil, text)
		})
	}
	l.lastRun++
	r := &run{id: l.lastRun, spec: p.spec}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	i.run, i.hist.started = r, time.Time{}
	l.move(i, launched, "")
	i.due = time.Now().Add(r.spec.Ready.Window)
	l.launcher.launch(order{
		id: r.id, spec: r.spec, index: i.index, journal: p.journal,
		report:  func(rep report) { l.s.post(func() { l.report(i, r, rep) }) },
		noticed: func(n notice) { l.s.post(func() { l.noticed(i, r, n) }) },
	})
}

// An executor is a launcher that can run a command as if it were of the process.
type executor interface {
	execute(ctx context.Context, spec *Spec, index int) error
}

// watch begins to look after r, which has just started.
func (r *run) watch(l *loop, i *inst) {
	if r.spec.Ready.Probe == nil {
		return
	}
	index := i.index
	ctx := context.WithValue(r.ctx, instanceKey{}, Instance{r.spec.Name, index, r.pid})
	if e, ok := l.launcher.(executor); ok {
		ctx = context.WithValue(ctx, execKey{},
			func(ctx context.Context, command string, args []string) error {
				s := *r.spec
				s.Command, s.Args = command, args
				return e.execute(ctx, &s, index)
			})
	}
	l.closers.Go(func() {
		r.spec.Ready.ask(ctx, func(err error) {
			l.s.post(func() {
				if r.probed, r.probeErr = err == nil, err; i.run == r {
					l.readied(i)
				}
			})
		})
	})
}

// ask probes until the answer is nil. tell gets each answer that is not the same as the last one.
func (r Readiness) ask(ctx context.Context, tell func(error)) {
	for last := ""; ; {
		asking, cancel := context.WithTimeout(ctx, r.Timeout)
		err := r.Probe(asking)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			tell(nil)
			return
		case err.Error() != last:
			last = err.Error()
			tell(err)
		}
		timer := time.NewTimer(r.Interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// late says why r is not ready in time.
func (r *run) late() string {
	text := fmt.Sprintf("not ready within %v", r.spec.Ready.Window)
	switch {
	case r.spec.Ready.Notify && !r.notified:
		return text + ": no READY=1 came"
	case r.probeErr != nil:
		return text + ": " + r.probeErr.Error()
	}
	return text
}

// ready says whether all that is asked of r says so.
func (r *run) ready() bool {
	if r.pid == 0 {
		return false
	}
	s := r.spec.Ready
	if s.Notify || s.Probe != nil {
		return (!s.Notify || r.notified) && (s.Probe == nil || r.probed)
	}
	return r.aged
}

// readyAt returns when i is ready by age alone; zero if it never is, or already was.
func (i *inst) readyAt() time.Time {
	r := i.run
	if i.state != Starting || r.pid == 0 || r.aged {
		return time.Time{}
	}
	if s := r.spec.Ready; s.Notify || s.Probe != nil {
		return time.Time{}
	}
	return r.started.Add(r.spec.Ready.After)
}

// noticed takes a message that came by sd_notify(3).
func (l *loop) noticed(i *inst, r *run, n notice) {
	if i.run != r {
		return
	}
	if n.status != nil {
		i.text = *n.status
	}
	if a, ok := l.launcher.(adopter); ok && n.mainPID != 0 {
		a.adopt(r.id, n.mainPID)
	}
	switch {
	case n.ready:
		r.notified = true
		l.readied(i)
	case n.stopping && i.state != Stopping:
		l.move(i, breaks, "stops by itself")
		i.due = time.Now().Add(r.spec.Stop.Window)
	}
	if n.extend > 0 && (i.state == Starting || i.state == Stopping && !r.killed) {
		i.due = time.Now().Add(n.extend)
	}
	switch {
	case n.trigger && i.state == Ready:
		l.bite(i, "WATCHDOG=trigger")
	case n.watchdog:
		l.feedWatchdog(i)
	}
}
