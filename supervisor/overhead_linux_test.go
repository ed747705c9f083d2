package supervisor_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/supervisor"
)

// BenchmarkIdle prints what a supervisor of 50 idle processes and its warden use: their resident
// memory, of that what is their own, and the share of a processor over some seconds.
func BenchmarkIdle(b *testing.B) {
	var specs []supervisor.Spec
	for i := range 50 {
		specs = append(specs, sh(fmt.Sprintf("p%d", i), "exec sleep 1000"))
	}
	s := superviseSpecs(b, specs...)
	require.Equal(b, "started <nil>", s.line())
	pids := append(wardens(b, s.cmd.Process.Pid), s.cmd.Process.Pid)
	require.Len(b, pids, 2)
	time.Sleep(5 * time.Second) // what starting left to do is done
	const length = 10 * time.Second
	for b.Loop() {
		before := used(b, pids)
		time.Sleep(length)
		spent := used(b, pids) - before
		b.ReportMetric(100*spent.Seconds()/length.Seconds(), "%cpu")
	}
	rss, own := int64(0), int64(0)
	for _, pid := range pids {
		rss += inStatus(b, pid, "VmRSS")
		own += inStatus(b, pid, "RssAnon")
	}
	b.ReportMetric(float64(rss)/(1<<20), "MB-resident")
	b.ReportMetric(float64(own)/(1<<20), "MB-own")
}

// wardens returns the pids of the children of a supervisor.
func wardens(t testing.TB, pid int) []int {
	t.Helper()
	var pids []int
	for thread := range threads(t, pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread))
		require.NoError(t, err)
		for f := range strings.FieldsSeq(string(text)) {
			n, err := strconv.Atoi(f)
			require.NoError(t, err)
			pids = append(pids, n)
		}
	}
	return pids
}

func threads(t testing.TB, pid int) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

// used returns the time that processes have run for, to the nanosecond.
func used(t testing.TB, pids []int) time.Duration {
	t.Helper()
	sum := time.Duration(0)
	for _, pid := range pids {
		for thread := range threads(t, pid) {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, thread))
			require.NoError(t, err)
			ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
			require.NoError(t, err)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// inStatus returns a number of bytes in /proc/PID/status.
func inStatus(t testing.TB, pid int, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	found := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(text)
	require.NotNil(t, found)
	kb, err := strconv.ParseInt(string(found[1]), 10, 64)
	require.NoError(t, err)
	return kb << 10
}

// BenchmarkR28Flood prints how much of what a process writes as fast as it can, in lines of 1 KiB,
// a supervisor takes, into a file that is rotated, and the share that it drops.
func BenchmarkR28Flood(b *testing.B) {
	for _, full := range []supervisor.FullPolicy{supervisor.Drop, supervisor.Block} {
		b.Run(full.String(), func(b *testing.B) {
			const chunks = 4 << 10 // of 64 lines
			lost := uint64(0)
			for b.Loop() {
				spec := as("flood", "flood", strconv.Itoa(chunks))
				spec.Restart.Mode = supervisor.RestartNever
				spec.Log = supervisor.LogPolicy{File: b.TempDir() + "/log", Full: full}
				r := start(b, supervisor.Options{}, spec)
				require.NoError(b, r.Wait(r.ctx()))
				procs, err := r.Snapshot(r.ctx())
				require.NoError(b, err)
				require.NoError(b, r.end())
				lost += procs[0].LogLost
			}
			b.SetBytes(chunks << 16)
			b.ReportMetric(100*float64(lost)/float64(b.N)/(chunks*64), "%lost")
		})
	}
}
