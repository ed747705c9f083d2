package supervisor

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// killWindow is how long what got SIGKILL may take to be gone. Then it is given up: the kernel does
// not end it.
const killWindow = 10 * time.Second

// An inst is one instance of a process. It stays the same over its runs.
type inst struct {
	p         *proc
	index     int
	state     State
	since     time.Time
	reason    string
	due       time.Time // what that means depends on the state: due tells
	run       *run      // nil if nothing runs
	hist      history
	restarts  int
	exit      *Exit // of the last run that ended
	text      string
	again     bool // shall be stopped and started
	retired   bool // shall be stopped and forgotten
	candidate bool // is to replace another one, see reload
	looping   bool // has been in a crash loop since it was last ready
	orphan    bool // has failed because a dependency did
}

func (i *inst) running() bool { return i.state.running() }

func (i *inst) pid() int {
	if i.run == nil {
		return 0
	}
	return i.run.pid
}

func (i *inst) name() string { return fmt.Sprintf("%s#%d", i.p.spec.Name, i.index) }

// trouble says in what state i is and why.
func (i *inst) trouble() string {
	reason := i.reason
	if i.looping && i.exit != nil {
		return "crash-loop: " + i.exit.Reason
	}
	if reason == "" {
		return i.state.String()
	}
	return fmt.Sprintf("%v: %s", i.state, reason)
}

func (i *inst) failure() error {
	return &FailedError{Instance{i.p.spec.Name, i.index, i.pid()}, i.state, i.reason, i.exit}
}

// wanted says whether i shall run.
func (l *loop) wanted(i *inst) bool {
	return i.p.want && !i.again && !i.retired && !i.p.removed && i.index < i.p.scale
}

// advance takes i one step towards what is wanted of it. It says whether something changed.
func (l *loop) advance(i *inst) bool {
	if !l.wanted(i) {
		return l.retreat(i)
	}
	switch i.state {
	case Stopped:
		return l.move(i, wanted, "")
	case Failed:
		if i.orphan {
			if n, _ := l.needsOf(i.p); n != needsFailed {
				return l.move(i, wanted, "")
			}
		}
	case Pending:
		n, why := l.needsOf(i.p)
		switch n {
		case needsMet:
			i.orphan = false
			l.launch(i)
			return true
		case needsFailed:
			i.orphan = true
			return l.move(i, orphaned, why)
		}
		i.reason = why
	}
	return false
}

// retreat takes i one step towards its end.
func (l *loop) retreat(i *inst) bool {
	switch i.state {
	case Starting, Ready:
		reason := ""
		if !i.p.want && !l.killed {
			n, ok := l.mayStop(i.p)
			if !ok {
				i.reason = "stops after " + n
				return false
			}
		}
		if i.candidate {
			reason = "is not needed"
		}
		l.move(i, unwanted, reason)
		l.stop(i)
		return true
	case Stopping:
		return false
	case Stopped:
		if i.again {
			i.again = false
			return true
		}
		return false
	}
	if i.again { // it has ended meanwhile
		i.again = false
		l.move(i, due, "")
		l.move(i, wanted, "")
		return true
	}
	if i.state.over() && i.p.want {
		return false // surplus, and forgotten by fit
	}
	return l.move(i, unwanted, i.reason)
}

// stop asks the processes of i to end, within the window.
func (l *loop) stop(i *inst) {
	r := i.run
	i.due = time.Now().Add(r.spec.Stop.Window)
	if r.pid != 0 { // else once it is known
		l.launcher.signal(r.id, r.spec.Stop.Signal.(syscall.Signal))
	}
	if l.killed {
		l.kill(i)
	}
}

// kill ends the processes of i.
func (l *loop) kill(i *inst) {
	if !i.running() {
		return
	}
	l.move(i, unwanted, "killed")
	i.run.killed = true
	i.due = time.Now().Add(killWindow)
	if i.run.pid != 0 {
		l.launcher.signal(i.run.id, syscall.SIGKILL)
	}
}

// due is called when the time of the state of i is over.
func (l *loop) due(i *inst) {
	switch i.state {
	case Backoff, CrashLoop:
		i.restarts++
		l.move(i, due, "")
	case Starting:
		i.run.failure = i.run.late()
		l.move(i, breaks, i.run.failure)
		l.stop(i)
	case Ready:
		l.bite(i, fmt.Sprintf("no WATCHDOG=1 within %v", i.run.spec.Ready.Watchdog))
	case Stopping:
		if !i.run.killed {
			text := fmt.Sprintf("not gone within %v, killed", i.run.spec.Stop.Window)
			l.warn(i.p.spec.Name, i, text)
			i.reason = cmp.Or(i.reason, text)
			l.kill(i)
			return
		}
		text := fmt.Sprintf("pid %d is not gone %v after SIGKILL, and given up", i.run.pid,
			killWindow)
		l.warn(i.p.spec.Name, i, text)
		l.fail(fmt.Errorf("supervisor: %s: %s", i.name(), text))
		l.finish(i, Exit{Code: -1, Reason: text})
	}
}

