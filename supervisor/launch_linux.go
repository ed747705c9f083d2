package supervisor

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// helloWindow is how long a warden may take to start. One that does not is a program that does
	// not call Warden.
	helloWindow = 20 * time.Second
	// endWindow is how long it may take to end when it is told to.
	endWindow = 10 * time.Second
)

// A wardenLauncher starts processes by a warden. If that is killed it ends what is left of them and
// starts another one, for those that come.
type wardenLauncher struct {
	warn    func(string)
	token   string // of this supervisor, immutable; the first part of all tags
	cgroup  *cgroup
	readers sync.WaitGroup

	mu     sync.Mutex
	now    *post              // guarded by mu; nil while there is none
	runs   map[uint64]*charge // guarded by mu
	closed bool               // guarded by mu
}

// A charge is a run in the care of a warden.
type charge struct {
	order
	tag    string
	at     *post
	pidfd  int // of the leader; -1 as long as there is none
	pid    int
	exited bool
	group  string // the folder of its cgroup, "" if it has none
}

func newLauncher(o Options, warn func(string)) (launcher, error) {
	l := &wardenLauncher{
		warn: warn, token: strings.ToLower(rand.Text()), runs: make(map[uint64]*charge),
	}
	l.cgroup = findCgroup(o.Cgroup, l.token)
	if l.cgroup.err != nil && o.Cgroup != "" && o.Cgroup != noCgroup {
		return nil, l.cgroup.err
	}
	p, err := startWarden()
	if err != nil {
		l.cgroup.close()
		return nil, err
	}
	l.use(p)
	return l, nil
}

// use makes p the present warden. mu must not be held.
func (l *wardenLauncher) use(p *post) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = p
	l.readers.Go(func() { l.read(p) })
}

func (l *wardenLauncher) launch(o order) {
	defer o.stdout.Close()
	defer o.stderr.Close()
	c := &charge{order: o, pidfd: -1, tag: l.token + "." + strconv.FormatUint(o.id, 10)}
	files := []int{int(o.stdout.Fd()), int(o.stderr.Fd())}
	if folder, err := l.cgroup.make(o.id, o.spec.Limits.grouped()); err == nil {
		fd, err := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			files, c.group = append(files, fd), folder
		}
	} else if o.spec.Limits.grouped() != (Limits{}) {
		c.warnings = append(c.warnings, "runs without limits: "+err.Error())
	}
	m := message{Kind: msgLaunch, Run: o.id, Launch: &launchOrder{
		Path: o.path, Argv: o.argv, Env: o.env, Dir: o.spec.Dir, Tag: c.tag, Cgroup: c.group,
		OpenFiles: o.spec.Limits.OpenFiles,
	}}
	l.mu.Lock()
	p := l.now
	if p != nil {
		c.at = p
		l.runs[o.id] = c
	}
	l.mu.Unlock()
	err := errNoWarden
	if p != nil {
		err = p.send(m, files...)
	}
	if err != nil && l.take(o.id) != nil || p == nil {
		o.report(report{err: err})
	}
}

var errNoWarden = errors.New("there is no warden: it was killed, and could not be started again")

// take returns the run of that id, which is over.
func (l *wardenLauncher) take(id uint64) *charge {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.runs[id]
	delete(l.runs, id)
	return c
}

func (l *wardenLauncher) find(id uint64) *charge {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[id]
}

func (l *wardenLauncher) signal(run uint64, sig os.Signal) {
	if c := l.find(run); c != nil {
		c.at.post(message{Kind: msgSignal, Run: run, Signal: int(sig.(syscall.Signal))})
	}
}

func (l *wardenLauncher) adopt(run uint64, pid int) {
	if c := l.find(run); c != nil {
		c.at.post(message{Kind: msgAdopt, Run: run, PID: pid})
	}
}

// read takes what the warden at p tells, until its end.
func (l *wardenLauncher) read(p *post) {
	for {
		m, files, err := readMessage(p.conn)
		if err != nil {
			break
		}
		if m.Kind == msgStarted || m.Kind == msgFollowed {
			if c := l.find(m.Run); c != nil {
				files = append(files, -1)
				c.pidfd, files = files[0], append(files[1:], c.pidfd)
			}
		}
		closeAll(files)
		l.told(m)
	}
	why := p.wait()
	l.mu.Lock()
	closed := l.closed
	l.now = nil
	var left []*charge
	for id, c := range l.runs {
		if c.at == p {
			left = append(left, c)
			delete(l.runs, id)
		}
	}
	l.mu.Unlock()
	if !closed {
		l.warn("the warden ended: " + why + "; all processes are started again")
	}
	l.endLeft(left)
	if !closed {
		l.startAnother()
	}
	for _, c := range left {
		if !c.exited {
			c.report(report{exit: &Exit{Code: -1, Reason: "its warden ended: " + why}})
		} else {
			c.report(report{})
		}
	}
}

// startAnother starts a warden in the place of one that was killed.
func (l *wardenLauncher) startAnother() {
	p, err := startWarden()
	if err != nil {
		l.warn("no new warden: " + err.Error())
		return
	}
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		_ = p.end() // it has nothing to end
		return
	}
	l.use(p)
}

// told passes on what the warden tells of a run.
func (l *wardenLauncher) told(m message) {
	c := l.find(m.Run)
	if c == nil {
		return
	}
	switch m.Kind {
	case msgStarted, msgFollowed:
		c.pid = m.PID
		c.report(report{pid: m.PID, warnings: c.warnings, followed: m.Kind == msgFollowed})
	case msgFailed:
		l.end(c)
		err, permanent := startError(c.path, m.Text, syscall.Errno(m.Errno))
		c.report(report{err: err, permanent: permanent})
	case msgEnded:
		e := exitOf(unix.WaitStatus(m.Status))
		c.exited = true
		if !m.Rest {
			l.end(c)
		}
		c.report(report{exit: &e, rest: m.Rest})
	case msgGone:
		l.end(c)
		c.report(report{})
	}
}

