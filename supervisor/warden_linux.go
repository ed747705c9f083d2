package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	wardenEnv = "PITHOS_WARDEN"
	wardenArg = "pithos-warden"
	wardenFd  = 3 // its end of the socket pair

	// restTick is how often the warden looks whether what a leader has left is gone.
	restTick = 25 * time.Millisecond
)

// Warden turns the process into a warden if a Supervisor started it as one, and does not return
// then. Otherwise it does nothing. A program that makes a Supervisor calls it first thing in main.
func Warden() {
	if os.Getenv(wardenEnv) == "" || len(os.Args) != 1 || os.Args[0] != wardenArg {
		return
	}
	// Children get SIGKILL when the thread ends that started them; so it must be one that stays.
	runtime.LockOSThread()
	debug.SetGCPercent(25)
	if err := serveWarden(); err != nil {
		fmt.Fprintln(os.Stderr, "supervisor: warden:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// checkWarden says whether the process is a warden that was not turned into one.
func checkWarden() error {
	if os.Getenv(wardenEnv) != "" {
		return errors.New("supervisor: this process was started as a warden: the program must " +
			"call supervisor.Warden first thing in main")
	}
	return nil
}

// A warden is the state of the process, all of it of one goroutine.
type warden struct {
	conn *net.UnixConn
	null int // /dev/null
	runs map[uint64]*ward
	pids map[int]*ward // by the leader
}

// A ward is a run in the care of the warden.
type ward struct {
	id     uint64
	tag    string
	leader int // its pid; the group and the session have the same number
	pidfd  int
	main   int // the process that is to follow the leader; 0 is none
	cgroup string
	ended  bool // the leader has ended, and is reaped
	strays bool // the leader is not the first one, and may lead no group
	killed bool // all of it gets SIGKILL until it is gone
}

// serveWarden is the warden's main function.
func serveWarden() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_CHILD_SUBREAPER: %w", err)
	}
	// What ends others must not end the warden; nor may it be ignored, which children would
	// inherit.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM,
		unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTSTP, unix.SIGTTIN,
		unix.SIGTTOU)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)

	// Files that the supervisor itself inherited are not for children. An error means a kernel
	// older than Linux 5.11.
	_ = unix.CloseRange(wardenFd, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	file := os.NewFile(wardenFd, "supervisor")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return err
	}
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w := &warden{conn.(*net.UnixConn), null, make(map[uint64]*ward), make(map[int]*ward)}
	w.tell(message{Kind: msgHello})
	orders := make(chan parcel)
	go func() {
		defer close(orders)
		for {
			m, files, err := readMessage(w.conn)
			if err != nil {
				return
			}
			orders <- parcel{m, files}
		}
	}()
	w.loop(orders, ended)
	return nil
}

// A parcel is a message with its files.
type parcel struct {
	message
	files []int
}

// loop does as it is told until nobody tells any more. Then it ends all.
func (w *warden) loop(orders <-chan parcel, ended <-chan os.Signal) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for ticking := false; ; {
		select {
		case o, ok := <-orders:
			if !ok {
				w.endAll()
				return
			}
			w.obey(o)
		case <-ended:
		case <-tick.C:
		}
		w.reap()
		if rest := w.sweep(); rest != ticking {
			ticking = rest
			tick.Reset(map[bool]time.Duration{true: restTick, false: time.Hour}[rest])
		}
	}
}

func (w *warden) obey(o parcel) {
	defer closeAll(o.files)
	if o.Kind == msgLaunch {
		w.launch(o)
		return
	}
	r := w.runs[o.Run]
	switch {
	case r == nil: // gone meanwhile
	case o.Kind == msgSignal:
		w.signal(r, syscall.Signal(o.Signal))
	case o.Kind == msgAdopt:
		r.main = o.PID
	}
}

// tell sends m. An error means that the supervisor is gone, which the reader notices.
func (w *warden) tell(m message, files ...int) { _ = writeMessage(w.conn, m, files...) }

