package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/supervisor"
)

// A disk that is full is survived and told of, and lines that were accepted wait for it. Those who
// have subscribed get them all the same.
func TestR28FullDisk(t *testing.T) {
	dir := t.TempDir()
	file, more := filepath.Join(dir, "web.log"), filepath.Join(dir, "more")
	require.NoError(t, os.Symlink("/dev/full", file))
	spec := sh("web", hundred+"while ! test -f "+more+"; do sleep 0.02; done; echo more; "+
		"exec sleep 1000")
	spec.Log.File = file
	sup, err := supervisor.New(supervisor.Options{}, spec)
	require.NoError(t, err)
	events := sup.Subscribe(supervisor.Filter{Events: true})
	lines := sup.Subscribe(supervisor.Filter{Lines: true})
	r := run(t, sup)
	require.Contains(t, warning(t, events), "no space left on device")
	require.Equal(t, supervisor.Ready, r.eventually("web", 0, supervisor.Ready).State)
	for i := range 100 {
		require.Equal(t, fmt.Sprint("line ", i), next(t, lines))
	}
	require.NoError(t, os.WriteFile(more, nil, 0o600))
	require.Equal(t, "more", next(t, lines))
	require.NoError(t, os.Remove(file))
	require.Contains(t, warning(t, events), "written again")
	require.NoError(t, r.end())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, regexp.MustCompile(`(?m)^.* web#0 out line \d+$`).FindAll(text, -1), 100)
	require.Regexp(t, `(?m) web#0 out more$`, string(text))
}

// next returns the next line.
func next(t *testing.T, lines *supervisor.Subscription) string {
	t.Helper()
	select {
	case m := <-lines.C():
		require.NotNil(t, m.Line)
		return m.Line.Text
	case <-time.After(patience):
		t.Fatal("no line")
		return ""
	}
}

// R28: a child that writes 1 KiB lines as fast as it can does not make the supervisor grow beyond
// 64 MB, whatever takes the lines.
func TestR28Memory(t *testing.T) {
	length := time.Second
	if os.Getenv("PITHOS_LONG") != "" {
		length = 20 * time.Second
	}
	for _, full := range []supervisor.FullPolicy{supervisor.Drop, supervisor.Block} {
		for name, file := range map[string]string{
			"none": "", "file": filepath.Join(t.TempDir(), "log"), "full disk": "/dev/full",
		} {
			t.Run(full.String()+" "+name, func(t *testing.T) {
				spec := as("flood", "flood")
				spec.Log = supervisor.LogPolicy{File: file, Full: full}
				s := superviseSpecs(t, spec)
				require.Equal(t, "started <nil>", s.line())
				time.Sleep(length) // of the flood
				peak := inStatus(t, s.cmd.Process.Pid, "VmHWM")
				t.Logf("%d MB at most", peak>>20)
				require.Less(t, peak, int64(raceFactor*64<<20))
			})
		}
	}
}
