package bench

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRunMeasuresEverything takes every row through every scenario, for some milliseconds, with
// server processes of their own.
func TestRunMeasuresEverything(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or each child takes a second to end
	var progress bytes.Buffer
	r, err := Run(t.Context(), Options{
		Rounds: 1, Duration: smokeTime, Peers: 200, Progress: &progress,
	})
	require.NoError(t, err)
	require.NoError(t, r.Err())
	want := 0
	for _, s := range Scenarios() {
		for _, row := range s.able(Rows()) {
			want++
			if missing := r.find(s.Name, row.Name).Skipped; missing != "" {
				require.NotEqual(t, "true", os.Getenv("CI"), "%s, and CI=true wants it", missing)
				continue
			}
			for _, c := range s.columns {
				v, ok := r.spread(s.Name, row.Name, c.metric)
				require.True(t, ok, "%s %s %s", s.Name, row.Name, c.metric)
				require.Len(t, v.Rounds, 1)
			}
			if s.latency {
				require.NotEmpty(t, r.find(s.Name, row.Name).Histogram)
			}
		}
	}
	require.Len(t, r.Results, want)
	require.Equal(t, want, bytes.Count(progress.Bytes(), []byte("\n")))
}

func TestRunRotatesRows(t *testing.T) {
	var progress bytes.Buffer
	_, err := Run(t.Context(), Options{
		Rounds: 2, Duration: time.Millisecond, Progress: &progress,
		Rows: []string{rowPlain, rowSelf}, Scenarios: []string{latencyScenario},
	})
	require.NoError(t, err)
	lines := bytes.Split(progress.Bytes(), []byte("\n"))
	require.Len(t, lines, 5)
	for i, row := range []string{rowPlain, rowSelf, rowSelf, rowPlain} {
		require.Contains(t, string(lines[i]), "latency "+row+": ")
	}
}

func TestRunProfiles(t *testing.T) {
	folder := t.TempDir()
	_, err := Run(t.Context(), Options{
		Rounds: 1, Duration: 10 * time.Millisecond, Profiles: folder,
		Rows: []string{rowPlain}, Scenarios: []string{latencyScenario},
	})
	require.NoError(t, err)
	for _, side := range []string{"client", "server"} {
		info, err := os.Stat(filepath.Join(folder, "latency.plain.1."+side+".pprof"))
		require.NoError(t, err)
		require.NotZero(t, info.Size())
	}
}

func TestRunRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"unknown row":      {Rows: []string{"nobody"}},
		"unknown scenario": {Scenarios: []string{"nothing"}},
		"bad pattern":      {Rows: []string{"["}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(t.Context(), o)
			require.Error(t, err)
		})
	}
	_, err := Run(t.Context(), Options{Rows: []string{"nobody"}})
	require.ErrorIs(t, err, errUnknown)
	require.ErrorContains(t, err, "there are: ")
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	r, err := Run(ctx, Options{Rows: []string{rowPlain}, Duration: time.Minute})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotNil(t, r)
	require.Less(t, time.Since(began), 30*time.Second, "the run would take minutes")
}

func TestRunReportsRowsThatFail(t *testing.T) {
	m := &measurement{
		row:      Row{Name: "nobody"},
		scenario: Scenarios()[0],
		setup:    Setup{Path: filepath.Join(t.TempDir(), "s"), MaxBody: 64, MaxCalls: 1},
		duration: time.Millisecond,
	}
	_, err := m.run(t.Context())
	require.ErrorContains(t, err, errUnknown.Error())
}

func TestPick(t *testing.T) {
	name := func(s string) []string { return []string{s, "all-" + s[:1]} }
	items := []string{"raw-spin", "plain", "raw-block"}
	for _, c := range []struct {
		name     string
		patterns []string
		want     []string
	}{
		{"all", nil, items},
		{"one", []string{"plain"}, []string{"plain"}},
		{"pattern", []string{"raw-*"}, []string{"raw-spin", "raw-block"}},
		{"by a group", []string{"all-r"}, []string{"raw-spin", "raw-block"}},
		{"own order, once", []string{"plain", "raw-spin", "p*"}, []string{"raw-spin", "plain"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := pick(items, c.patterns, name)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
