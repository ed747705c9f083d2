package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const noCgroup = "none"

var errNoCgroup = errors.New("cgroups are turned off")

// A cgroup is the folder of this supervisor in a cgroup v2, below one that is delegated to it:
//
//	delegated/
//	  pithos-TOKEN/
//	    1/  2/  ...    one for each run
//	  pithos-leaf/     the supervisor, moved there if controllers are wanted
type cgroup struct {
	folder string
	err    error // why there is none

	once    sync.Once
	limited error // why no limits can be set, after once
}

// findCgroup makes the folder of a supervisor. chosen is Options.Cgroup.
func findCgroup(chosen, token string) *cgroup {
	parent := chosen
	if chosen == noCgroup {
		return &cgroup{err: errNoCgroup}
	}
	if chosen == "" {
		var err error
		if parent, err = delegated(); err != nil {
			return &cgroup{err: err}
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(parent, &fs); err != nil {
		return &cgroup{err: fmt.Errorf("supervisor: cgroup %s: %w", parent, err)}
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return &cgroup{err: fmt.Errorf("supervisor: cgroup %s: not of a cgroup v2", parent)}
	}
	folder := filepath.Join(parent, "pithos-"+token)
	if err := os.Mkdir(folder, 0o755); err != nil {
		return &cgroup{err: fmt.Errorf("supervisor: cgroup: %w", err)}
	}
	return &cgroup{folder: folder}
}

// delegated returns the cgroup that this process is in, if it is delegated to the user.
func delegated() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	_, path, ok := strings.Cut("\n"+string(text), "\n0::")
	path, _, _ = strings.Cut(path, "\n")
	if !ok {
		return "", errors.New("there is no cgroup v2")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			folder := filepath.Join(f[1], path)
			if isDelegated(folder) {
				return folder, nil
			}
			return "", fmt.Errorf("cgroup %s is not delegated to the user", folder)
		}
	}
	return "", errors.New("no cgroup v2 is mounted")
}

// isDelegated says whether the folder is the user's, or marked so by systemd: root may write to all
// of them, but not all of them are its to change.
func isDelegated(folder string) bool {
	var s unix.Stat_t
	if unix.Stat(folder, &s) != nil {
		return false
	}
	if uid := os.Geteuid(); uid != 0 {
		return int(s.Uid) == uid && unix.Access(folder, unix.W_OK) == nil
	}
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Getxattr(folder, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// make makes the cgroup of a run. An error says why it has none, or no limits.
func (c *cgroup) make(run uint64, l Limits) (string, error) {
	if c.err != nil {
		return "", c.err
	}
	if l != (Limits{}) {
		c.once.Do(func() { c.limited = c.enable() })
		if c.limited != nil {
			return "", c.limited
		}
	}
	folder := filepath.Join(c.folder, strconv.FormatUint(run, 10))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", err
	}
	var errs []error
	set := func(file, value string) { errs = append(errs, writeTo(folder, file, value)) }
	if l.Memory > 0 {
		set("memory.max", strconv.FormatInt(l.Memory, 10))
		set("memory.oom.group", "1")
	}
	if l.CPU > 0 {
		const period = 100_000
		set("cpu.max", fmt.Sprintf("%d %d", max(1000, int64(l.CPU*period)), period))
	}
	if l.Processes > 0 {
		set("pids.max", strconv.FormatInt(l.Processes, 10))
	}
	if err := errors.Join(errs...); err != nil {
		_ = os.Remove(folder)
		return "", err
	}
	return folder, nil
}

// enable turns on the controllers that limits need. A cgroup with processes in it can have none in
// those below; so the supervisor moves into a leaf.
func (c *cgroup) enable() error {
	parent := filepath.Dir(c.folder)
	on := func(folder string) error {
		return writeTo(folder, "cgroup.subtree_control", "+cpu +memory +pids")
	}
	err := on(parent)
	if errors.Is(err, unix.EBUSY) {
		leaf := filepath.Join(parent, "pithos-leaf")
		_ = os.Mkdir(leaf, 0o755) // another supervisor may have; if not, the next step fails
		if err = writeTo(leaf, "cgroup.procs", strconv.Itoa(os.Getpid())); err == nil {
			err = on(parent)
		}
	}
	if err == nil {
		err = on(c.folder)
	}
	return err
}

// killCgroup ends all that is in a cgroup.
func killCgroup(folder string) {
	_ = writeTo(folder, "cgroup.kill", "1") // an error: it is gone, or Linux older than 5.14
}

// populated says whether there is a living process in a cgroup.
func populated(folder string) bool {
	text, err := os.ReadFile(filepath.Join(folder, "cgroup.events"))
	return err == nil && strings.Contains(string(text), "populated 1")
}

// writeTo writes to a file that the kernel has in the folder of a cgroup. It makes none.
func writeTo(folder, file, value string) error {
	f, err := os.OpenFile(filepath.Join(folder, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func (c *cgroup) close() {
	if c.folder == "" {
		return
	}
	folders, _ := os.ReadDir(c.folder)
	for _, f := range folders {
		if f.IsDir() {
			_ = os.Remove(filepath.Join(c.folder, f.Name()))
		}
	}
	_ = os.Remove(c.folder)
}
