package main

import (
	"io"
	"os"

	"github.com/pithos-ipc/pithos/supervisor"
)

// daemonLog is the log of a daemon in the background: a file that is rotated as those of processes
// are. Standard error, where the last words of a crash go, is the same file, and follows it on
// Linux; elsewhere they are at the end of an old one.
type daemonLog struct {
	io.WriteCloser
	path   string
	stderr *os.File
}

func openDaemonLog(path string, stderr *os.File) *daemonLog {
	return &daemonLog{supervisor.LogPolicy{File: path}.Open(), path, stderr}
}

// Write writes a line.
func (l *daemonLog) Write(line []byte) (int, error) {
	before, _ := os.Stat(l.path)
	n, err := l.WriteCloser.Write(line)
	if after, e := os.Stat(l.path); e == nil && before != nil && !os.SameFile(before, after) {
		l.follow(before)
	}
	return n, err
}

// follow has standard error go to the new file, if it went to the old one.
func (l *daemonLog) follow(old os.FileInfo) {
	if now, err := l.stderr.Stat(); err != nil || !os.SameFile(now, old) {
		return
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return // it goes to the old file on
	}
	defer f.Close()
	_ = redirect(l.stderr, f) // the same
}
