package supervisor

import (
	"fmt"
	"syscall"
)

// waitStatus is what systems that know signals have as syscall.WaitStatus.
type waitStatus interface {
	ExitStatus() int
	Signaled() bool
	Signal() syscall.Signal
	CoreDump() bool
}

// exitOf returns how a process of that status ended.
func exitOf(w waitStatus) Exit {
	if !w.Signaled() {
		e := Exit{Code: w.ExitStatus()}
		e.Reason = fmt.Sprintf("exit status %d", e.Code)
		return e
	}
	e := Exit{Code: -1, Signal: signalName(w.Signal()), Core: w.CoreDump()}
	e.Reason = "killed by " + e.Signal
	if e.Core {
		e.Reason += " (core dumped)"
	}
	return e
}

// signalNames are those that end processes.
var signalNames = map[syscall.Signal]string{
	syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "SIGINT", syscall.SIGQUIT: "SIGQUIT",
	syscall.SIGILL: "SIGILL", syscall.SIGTRAP: "SIGTRAP", syscall.SIGABRT: "SIGABRT",
	syscall.SIGBUS: "SIGBUS", syscall.SIGFPE: "SIGFPE", syscall.SIGKILL: "SIGKILL",
	syscall.SIGSEGV: "SIGSEGV", syscall.SIGPIPE: "SIGPIPE", syscall.SIGALRM: "SIGALRM",
	syscall.SIGTERM: "SIGTERM",
}

func signalName(s syscall.Signal) string {
	if n, ok := signalNames[s]; ok {
		return n
	}
	return fmt.Sprintf("signal %d", int(s))
}
