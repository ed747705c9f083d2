package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// private are the variables that a child does not take over from the supervisor's environment: they
// are about the supervisor itself, which may be a child of another one.
var private = []string{"PITHOS_PROCESS", "PITHOS_INSTANCE", "PITHOS_SERVICES", "PITHOS_RUN",
	"PITHOS_WARDEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

// environment joins environments; of two variables with one name the last counts. The private ones
// of the first are left out.
func environment(inherited, given, own []string) []string {
	at := make(map[string]int)
	var env []string
	add := func(e string) {
		key, _, _ := strings.Cut(e, "=")
		if i, ok := at[key]; ok {
			env[i] = e
			return
		}
		at[key] = len(env)
		env = append(env, e)
	}
next:
	for _, e := range inherited {
		for _, p := range private {
			if strings.HasPrefix(e, p+"=") {
				continue next
			}
		}
		add(e)
	}
	for _, e := range given {
		add(e)
	}
	for _, e := range own {
		add(e)
	}
	return env
}

// lookCommand returns the absolute path of a command. One with a slash is relative to dir; another
// is looked up in the PATH of env.
func lookCommand(command, dir string, env []string) (string, error) {
	absolute := func(path string) (string, error) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return filepath.Abs(path)
	}
	if strings.ContainsRune(command, '/') {
		path, err := absolute(command)
		if err != nil {
			return "", fmt.Errorf("command %s: %w", command, err)
		}
		return path, executable(path)
	}
	path := ""
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			path = value
		}
	}
	var denied error
	for _, folder := range filepath.SplitList(path) {
		if folder == "" {
			continue // the working directory is no place to find programs by chance
		}
		full, err := absolute(filepath.Join(folder, command))
		if err != nil {
			continue
		}
		if err = executable(full); err == nil {
			return full, nil
		}
		if _, statErr := os.Stat(full); statErr == nil && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fmt.Errorf("command %s: not found in PATH %q", command, path)
}

// executable says why the file is not one, as far as its mode tells.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("command: %w", err)
	case info.IsDir():
		return fmt.Errorf("command %s: is a directory", path)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("command %s: not executable, its mode is %v", path, info.Mode())
	}
	return nil
}
