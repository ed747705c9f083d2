package transport

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstActivated is the first descriptor that socket activation passes.
const firstActivated = 3

// maxActivated bounds what LISTEN_FDS may claim.
const maxActivated = 1024

// Activated serves the sockets that the process was started with, as systemd's socket activation
// passes them (sd_listen_fds(3)): LISTEN_FDS of them when LISTEN_PID is this process. Without any
// it returns none and no error. The environment is cleared of them, so that they are taken once and
// children do not look for them. A Listener's address is the name of its socket in LISTEN_FDNAMES.
//
// Credentials of a server behind activation show clients the uid of the activator.
func Activated(o Options) ([]*Listener, error) {
	files, err := activatedFiles()
	if err != nil {
		return nil, err
	}
	var listeners []*Listener
	for _, f := range files {
		if err == nil {
			var l *Listener
			if l, err = ListenFile(f, o); err == nil {
				listeners = append(listeners, l)
			}
		}
		f.Close() // the listener has its own
	}
	if err == nil {
		return listeners, nil
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for _, l := range listeners {
		_ = l.Close(done)
	}
	return nil, err
}

// activatedFiles takes the descriptors over.
func activatedFiles() ([]*os.File, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if pid != strconv.Itoa(os.Getpid()) || count == "" {
		return nil, nil
	}
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v)
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, &OpError{"activate", "LISTEN_FDS=" + count, strconv.ErrSyntax}
	}
	if n > maxActivated {
		return nil, &OpError{"activate", "LISTEN_FDS", &LimitError{What: "descriptors passed",
			Value: int64(n), Limit: maxActivated}}
	}
	files := make([]*os.File, n)
	for i := range files {
		fd := firstActivated + i
		unix.CloseOnExec(fd)
		name := fmt.Sprintf("LISTEN_FD_%d", fd)
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		files[i] = os.NewFile(uintptr(fd), name)
	}
	return files, nil
}
