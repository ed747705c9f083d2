package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const tagName = "PITHOS_RUN"

// An entry is what /proc says of a process.
type entry struct {
	pid     int
	state   byte // Z: it has ended, and is not reaped
	parent  int
	group   int
	session int
}

// readEntry returns the entry of pid, if there is such a process.
func readEntry(pid int) (entry, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return entry{}, false
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 4 {
		return entry{}, false
	}
	e := entry{pid: pid, state: fields[0][0]}
	for i, n := range []*int{&e.parent, &e.group, &e.session} {
		if *n, err = strconv.Atoi(fields[1+i]); err != nil {
			return entry{}, false
		}
	}
	return e, true
}

// readTag returns the value of PITHOS_RUN in the environment that the process was started with; ""
// if there is none, or it may not be read.
func readTag(pid int) string {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	tag := ""
	for e := range bytes.SplitSeq(env, []byte{0}) {
		if value, ok := bytes.CutPrefix(e, []byte(tagName+"=")); ok {
			tag = string(value)
		}
	}
	return tag
}

// kthreadd is the parent of the kernel's own threads.
const kthreadd = 2

// inExec says whether the process is in the middle of execve(2): it has neither arguments nor an
// environment then, which a kernel from 5.18 on lets no program be started without.
func inExec(pid int) bool {
	for _, name := range []string{"environ", "cmdline"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil || len(text) > 0 {
			return false
		}
	}
	e, ok := readEntry(pid)
	return ok && e.state != 'Z' && e.state != 'X' && pid != kthreadd && e.parent != kthreadd
}

// children returns the pids of the children of a process.
func children(pid int) []int {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	var pids []int
	for _, t := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if os.IsNotExist(err) && !hasChildrenFile() {
			return childrenSlow(pid)
		}
		for f := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// hasChildrenFile says whether the kernel has CONFIG_PROC_CHILDREN.
func hasChildrenFile() bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	return err == nil
}

// childrenSlow asks all processes for their parent.
func childrenSlow(pid int) []int {
	var pids []int
	for _, p := range processes() {
		if e, ok := readEntry(p); ok && e.parent == pid {
			pids = append(pids, p)
		}
	}
	return pids
}

// processes returns the pids of all processes.
func processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be read will do
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// descendants returns all processes below pid, parents first. When the parent of one ends, that one
// moves up, to pid if that is their subreaper, perhaps from a list that is not read yet to one that
// is; so the children of pid are read again until none is new.
func descendants(pid int) []entry {
	var all []entry
	seen := map[int]bool{pid: true}
	for next := []int{pid}; len(next) > 0; {
		var below []int
		for _, parent := range append(next, pid) {
			for _, child := range children(parent) {
				if e, ok := readEntry(child); ok && !seen[child] {
					seen[child] = true
					all = append(all, e)
					below = append(below, child)
				}
			}
		}
		next = below
	}
	return all
}

// signalIf sends sig to the process of e if that is still the one which still says yes to: the
// pidfd is taken first, then the question asked, so that a pid that a stranger has taken is not
// signalled.
func signalIf(e entry, sig syscall.Signal, still func(e entry) bool) {
	fd, err := unix.PidfdOpen(e.pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(fd)
	if now, ok := readEntry(e.pid); ok && still(now) {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0) // it has ended if this is an error
	}
}

// signalGroup sends sig to the process group that the process of a pidfd leads, or led. It says
// whether the kernel can: from 6.9 on.
func signalGroup(pidfd int, sig syscall.Signal) bool {
	if pidfd < 0 {
		return false
	}
	err := unix.PidfdSendSignal(pidfd, sig, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	return err == nil || err == unix.ESRCH || err == unix.EPERM
}