func (w *warden) launch(o parcel) {
	l := o.Launch
	if l == nil || len(o.files) < 2 {
		w.tell(message{Kind: msgFailed, Run: o.Run, Text: "no files came", Errno: int(unix.EIO)})
		return
	}
	r := &ward{id: o.Run, tag: l.Tag, pidfd: -1, cgroup: l.Cgroup}
	attr := &syscall.ProcAttr{
		Dir: l.Dir, Env: append(l.Env, tagName+"="+l.Tag),
		Files: []uintptr{uintptr(w.null), uintptr(o.files[0]), uintptr(o.files[1])},
		Sys: &syscall.SysProcAttr{
			Setsid:    true,
			Pdeathsig: syscall.SIGKILL, // should the warden be killed
			PidFD:     &r.pidfd,
		},
	}
	if l.Cgroup != "" && len(o.files) > 2 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, o.files[2]
	}
	pid, err := start(l, attr)
	if err != nil {
		failed := message{Kind: msgFailed, Run: o.Run, Text: err.Error()}
		if errno := syscall.Errno(0); errors.As(err, &errno) {
			failed.Errno = int(errno)
		}
		w.tell(failed)
		return
	}
	r.leader = pid
	w.runs[r.id], w.pids[pid] = r, r
	started := message{Kind: msgStarted, Run: r.id, PID: pid}
	if r.pidfd < 0 {
		w.tell(started)
		return
	}
	w.tell(started, r.pidfd)
}

// start starts a process. One with a limit of its own stops as a traced one does when it has become
// the new program and has not run yet; then the limit is set, and it goes on untraced. (Go gives
// children the limit that its own runtime found; so setting the warden's would not reach them.)
func start(l *launchOrder, attr *syscall.ProcAttr) (int, error) {
	attr.Sys.Ptrace = l.OpenFiles > 0
	pid, err := syscall.ForkExec(l.Path, l.Argv, attr)
	if err != nil || l.OpenFiles == 0 {
		return pid, err
	}
	var status unix.WaitStatus
	_, err = unix.Wait4(pid, &status, unix.WALL, nil)
	if err == nil && status.Stopped() {
		limit := &unix.Rlimit{Cur: l.OpenFiles, Max: l.OpenFiles}
		if err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, limit, nil); err == nil {
			return pid, unix.PtraceDetach(pid)
		}
	}
	_ = unix.Kill(pid, unix.SIGKILL) // it is our child, and not reaped
	_, _ = unix.Wait4(pid, nil, unix.WALL, nil)
	return 0, fmt.Errorf("limit of %d open files: %w", l.OpenFiles, cmp.Or(err, error(unix.ESRCH)))
}

// signal sends sig to all that belongs to r: to the group of the leader at once, while that is not
// reaped, and to each process that is not in it.
func (w *warden) signal(r *ward, sig syscall.Signal) {
	grouped := !r.ended && !r.strays
	if grouped && !signalGroup(r.pidfd, sig) {
		_ = syscall.Kill(-r.leader, sig) // the number is taken until we reap it
	}
	if sig == syscall.SIGKILL {
		r.killed = true // sweep does it, and again until nothing is left
		return
	}
	for _, e := range w.rest()[r] {
		if !grouped || e.group != r.leader {
			signalIf(e, sig, func(now entry) bool { return w.owner(now) == r })
		}
	}
}

// reap takes the statuses of all children that have ended, orphans too.
func (w *warden) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG|unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		r := w.pids[pid]
		if r == nil || !(status.Exited() || status.Signaled()) {
			continue
		}
		delete(w.pids, pid)
		if w.follow(r) {
			continue
		}
		r.ended = true
		rest := !w.gone(r)
		w.tell(message{Kind: msgEnded, Run: r.id, Status: uint32(status), Rest: rest})
		if !rest {
			w.forget(r)
		}
	}
}

