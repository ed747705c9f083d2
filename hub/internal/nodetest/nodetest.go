// Package nodetest plays cases with Pandora's own clients for Node against a hub of a test. The
// packages come from npm, by the lock file in hub/testdata/node, and are kept in the user's cache;
// the driver in that folder says what a case is.
//
// It is for tests only.
package nodetest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Missing ends the test because something is not on this machine: a failure where CI is set.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, and CI=true wants it", what)
	}
	t.Skip(what)
}

// Install returns a folder with the packages of package-lock.json in dir. It is kept in the user's
// cache, by the sum of that file.
func Install(t testing.TB, dir string) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			Missing(t, tool+" is not on PATH")
		}
	}
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	must(t, err)
	sum := sha256.Sum256(lock)
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "pithos-test")
	kept := filepath.Join(cache, "node-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(kept); err == nil {
		return kept
	}
	must(t, os.MkdirAll(cache, 0o700))
	fresh, err := os.MkdirTemp(cache, "new-")
	must(t, err)
	defer os.RemoveAll(fresh)
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(fresh, name), text, 0o600))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = fresh
	npm.WaitDelay = time.Second
	if out, err := npm.CombinedOutput(); err != nil {
		Missing(t, "npm ci: "+err.Error()+"\n"+string(out))
	}
	if err := os.Rename(fresh, kept); err != nil { // another run may have been the first
		_, err = os.Stat(kept)
		must(t, err)
	}
	return kept
}

// Drive runs the driver in dir with the clients in the folder that Install has returned, and each
// case of the files as a subtest; mode is 1, 2 or mixed. hub is called when a case wants something
// done, and has to have done it when it returns. The result is how many cases there were.
func Drive(t *testing.T, dir, clients, mode string, files []string, hub func(what string)) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	driver := exec.CommandContext(ctx, "node", filepath.Join(dir, "driver.js"), mode)
	driver.Env = append(os.Environ(), "CLIENTS="+clients, "NODE_NO_WARNINGS=1",
		"CASES="+strings.Join(files, ","))
	driver.Stderr = os.Stderr
	driver.WaitDelay = time.Second
	in, err := driver.StdinPipe()
	must(t, err)
	out, err := driver.StdoutPipe()
	must(t, err)
	must(t, driver.Start())
	played := 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r struct {
			Case, Why, Hub string
			Ms             int
		}
		must(t, json.Unmarshal(lines.Bytes(), &r))
		if r.Hub != "" {
			hub(r.Hub)
			_, err := io.WriteString(in, "done\n")
			must(t, err)
			continue
		}
		played++
		t.Run(r.Case, func(t *testing.T) {
			if t.Logf("%d ms", r.Ms); r.Why != "" {
				t.Error(r.Why)
			}
		})
	}
	must(t, driver.Wait())
	return played
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
