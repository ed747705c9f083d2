package supervisor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
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
	notify *notifySocket // nil where there is none

	aged      bool // it has run for Ready.After
	notified  bool // READY=1 came
	probed    bool // the probe succeeded
	killed    bool // SIGKILL was sent, or will be as soon as there is a pid
	permanent bool // it could not start, and never will
	failure   string
	exit      *Exit // of the leader
}

// A launcher starts processes, and tells what becomes of them. It does not block.
type launcher interface {
	// launch starts what o says.
	launch(o order)
	// signal sends sig to all processes of a run; what is gone does not get it. SIGKILL also
	// reaches those that have left the process group.
	signal(run uint64, sig os.Signal)
	// close ends all that is left and waits until nothing is.
	close() error
}

// An adopter is a launcher that knows of MAINPID: when the leader of the run ends, the process of
// that pid is its leader, if it is one of the run.
type adopter interface {
	adopt(run uint64, pid int)
}

// An order is what a launcher needs to start a run. The files are its own: it closes them.
type order struct {
	id     uint64
	name   string
	path   string
	argv   []string
	env    []string
	dir    string
	limits Limits
	stdout *os.File
	stderr *os.File
	report func(report)
}

// A report is what a launcher tells of a run. First comes one with a pid or an err. After a pid
// comes the exit of the leader, and if there is a rest, an empty report when that is gone.
type report struct {
	pid       int
	followed  bool   // with a pid: it leads now, the run goes on
	warning   string // with a pid: something that was wanted could not be done
	err       error
	permanent bool // with an err: it will be the same next time
	exit      *Exit
	rest      bool // with an exit: other processes of the run are left
}

// launch starts i, whose dependencies are there.
func (l *loop) launch(i *inst) {
	p := i.p
	running := 0
	for _, other := range p.insts {
		if other.running() {
			running++
		}
	}
	if p.journal != nil && p.journal.policy != p.spec.Log && running == 0 {
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
	index, journal := i.index, p.journal
	done := func(rep report) {
		l.s.post(func() { l.report(i, r, rep) })
	}
	socket, err := listenNotify(func(n notice) { l.s.post(func() { l.noticed(i, r, n) }) })
	if err != nil && err != errNoNotify {
		l.warn(p.spec.Name, i, "no sd_notify: "+err.Error())
	}
	r.notify = socket
	// The rest may wait for a disk.
	l.closers.Go(func() {
		o := order{id: r.id, name: i.name(), limits: r.spec.Limits}
		if err := o.prepare(r, index); err != nil {
			done(report{err: err, permanent: true})
			return
		}
		drain, err := o.connect(journal, index)
		if err != nil {
			done(report{err: fmt.Errorf("pipe: %w", err)})
			return
		}
		o.report = func(rep report) {
			if rep.err != nil || rep.exit != nil && !rep.rest || rep == (report{}) {
				drain(func() { done(rep) })
				return
			}
			done(rep)
		}
		l.launcher.launch(o)
	})
}

// drainWindow is how long the pipes of a run whose processes are gone may take to end. They end at
// once, unless somebody else holds them.
const drainWindow = 500 * time.Millisecond

// connect makes the pipes that the run writes to. The function that it returns calls its argument,
// from another goroutine, when all has been read.
func (o *order) connect(j *journal, index int) (func(func()), error) {
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		outR.Close()
		outW.Close()
		return nil, err
	}
	o.stdout, o.stderr = outW, errW
	var readers sync.WaitGroup
	readers.Add(2)
	j.read(outR, index, Stdout, readers.Done)
	j.read(errR, index, Stderr, readers.Done)
	return func(then func()) {
		deadline := time.Now().Add(drainWindow)
		_ = outR.SetReadDeadline(deadline) // an error means that it has ended
		_ = errR.SetReadDeadline(deadline)
		read := make(chan struct{})
		go func() {
			defer close(read)
			readers.Wait()
		}()
		go func() {
			timer := time.NewTimer(2 * drainWindow) // a reader may be blocked by the FullPolicy
			defer timer.Stop()
			select {
			case <-read:
			case <-timer.C:
			}
			then()
		}()
	}, nil
}

// watch begins to look after r, which has just started.
func (r *run) watch(l *loop, i *inst) {
	if r.spec.Ready.Probe == nil {
		return
	}
	ctx := context.WithValue(r.ctx, instanceKey{}, Instance{r.spec.Name, i.index, r.pid})
	l.closers.Go(func() {
		if probe(ctx, r.spec.Ready) {
			l.s.post(func() {
				r.probed = true
				if i.run == r {
					l.readied(i)
				}
			})
		}
	})
}

// probe asks until the answer is nil, and says whether it came.
func probe(ctx context.Context, r Readiness) bool {
	for {
		asking, cancel := context.WithTimeout(ctx, r.Timeout)
		err := r.Probe(asking)
		cancel()
		if err == nil {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(r.Interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// ready says whether all that is asked of r says so.
func (r *run) ready() bool {
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

func (r *run) close() {
	r.cancel()
	if r.notify != nil {
		r.notify.close()
	}
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
		l.breakOff(i, "WATCHDOG=trigger")
	case n.watchdog:
		l.feedWatchdog(i)
	}
}

// prepare resolves the command and makes the environment. Its errors are permanent.
func (o *order) prepare(r *run, index int) error {
	s := r.spec
	own := []string{
		"PITHOS_PROCESS=" + s.Name,
		"PITHOS_INSTANCE=" + strconv.Itoa(index),
	}
	if s.Services != "" {
		own = append(own, "PITHOS_SERVICES="+s.Services)
	}
	if r.notify != nil {
		own = append(own, "NOTIFY_SOCKET="+r.notify.address)
		if w := s.Ready.Watchdog; w > 0 {
			own = append(own, "WATCHDOG_USEC="+strconv.FormatInt(w.Microseconds(), 10))
		}
	}
	o.env = environment(os.Environ(), s.Env, own)
	o.dir = s.Dir
	if o.dir != "" {
		info, err := os.Stat(o.dir)
		if err != nil {
			return fmt.Errorf("dir: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("dir %s: not a directory", o.dir)
		}
	}
	path, err := lookCommand(s.Command, o.dir, o.env)
	o.path, o.argv = path, append([]string{s.Command}, s.Args...)
	return err
}
