package transporttest

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// leakWait is how long things that end by themselves are waited for.
const leakWait = 20 * time.Second

// VerifyNoLeaks runs the tests of m and exits; it fails when they leave a goroutine or a descriptor
// behind. It is for TestMain.
func VerifyNoLeaks(m *testing.M) {
	before := snapshot()
	code := m.Run()
	if code == 0 {
		if left := before.leaks(leakWait); left != "" {
			fmt.Fprintln(os.Stderr, "after all tests: "+left)
			code = 1
		}
	}
	os.Exit(code)
}

// CheckLeaks fails the test when at its end there is a goroutine or a descriptor that was not there
// at the call. Call it first, so that it is the last of the cleanups; not in parallel tests, whose
// neighbours it would see.
func CheckLeaks(t testing.TB) {
	t.Helper()
	checkLeaks(t, leakWait)
}

func checkLeaks(t testing.TB, wait time.Duration) {
	t.Helper()
	before := snapshot()
	t.Cleanup(func() {
		if left := before.leaks(wait); left != "" {
			t.Error(left)
		}
	})
}

// state is which goroutines and descriptors there are.
type state struct {
	goroutines map[int]string    // stacks by number
	files      map[string]string // what they are open on by number; empty where it cannot be told
}

// snapshot looks at the process. It wakes the runtime's poller first, whose descriptors are made
// when the first file is waited for, and stay.
func snapshot() state {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	return state{goroutines(), files()}
}

// leaks waits until nothing is left that was not there before, and describes what is.
func (before state) leaks(within time.Duration) string {
	end := time.Now().Add(within)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		left := before.diff(snapshot())
		if left == "" || time.Now().After(end) {
			return left
		}
		time.Sleep(pause)
	}
}

func (before state) diff(now state) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(now.goroutines)) {
		if _, old := before.goroutines[id]; !old {
			fmt.Fprintf(&b, "leaked goroutine:\n%s\n", now.goroutines[id])
		}
	}
	for _, fd := range slices.Sorted(maps.Keys(now.files)) {
		if before.files[fd] != now.files[fd] && !profile(now.files[fd]) {
			fmt.Fprintf(&b, "leaked descriptor %s: %s\n", fd, now.files[fd])
		}
	}
	return b.String()
}

// goroutines returns the stacks of all goroutines but the caller's and those of the test harness.
func goroutines() map[int]string {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	found := make(map[int]string)
	for i, stack := range bytes.Split(buf, []byte("\n\n")) {
		id, text, ok := parseStack(stack)
		if i > 0 && ok && !harness(text) {
			found[id] = text
		}
	}
	return found
}

// parseStack reads "goroutine 7 [select]:" and what follows.
func parseStack(stack []byte) (id int, text string, ok bool) {
	text = string(stack)
	rest, ok := strings.CutPrefix(text, "goroutine ")
	if !ok {
		return 0, "", false
	}
	number, _, _ := strings.Cut(rest, " ")
	id, err := strconv.Atoi(number)
	return id, text, err == nil
}

// harness says whether a goroutine belongs to package testing, or to the runtime.
func harness(stack string) bool {
	for _, s := range []string{"testing.(*T).Run(", "testing.runTests", "testing.tRunner.func",
		"testing.(*F).Fuzz(", "testing.(*M).Run", "os/signal.signal_recv", "os/signal.loop",
		"runtime.ensureSigM", "runtime/trace."} {
		if strings.Contains(stack, s) {
			return true
		}
	}
	return false
}

// profile says whether a file is one that package testing writes and leaves open to the end.
func profile(link string) bool {
	for _, name := range []string{"cpuprofile", "trace", "testlogfile"} {
		f := flag.Lookup("test." + name)
		if f == nil || f.Value.String() == "" {
			continue
		}
		if filepath.Base(f.Value.String()) == filepath.Base(link) {
			return true
		}
	}
	return false
}

// files returns what the descriptors of the process are open on.
func files() map[string]string {
	const dir = "/proc/self/fd"
	found := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return found
	}
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil { // the one of ReadDir is gone
			found[e.Name()] = link
		}
	}
	return found
}
