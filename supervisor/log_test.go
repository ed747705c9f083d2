package supervisor_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/supervisor"
)

func TestLogFile(t *testing.T) {
	spec := once("web", "echo one; echo two >&2; sleep 0.1; printf 'three\r\nfour'")
	spec.Log.File = filepath.Join(t.TempDir(), "log", "web.log")
	r := start(t, supervisor.Options{}, spec)
	require.NoError(t, r.Wait(r.ctx()))
	tail, err := r.Tail(r.ctx(), "web", 10)
	require.NoError(t, err)
	require.Len(t, tail, 4)
	require.NoError(t, r.end())
	text, err := os.ReadFile(spec.Log.File)
	require.NoError(t, err)
	stamped := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z web#0 (\w+) (\w+)$`)
	require.Len(t, stamped.FindAllString(string(text), -1), 4)
	require.Regexp(t, `(?m) web#0 out one$`, string(text))
	require.Regexp(t, `(?m) web#0 err two$`, string(text))
	require.Regexp(t, `(?m) web#0 out three$`, string(text))
	require.Regexp(t, `(?m) web#0 out four$`, string(text))
}

// hundred writes as many lines.
const hundred = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; "

// A sink collects lines, and can be made slow or broken.
type sink struct {
	mu    sync.Mutex
	lines int    // guarded by mu
	lost  int    // guarded by mu; as the markers count them
	text  []byte // guarded by mu
	slow  time.Duration
	hold  chan struct{} // nil, or nothing is taken before it is closed
	err   error         // guarded by mu
	asked int           // guarded by mu
}

var marker = regexp.MustCompile(`^(\d+) lines \(\d+ bytes\) lost`)

func (s *sink) take(lines []supervisor.Line) error {
	time.Sleep(s.slow)
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.err != nil {
		return s.err
	}
	for _, l := range lines {
		if l.Stream == supervisor.Own {
			n, err := strconv.Atoi(marker.FindStringSubmatch(l.Text)[1])
			must(err)
			s.lost += n
			continue
		}
		s.lines++
		if len(s.text) < 1<<20 {
			s.text = l.AppendTo(s.text)
		}
	}
	return nil
}

// R28: lines that come faster than they are taken are dropped and counted by one line each time;
// not one is missing from the count. With Block none is.
func TestR28EveryLineIsWrittenOrCounted(t *testing.T) {
	const chunks = 400 // of 64 lines
	for _, full := range []supervisor.FullPolicy{supervisor.Drop, supervisor.Block} {
		t.Run(full.String(), func(t *testing.T) {
			s := &sink{slow: 5 * time.Millisecond}
			if full == supervisor.Drop {
				s.hold = make(chan struct{})
			}
			spec := as("flood", "flood", strconv.Itoa(chunks))
			spec.Restart.Mode = supervisor.RestartNever
			spec.Log.Full = full
			spec.Log.Queue = 64 << 10
			r := start(t, supervisor.Options{Sink: s.take}, spec)
			if s.hold != nil {
				require.Eventually(t, func() bool {
					procs, err := r.Snapshot(r.ctx())
					return err == nil && procs[0].LogLost > 0
				}, patience, time.Millisecond)
				close(s.hold)
			}
			require.NoError(t, r.Wait(r.ctx()))
			procs, err := r.Snapshot(r.ctx())
			require.NoError(t, err)
			require.NoError(t, r.end())
			require.Equal(t, chunks*64, s.lines+s.lost)
			require.Equal(t, uint64(s.lost), procs[0].LogLost)
			require.Equal(t, full == supervisor.Drop, s.lost > 0)
		})
	}
}

// Rotation loses no line either: those in the old files and the new one are all there are.
func TestR28Rotation(t *testing.T) {
	const chunks = 100
	dir := t.TempDir()
	spec := as("flood", "flood", strconv.Itoa(chunks))
	spec.Restart.Mode = supervisor.RestartNever
	spec.Log = supervisor.LogPolicy{
		File: filepath.Join(dir, "flood.log"), MaxSize: 1 << 20, MaxFiles: 100,
		Full: supervisor.Block,
	}
	r := start(t, supervisor.Options{}, spec)
	require.NoError(t, r.Wait(r.ctx()))
	require.NoError(t, r.end())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Greater(t, len(files), 6)
	lines := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		require.LessOrEqual(t, len(text), 1<<20)
		lines += bytes.Count(text, []byte("yyy\n"))
		require.True(t, bytes.HasSuffix(text, []byte("yyy\n")), "no line is cut")
	}
	require.Equal(t, chunks*64, lines)
}

