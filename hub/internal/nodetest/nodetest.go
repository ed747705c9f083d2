// Package nodetest plays cases with Pandora's own clients for Node against a hub of a test. The
// driver in hub/testdata/node says what a case is; the clients come by the lock file beside it and
// package npmtest.
//
// It is for tests only.
package nodetest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Drive runs the driver in dir with the clients in the folder that npmtest.Install has returned,
// and each case of the files as a subtest; mode is 1, 2 or mixed. hub is called when a case wants
// something done, and has to have done it when it returns. The result is how many cases there were.
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
