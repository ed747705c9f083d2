package main

import (
	"os/exec"
	"syscall"
)

// detach lets cmd lead a session of its own, so that no signal of a terminal reaches it.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