// A sink that fails is told of once and tried again; accepted lines wait for it.
func TestR28FailingSink(t *testing.T) {
	s := &sink{err: errors.New("the terminal is gone")}
	spec := sh("web", hundred+"exec sleep 1000")
	sup, err := supervisor.New(supervisor.Options{Sink: s.take}, spec)
	require.NoError(t, err)
	events := sup.Subscribe(supervisor.Filter{Events: true})
	r := run(t, sup)
	require.Contains(t, warning(t, events), "the terminal is gone")
	s.mu.Lock()
	s.err = nil
	s.mu.Unlock()
	require.Contains(t, warning(t, events), "written again")
	require.NoError(t, r.end())
	require.Equal(t, 100, s.lines)
}

// What cannot be written when all ends is counted in what Run returns, and does not hold it up.
func TestR28FailingSinkAtTheEnd(t *testing.T) {
	for _, full := range []supervisor.FullPolicy{supervisor.Drop, supervisor.Block} {
		s := &sink{err: errors.New("the terminal is gone")}
		spec := as("flood", "flood")
		spec.Log.Full = full
		r := start(t, supervisor.Options{Sink: s.take}, spec)
		require.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.asked > 0
		}, patience, time.Millisecond)
		err := r.end()
		require.ErrorContains(t, err, "the terminal is gone")
		require.Regexp(t, `log of flood: \d+ lines lost`, err.Error())
	}
}

// warning returns the next one.
func warning(t testing.TB, events *supervisor.Subscription) string {
	t.Helper()
	for end := time.After(patience); ; {
		select {
		case m := <-events.C():
			if m.Event != nil && m.Event.Warning != "" {
				return m.Event.Warning
			}
		case <-end:
			t.Fatal("no warning")
		}
	}
}

// Lines longer than MaxLine come in parts.
func TestLongLines(t *testing.T) {
	s := &sink{}
	spec := once("long", "printf 'aaaaabbbbbccc\nddddd\n'")
	spec.Log.MaxLine = 5
	r := start(t, supervisor.Options{Sink: s.take}, spec)
	require.NoError(t, r.Wait(r.ctx()))
	require.NoError(t, r.end())
	var got []string
	for l := range strings.Lines(string(s.text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(l), " ")
		got = append(got, rest)
	}
	require.Equal(t, []string{"long#0 out+ aaaaa", "long#0 out+ bbbbb", "long#0 out ccc",
		"long#0 out ddddd"}, got)
}

// A subscriber that does not read holds up nobody, and learns how much it missed.
func TestSlowSubscriber(t *testing.T) {
	s := &sink{}
	sup, err := supervisor.New(supervisor.Options{Sink: s.take}, once("web", hundred))
	require.NoError(t, err)
	slow := sup.Subscribe(supervisor.Filter{Lines: true, Buffer: 10, Processes: []string{"web"}})
	other := sup.Subscribe(supervisor.Filter{Lines: true, Events: true, Processes: []string{"x"}})
	r := run(t, sup)
	require.NoError(t, r.Wait(r.ctx()))
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.lines == 100
	}, patience, time.Millisecond)
	for i := range 10 {
		m := <-slow.C()
		require.Equal(t, fmt.Sprint("line ", i), m.Line.Text)
		require.Zero(t, m.Missed)
	}
	require.NoError(t, r.Restart(r.ctx(), "web"))
	require.Equal(t, uint64(90), (<-slow.C()).Missed)
	require.Empty(t, other.C())
	other.Close()
	other.Close()
	require.NoError(t, r.end())
	for range slow.C() { // ends
	}
	_, open := <-r.Subscribe(supervisor.Filter{}).C()
	require.False(t, open)
}
