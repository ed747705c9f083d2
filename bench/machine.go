package bench

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// Machine is where and of what a run was made.
type Machine struct {
	Commit  string    `json:"commit"` // with "-dirty" when files had changed; empty: unknown
	CPU     string    `json:"cpu"`
	Cores   int       `json:"cores"`
	Procs   int       `json:"gomaxprocs"`
	Kernel  string    `json:"kernel"`
	Go      string    `json:"go"`
	System  string    `json:"system"` // GOOS/GOARCH
	Date    time.Time `json:"date"`
	Command string    `json:"command"`
}

func readMachine() Machine {
	return Machine{
		Commit:  commit(),
		CPU:     cpuModel(),
		Cores:   runtime.NumCPU(),
		Procs:   runtime.GOMAXPROCS(0),
		Kernel:  kernel(),
		Go:      runtime.Version(),
		System:  runtime.GOOS + "/" + runtime.GOARCH,
		Date:    time.Now().UTC().Truncate(time.Second),
		Command: command(),
	}
}

// command is the command line without the folder of the program.
func command() string {
	args := append([]string(nil), os.Args...)
	if i := strings.LastIndexByte(args[0], os.PathSeparator); i >= 0 {
		args[0] = args[0][i+1:]
	}
	return strings.Join(args, " ")
}

// commit returns what the binary was built from, else, as after "go run", what git says.
func commit() string {
	var revision, dirty string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "-dirty"
			}
		}
	}
	if revision != "" {
		return revision + dirty
	}
	revision, err := git("rev-parse", "HEAD")
	if err != nil || !atHome() {
		return ""
	}
	if changes, err := git("status", "--porcelain"); err == nil && changes != "" {
		dirty = "-dirty"
	}
	return revision + dirty
}

// atHome reports whether the working directory is in a checkout of this module.
func atHome() bool {
	top, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		return false
	}
	text, err := os.ReadFile(filepath.Join(top, "go.mod"))
	return err == nil && bytes.HasPrefix(text, []byte("module github.com/pithos-ipc/pithos\n"))
}

func git(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	return string(bytes.TrimSpace(out)), err
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return strings.TrimSpace(string(text))
}
