// Package npmtest gives tests the packages of a lock file from npm.
//
// A lock file has versions and sums, and no addresses: where packages come from is npm's business.
// What was installed is kept in the user's cache.
package npmtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const installTime = 3 * time.Minute

// Install returns a folder with what the package-lock.json in the folder from says, in
// node_modules. Without node or npm, or when they do not succeed, the test is skipped, or fails
// with CI=true.
func Install(t testing.TB, from string) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool+" is not on PATH")
		}
	}
	lock, err := os.ReadFile(filepath.Join(from, "package-lock.json"))
	require.NoError(t, err)
	sum := sha256.Sum256(lock)
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "pithos-test")
	dir := filepath.Join(cache, "node-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	require.NoError(t, os.MkdirAll(cache, 0o700))
	fresh, err := os.MkdirTemp(cache, "new-")
	require.NoError(t, err)
	defer os.RemoveAll(fresh)
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(fresh, name), text, 0o600))
	}
	ctx, cancel := context.WithTimeout(t.Context(), installTime)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = fresh
	npm.WaitDelay = time.Second
	if out, err := npm.CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("npm ci: %v\n%s", err, out))
	}
	if err := os.Rename(fresh, dir); err != nil { // another run may have been the first
		_, err = os.Stat(dir)
		require.NoError(t, err)
	}
	return dir
}

// missing ends the test because something is not on this machine: a failure where CI is set.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, and CI=true wants it", what)
	}
	t.Skip(what)
}