// follow makes the process that r named by MAINPID its leader, if that lives and is now our child.
func (w *warden) follow(r *ward) bool {
	if r.main == 0 {
		return false
	}
	pid := r.main
	r.main = 0
	e, ok := readEntry(pid)
	if !ok || e.state == 'Z' || e.parent != os.Getpid() || w.pids[pid] != nil || w.owner(e) != r {
		return false
	}
	closePidfd(r)
	r.leader, r.strays, w.pids[pid] = pid, true, r
	followed := message{Kind: msgFollowed, Run: r.id, PID: pid}
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		r.pidfd = fd
		w.tell(followed, fd)
		return true
	}
	w.tell(followed)
	return true
}

func closePidfd(r *ward) {
	if r.pidfd >= 0 {
		_ = unix.Close(r.pidfd)
		r.pidfd = -1
	}
}

func (w *warden) forget(r *ward) {
	closePidfd(r)
	delete(w.runs, r.id)
	if r.cgroup != "" {
		_ = os.Remove(r.cgroup) // nothing is in it; the supervisor tries again
	}
}

// sweep looks after what leaders have left, and after what is killed. It says whether it must be
// called again soon.
func (w *warden) sweep() bool {
	again := false
	for _, r := range w.runs {
		again = again || r.ended || r.killed
	}
	if !again {
		return false
	}
	rest := w.rest()
	for id, r := range w.runs {
		if r.killed {
			if r.cgroup != "" {
				killCgroup(r.cgroup)
			}
			for _, e := range rest[r] {
				signalIf(e, unix.SIGKILL, func(now entry) bool { return w.owner(now) == r })
			}
		}
		if r.ended && len(rest[r]) == 0 && w.gone(r) {
			w.tell(message{Kind: msgGone, Run: id})
			w.forget(r)
		}
	}
	return true
}

// gone says whether nothing of r is left. Its cgroup knows; without one the question is asked
// twice: a list of children that end while it is read may lack one. A process in the middle of
// execve(2) may be one of r, too: it has no tag then.
func (w *warden) gone(r *ward) bool {
	if r.cgroup != "" {
		return !populated(r.cgroup)
	}
	for range 2 {
		rest := w.rest()
		if len(rest[r]) > 0 || slices.ContainsFunc(rest[nil], func(e entry) bool {
			return inExec(e.pid) || w.owner(e) == r // it was, a moment ago
		}) {
			return false
		}
	}
	return true
}

// rest returns the living processes of each run, the leader among them. Of those of nil it is not
// known whose they are.
func (w *warden) rest() map[*ward][]entry {
	rest := make(map[*ward][]entry)
	for _, e := range descendants(os.Getpid()) {
		if e.state != 'Z' {
			r := w.owner(e)
			rest[r] = append(rest[r], e)
		}
	}
	return rest
}

// owner returns the run that a process below the warden belongs to; nil if that is not known.
func (w *warden) owner(e entry) *ward {
	if r := w.pids[e.pid]; r != nil {
		return r
	}
	if tag := readTag(e.pid); tag != "" {
		for _, r := range w.runs {
			if r.tag == tag {
				return r
			}
		}
		return nil
	}
	for _, r := range w.runs {
		if e.group == r.leader || e.session == r.leader {
			return r
		}
	}
	return nil
}

// endAll kills and reaps until there are no children. Those of children that ended become children,
// since the warden is their subreaper; so in the end there is nothing below it.
func (w *warden) endAll() {
	for {
		for _, r := range w.runs {
			if r.cgroup != "" {
				killCgroup(r.cgroup)
			}
		}
		for _, e := range descendants(os.Getpid()) {
			signalIf(e, unix.SIGKILL, func(now entry) bool { return now.parent == e.parent })
		}
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
			if err == unix.ECHILD {
				for _, r := range w.runs {
					w.forget(r)
					if r.cgroup != "" {
						_ = os.Remove(filepath.Dir(r.cgroup)) // the last one does it
					}
				}
				return
			}
			if pid <= 0 && err != unix.EINTR {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
}