// end forgets a run of which nothing is left.
func (l *wardenLauncher) end(c *charge) {
	l.take(c.id)
	if c.pidfd >= 0 {
		_ = unix.Close(c.pidfd)
	}
	if c.group != "" {
		_ = os.Remove(c.group) // the warden may have done so
	}
}

// startError says why a file could not be started, and whether it will be so again.
func startError(path, text string, errno syscall.Errno) (err error, permanent bool) {
	why := ""
	permanent = true
	switch errno {
	case unix.ENOENT:
		why = "the interpreter or loader that it names is missing"
	case unix.ENOEXEC:
		why = "it is no program of this machine, and no script that begins with #!"
	case unix.E2BIG:
		why = "its arguments and environment are too large"
	case unix.EACCES, unix.EPERM, unix.ENOTDIR, unix.ELOOP:
	case unix.EAGAIN:
		why, permanent = "the user has as many processes as it may", false
	default:
		permanent = false
	}
	if why == "" {
		return fmt.Errorf("command %s: %s", path, text), permanent
	}
	return fmt.Errorf("command %s: %s: %w", path, why, errno), permanent
}

// endLeft ends what a warden that was killed has left: the kernel has killed the leaders.
func (l *wardenLauncher) endLeft(left []*charge) {
	for _, c := range left {
		signalGroup(c.pidfd, unix.SIGKILL)
		if c.group != "" {
			killCgroup(c.group)
		}
	}
	ours := func(e entry) bool {
		tag := readTag(e.pid)
		return slices.ContainsFunc(left, func(c *charge) bool { return c.tag == tag })
	}
	for deadline := time.Now().Add(endWindow); len(left) > 0 && time.Now().Before(deadline); {
		again := false
		for _, pid := range processes() {
			e := entry{pid: pid}
			if ours(e) {
				again = true
				signalIf(e, unix.SIGKILL, ours)
			} else if inExec(pid) { // it may be ours, too
				again = true
			}
		}
		if !again {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for _, c := range left {
		l.end(c)
	}
}

// close ends the warden, which ends what is left.
func (l *wardenLauncher) close() error {
	l.mu.Lock()
	l.closed = true
	p := l.now
	l.mu.Unlock()
	var err error
	if p != nil {
		err = p.end()
	}
	l.readers.Wait()
	l.cgroup.close()
	return err
}

// A post is where a warden is reached.
type post struct {
	conn  *net.UnixConn
	cmd   *exec.Cmd
	dead  chan struct{} // closed when the process has ended
	state string        // how, valid then

	sending sync.Mutex // of the stream
	mu      sync.Mutex
	queue   []message // guarded by mu
	flying  bool      // guarded by mu: a goroutine sends the queue
}

func startWarden() (*post, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("supervisor: socket pair: %w", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "warden")
	defer ours.Close()
	theirs := os.NewFile(uintptr(pair[1]), "supervisor")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("supervisor: socket pair: %w", err)
	}
	p := &post{conn: conn.(*net.UnixConn), dead: make(chan struct{})}
	p.cmd = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{wardenArg}, Stderr: os.Stderr,
		Env:         append(environment(os.Environ(), nil, nil), wardenEnv+"=1", "GOMAXPROCS=1"),
		Dir:         "/", // holds no file system
		ExtraFiles:  []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := p.cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("supervisor: start the warden: %w", err)
	}
	go func() {
		defer close(p.dead)
		_ = p.cmd.Wait() // the state tells
		p.state = p.cmd.ProcessState.String()
	}()
	theirs.Close()
	_ = p.conn.SetReadDeadline(time.Now().Add(helloWindow))
	m, _, err := readMessage(p.conn)
	if err != nil || m.Kind != msgHello {
		_ = p.cmd.Process.Kill()
		_ = p.end()
		return nil, fmt.Errorf("supervisor: the warden, which is this program once more, does not "+
			"answer; does it call supervisor.Warden first thing in main? %w", err)
	}
	_ = p.conn.SetReadDeadline(time.Time{})
	return p, nil
}

// send sends m, waiting while the warden does not read.
func (p *post) send(m message, files ...int) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	if err := writeMessage(p.conn, m, files...); err != nil {
		return fmt.Errorf("tell the warden: %w", err)
	}
	return nil
}

// post sends m without waiting, after what was posted before.
func (p *post) post(m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, m)
	if p.flying {
		return
	}
	p.flying = true
	go func() { // ends when the queue is empty, or the warden gone
		for {
			p.mu.Lock()
			if len(p.queue) == 0 {
				p.flying = false
				p.mu.Unlock()
				return
			}
			m := p.queue[0]
			p.queue = p.queue[1:]
			p.mu.Unlock()
			_ = p.send(m) // the reader notices
		}
	}()
}

// wait waits for the end of the warden, whose stream has ended, and says how it was.
func (p *post) wait() string {
	p.conn.Close()
	select {
	case <-p.dead:
	case <-time.After(endWindow):
		_ = p.cmd.Process.Kill()
		<-p.dead
	}
	return p.state
}

// end lets the warden end all that is left, and itself.
func (p *post) end() error {
	p.conn.Close()
	select {
	case <-p.dead:
		return nil
	case <-time.After(endWindow):
		_ = p.cmd.Process.Kill()
		<-p.dead
		return fmt.Errorf("supervisor: the warden did not end within %v and was killed: "+
			"processes may be left", endWindow)
	}
}
