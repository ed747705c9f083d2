package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

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

// An order is what a launcher needs to start a run: what the loop fills in, and what the host adds.
type order struct {
	id      uint64
	spec    *Spec
	index   int
	journal *journal
	noticed func(notice)
	report  func(report)

	path     string
	argv     []string
	env      []string
	stdout   *os.File // the launcher closes them; they may be the same
	stderr   *os.File
	warnings []string // to come with the pid
}

// A report is what a launcher tells of a run. First comes one with a pid or an err. After a pid
// comes the exit of the leader, and if there is a rest, an empty report when that is gone.
type report struct {
	pid       int
	followed  bool     // with a pid: it leads now, the run goes on
	warnings  []string // with a pid: what was wanted and could not be done
	err       error
	permanent bool // with an err: it will be the same next time
	exit      *Exit
	rest      bool // with an exit: other processes of the run are left
}

// last says whether nothing comes after r.
func (r report) last() bool { return r.pid == 0 && !r.rest }

// A host is the launcher of a Supervisor. It makes what a run needs of the system besides its
// processes: the environment, the pipes, the socket of sd_notify. The processes are another's.
type host struct {
	launcher
	working sync.WaitGroup
	probes  atomic.Uint64
}

const (
	// firstProbe is where the numbers of runs begin that are probes, not of the loop.
	firstProbe = 1 << 63
	// maxAnswer is how many bytes of what a probe writes become an error.
	maxAnswer = 512
)

// launch returns at once: what it does may wait for a disk.
func (h *host) launch(o order) {
	h.working.Go(func() {
		socket, err := listenNotify(o.noticed)
		if err != nil && err != errNoNotify {
			o.warnings = append(o.warnings, "no sd_notify: "+err.Error())
		}
		if err := o.prepare(socket); err != nil {
			socket.close()
			o.report(report{err: err, permanent: true})
			return
		}
		read, err := o.connect()
		if err != nil {
			socket.close()
			o.report(report{err: fmt.Errorf("pipe: %w", err)})
			return
		}
		tell := o.report
		o.report = func(r report) {
			if !r.last() {
				tell(r)
				return
			}
			h.working.Go(func() {
				read()
				socket.close()
				tell(r)
			})
		}
		h.launcher.launch(o)
	})
}

// execute runs the command of spec once, as the process of spec would be. It is killed when ctx is
// done. The error says how it ended, and has its last line.
func (h *host) execute(ctx context.Context, spec *Spec, index int) error {
	o := order{id: firstProbe + h.probes.Add(1), spec: spec, index: index}
	if err := o.prepare(nil); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	o.stdout, o.stderr = w, w
	told := make(chan report, 4) // pid, followed, exit, gone
	o.report = func(r report) { told <- r }
	text := make(chan []byte, 1)
	h.working.Go(func() {
		b, _ := io.ReadAll(io.LimitReader(r, maxAnswer)) // what came will do
		text <- b
		_, _ = io.Copy(io.Discard, r)
	})
	h.launcher.launch(o)
	var exit *Exit
	for ended := ctx.Done(); ; {
		select {
		case <-ended:
			ended = nil
			h.signal(o.id, syscall.SIGKILL)
			continue
		case rep := <-told:
			if rep.exit != nil {
				exit = rep.exit
				h.signal(o.id, syscall.SIGKILL) // it has ended; what it left shall, too
			}
			if !rep.last() {
				continue
			}
			err = rep.err
		}
		break
	}
	_ = r.SetReadDeadline(time.Now().Add(drainWindow))
	switch answer := bytes.TrimSpace(<-text); {
	case err != nil:
		return err
	case exit.success():
		return nil
	default:
		last := answer[bytes.LastIndexByte(answer, '\n')+1:]
		return fmt.Errorf("%s: %s: %s", spec.Command, exit.Reason, last)
	}
}

func (h *host) adopt(run uint64, pid int) {
	if a, ok := h.launcher.(adopter); ok {
		a.adopt(run, pid)
	}
}

func (h *host) close() error {
	err := h.launcher.close()
	h.working.Wait()
	return err
}

// drainWindow is how long the pipes of a run whose processes are gone may take to end. They end at
// once, unless somebody else holds them, or the FullPolicy blocks who reads them.
const drainWindow = 500 * time.Millisecond

// connect makes the pipes that the run writes to. The function that it returns waits until all has
// been read, within the window.
func (o *order) connect() (func(), error) {
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
	outDone, errDone := make(chan struct{}), make(chan struct{})
	o.journal.read(outR, o.index, Stdout, func() { close(outDone) })
	o.journal.read(errR, o.index, Stderr, func() { close(errDone) })
	return func() {
		deadline := time.Now().Add(drainWindow)
		_ = outR.SetReadDeadline(deadline) // an error means that it has ended
		_ = errR.SetReadDeadline(deadline)
		timer := time.NewTimer(2 * drainWindow)
		defer timer.Stop()
		for _, done := range []chan struct{}{outDone, errDone} {
			select {
			case <-done:
			case <-timer.C:
				return
			}
		}
	}, nil
}

// prepare resolves the command and makes the environment. Its errors are permanent.
func (o *order) prepare(socket *notifySocket) error {
	s := o.spec
	own := []string{
		"PITHOS_PROCESS=" + s.Name,
		"PITHOS_INSTANCE=" + strconv.Itoa(o.index),
	}
	if s.Services != "" {
		own = append(own, "PITHOS_SERVICES="+s.Services)
	}
	if socket != nil {
		own = append(own, "NOTIFY_SOCKET="+socket.address)
		if w := s.Ready.Watchdog; w > 0 {
			own = append(own, "WATCHDOG_USEC="+strconv.FormatInt(w.Microseconds(), 10))
		}
	}
	o.env = environment(os.Environ(), s.Env, own)
	if s.Dir != "" {
		info, err := os.Stat(s.Dir)
		if err != nil {
			return fmt.Errorf("dir: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("dir %s: not a directory", s.Dir)
		}
	}
	path, err := lookCommand(s.Command, s.Dir, o.env)
	o.path, o.argv = path, append([]string{s.Command}, s.Args...)
	return err
}
