package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// A plainLauncher starts children of the supervisor itself. It sends signals to them, but not to
// what they start: the way of systems that are not Linux.
type plainLauncher struct {
	mu      sync.Mutex
	runs    map[uint64]*os.Process // guarded by mu
	waiters sync.WaitGroup
}

func newPlainLauncher() *plainLauncher {
	return &plainLauncher{runs: make(map[uint64]*os.Process)}
}

func (p *plainLauncher) launch(o order) {
	cmd := exec.Cmd{Path: o.path, Args: o.argv, Env: o.env, Dir: o.spec.Dir, Stdout: o.stdout,
		Stderr: o.stderr}
	err := cmd.Start()
	o.stdout.Close()
	o.stderr.Close()
	if err != nil {
		o.report(report{err: err})
		return
	}
	p.mu.Lock()
	p.runs[o.id] = cmd.Process
	p.mu.Unlock()
	r := report{pid: cmd.Process.Pid, warnings: o.warnings}
	if o.spec.Limits != (Limits{}) {
		r.warnings = append(r.warnings, "runs without limits: they need Linux")
	}
	o.report(r)
	p.waiters.Go(func() {
		err := cmd.Wait()
		p.mu.Lock()
		delete(p.runs, o.id)
		p.mu.Unlock()
		e := Exit{Code: -1, Reason: fmt.Sprint("lost: ", err)}
		if cmd.ProcessState != nil {
			e = Exit{Code: cmd.ProcessState.ExitCode(), Reason: cmd.ProcessState.String()}
			if w, ok := cmd.ProcessState.Sys().(waitStatus); ok {
				e = exitOf(w)
			}
		}
		o.report(report{exit: &e})
	})
}

func (p *plainLauncher) signal(run uint64, sig os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if process := p.runs[run]; process != nil {
		_ = process.Signal(sig) // it has ended if this is an error
	}
}

func (p *plainLauncher) close() error {
	p.mu.Lock()
	for _, process := range p.runs {
		_ = process.Signal(syscall.SIGKILL)
	}
	p.mu.Unlock()
	p.waiters.Wait()
	return nil
}