// bite is what the watchdog does.
func (l *loop) bite(i *inst, reason string) {
	i.run.failure = reason
	l.move(i, breaks, reason)
	l.kill(i)
}

// readied makes i ready if all says so.
func (l *loop) readied(i *inst) {
	r := i.run
	if i.state != Starting || !r.ready() {
		return
	}
	i.looping = false
	l.move(i, isReady, "")
	l.feedWatchdog(i)
}

func (l *loop) feedWatchdog(i *inst) {
	if w := i.run.spec.Ready.Watchdog; w > 0 && i.state == Ready {
		i.due = time.Now().Add(w)
	}
}

// report takes what the launcher says of run r of i.
func (l *loop) report(i *inst, r *run, rep report) {
	if i.run != r {
		return // given up
	}
	switch {
	case rep.followed:
		r.pid = rep.pid
	case rep.pid != 0:
		r.pid, r.started = rep.pid, time.Now()
		i.hist.started = r.started
		r.watch(l, i)
		l.readied(i) // it may have said so before we knew its pid
		for _, w := range rep.warnings {
			l.warn(i.p.spec.Name, i, w)
		}
		switch {
		case r.killed:
			l.launcher.signal(r.id, syscall.SIGKILL)
		case i.state == Stopping:
			l.launcher.signal(r.id, r.spec.Stop.Signal.(syscall.Signal))
		}
	case rep.err != nil:
		r.permanent = rep.permanent
		l.finish(i, Exit{Code: -1, Reason: rep.err.Error()})
	case rep.exit != nil && rep.rest:
		r.exit = rep.exit
		if i.state != Stopping {
			l.move(i, breaks, rep.exit.Reason+"; what it left is stopped")
			l.stop(i)
		}
	default:
		if rep.exit != nil {
			r.exit = rep.exit
		}
		l.finish(i, *r.exit)
	}
}

// finish ends the run of i, of which nothing is left.
func (l *loop) finish(i *inst, e Exit) {
	r := i.run
	e.Time = time.Now()
	failed := !e.success() || r.failure != ""
	if r.failure != "" {
		e.Reason = r.failure
	}
	r.cancel()
	i.exit, i.run, i.text = &e, nil, ""
	if !l.wanted(i) {
		l.move(i, unwanted, "")
		l.move(i, gone, e.Reason)
		return
	}
	if r.permanent || i.candidate {
		l.move(i, endsFailed, e.Reason)
		return
	}
	d := r.spec.Restart.decide(i.hist, failed, e.Time, l.random())
	i.hist.ends = d.ends
	h := [...]happening{Backoff: endsRetry, CrashLoop: endsLoop, Exited: endsWell,
		Failed: endsFailed}[d.state]
	i.looping = i.looping || d.state == CrashLoop
	l.move(i, h, e.Reason)
	if d.state == Backoff || d.state == CrashLoop {
		i.due = e.Time.Add(d.delay)
	}
}

// snapshot returns all there is to know, but for what is measured.
func (l *loop) snapshot() []Process {
	procs := make([]Process, 0, len(l.names))
	for _, p := range l.all() {
		s := p.spec
		out := Process{
			Name: s.Name, Command: append([]string{s.Command}, s.Args...), Wanted: p.want,
			Scale: p.scale, LogFile: s.Log.File, State: Stopped,
		}
		if p.journal != nil {
			out.LogLost = p.journal.queue.lost()
		}
		for _, d := range s.DependsOn {
			out.DependsOn = append(out.DependsOn, d.Name)
		}
		for _, i := range p.insts {
			out.Instances = append(out.Instances, i.status())
		}
		if len(p.insts) > 0 {
			out.State = slices.MaxFunc(p.insts, func(a, b *inst) int {
				return a.state.badness() - b.state.badness()
			}).state
		}
		procs = append(procs, out)
	}
	return procs
}

// badness orders states for the one of a process to be that of its worst instance.
func (s State) badness() int {
	return [...]int{Stopped: 0, Exited: 1, Ready: 2, Stopping: 3, Starting: 4, Pending: 5,
		Backoff: 6, CrashLoop: 7, Failed: 8}[s]
}

// tail returns up to n of the last lines of each instance, by time.
func (p *proc) tail(n int) []Line {
	var lines []Line
	for index := range p.scale {
		if p.journal != nil {
			lines = append(lines, p.journal.last(index, n)...)
		}
	}
	slices.SortStableFunc(lines, func(a, b Line) int { return a.Time.Compare(b.Time) })
	return lines
}

func (i *inst) status() Status {
	s := Status{
		Instance: Instance{i.p.spec.Name, i.index, i.pid()},
		State:    i.state, Since: i.since, Started: i.hist.started, Restarts: i.restarts,
		Reason: i.reason, Text: i.text, Exit: i.exit,
	}
	if i.state == Backoff || i.state == CrashLoop {
		s.Retry = i.due
	}
	if (i.looping || i.state == Failed) && i.p.journal != nil {
		s.Tail = i.p.journal.last(i.index, i.p.spec.Log.Tail)
	}
	return s
}
