package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
)

// looks are two inspections of a hub, 2 s apart.
func looks() (before, now *hub.Inspection) {
	at := time.Date(2026, 11, 27, 1, 0, 0, 0, time.UTC)
	make := func(seconds int, calls uint64) *hub.Inspection {
		return &hub.Inspection{
			Hub: hub.HubInfo{PID: 7, Started: at, Now: at.Add(time.Duration(seconds) * time.Second),
				Addresses: []string{"/run/hub.sock"}},
			Stats: hub.Stats{Peers: 2, Selectors: 5, Pending: 1, Messages: calls, TimedOut: 3},
			Peers: []hub.PeerInfo{
				{ID: 1, Kind: "native", Name: "calc", PID: 70, Selectors: 2, FramesIn: calls},
				{ID: 2, Kind: "pandora", Name: "we\x1b[2Jb", Queued: 4, Waiting: 2048},
			},
			Objects: []hub.ObjectInfo{
				{Name: "math", Tag: "v1", Peers: []uint64{1, 9}, Calls: calls},
			},
			Methods: []hub.MethodInfo{
				{Object: "idle", Method: "m", Calls: 9},
				{Object: "math", Method: "abs", Calls: calls, Failed: 1, Inside: 2, MeanUs: 12.34,
					P50Us: 11, P99Us: 1500, P999Us: 2.5e6, MaxUs: 3e6},
			},
		}
	}
	return make(10, 1000), make(12, 5000)
}

func TestTopScreen(t *testing.T) {
	before, now := looks()
	s := topScreen{every: time.Second}
	s.update(before, nil)
	s.update(now, nil)
	want := strings.Split(`hub 7, up 12s, 2 peers, 5 selectors, 1 calls under way, `+
		`2.0 k messages/s, - replies/s
at /run/hub.sock
so far 3 timed out
m METHODS  p peers  o objects  r routes  q quit  space pause  j k scroll  + - 1s

  METHOD    CALLS  CALLS/S  FAILED  INSIDE    MEAN   P50    P99  P99.9  MAX
  math.abs   5000    2.0 k       1       2  12.3us  11us  1.5ms   2.5s   3s
  idle.m        9        -       0       0       -     -      -      -    -`, "\n")
	require.Equal(t, want, s.frame(200, 50))

	for width := range 120 {
		for height := range 12 {
			lines := s.frame(width, height)
			require.LessOrEqual(t, len(lines), height)
			for _, line := range lines {
				require.LessOrEqual(t, len([]rune(line)), max(width, 200*(1-min(width, 1))))
			}
		}
	}
	require.True(t, s.key('p'))
	peers := strings.Join(s.frame(200, 50), "\n")
	require.Regexp(t, `(?s)QUEUED.* 2  pandora  we\\x1b\[2Jb .* 2.0 kB .* 1  native   calc `, peers,
		"who is waited for comes first, and names cannot paint")
	require.True(t, s.key('o'))
	require.Contains(t, strings.Join(s.frame(200, 50), "\n"),
		"math    v1    5000          2  1 calc, 9")
	require.True(t, s.key('r'))
	require.Contains(t, strings.Join(s.frame(200, 50), "\n"), "nobody has asked for anything")
	require.False(t, s.key('q'))
	require.False(t, s.key(3))
}

// R31: on a terminal of 80 columns the quantiles can be read, whatever the methods are called, and
// how to quit.
func TestR31TopNarrow(t *testing.T) {
	before, now := looks()
	now.Methods[1].Object = strings.Repeat("very-long-", 5)
	s := topScreen{every: time.Second}
	s.update(before, nil)
	s.update(now, nil)
	lines := s.frame(80, 24)
	require.Equal(t, []string{
		"m METHODS  p peers  o objects  r routes  q quit  space pause  j k scroll  + - 1s",
		"",
		" METHOD                  CALLS CALLS/S FAILED INSIDE   MEAN  P50   P99 P99.9 MAX",
		" very-long-very-long-ve~  5000   2.5 k      1      2 12.3us 11us 1.5ms  2.5s  3s",
		" idle.m                      9       -      0      0      -    -     -     -   -",
	}, lines[len(lines)-5:])
}

func TestTopKeys(t *testing.T) {
	before, now := looks()
	s := topScreen{every: time.Second}
	s.update(before, nil)
	require.True(t, s.key(' '))
	s.update(now, nil)
	require.Same(t, before, s.view.now, "it is paused")
	require.True(t, s.key(' '))
	s.update(nil, errors.New("the hub is gone"))
	require.Contains(t, strings.Join(s.frame(200, 50), "\n"), "the hub is gone")
	s.update(now, nil)
	require.NotContains(t, strings.Join(s.frame(200, 50), "\n"), "the hub is gone")

	for range 20 {
		s.key('+')
	}
	require.Equal(t, time.Minute, s.every)
	for range 20 {
		s.key('-')
	}
	require.Equal(t, minWatch, s.every)
	for range 5 {
		s.key('j')
	}
	require.Contains(t, strings.Join(s.frame(200, 7), "\n"), "idle.m", "one row fits")
	require.Equal(t, 1, s.first, "not beyond the last row")
	s.key('k')
	require.Contains(t, strings.Join(s.frame(200, 7), "\n"), "math.abs")
	s.key('\t')
	require.Equal(t, "peers", topPages[s.page].name)

	require.Equal(t, []byte("jkq"), keys([]byte("\x1b[B\x1b[A\x1b[15~q")))
	require.Empty(t, keys([]byte("\x1b")))
	require.Empty(t, keys([]byte("\x1b[1;")))
}

// onTerminal starts cmd on a terminal of 100 columns, and records what it shows until it has ended.
func onTerminal(t *testing.T, cmd *exec.Cmd) (term *os.File, screen *recording,
	copied <-chan struct{}) {
	t.Helper()
	term, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
	require.NoError(t, err)
	t.Cleanup(func() { term.Close() })
	screen = new(recording)
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(screen, term) // ends with an error when the other end is closed
		close(over)
	}()
	return term, screen, over
}

// TestTopTerminal drives top on a terminal: it takes the whole screen, follows its size, obeys keys
// and gives the screen back.
func TestTopTerminal(t *testing.T) {
	path := serveHub(t)
	serveMath(t, path)
	require.Zero(t, pithos("", "call", "math.abs", "--", "1").code)
	cmd := process(t, "top", "--interval", "100ms")
	term, screen, copied := onTerminal(t, cmd)
	shows := func(what string) {
		t.Helper()
		await(t, func() bool { return strings.Contains(screen.text(), what) })
	}
	shows(enterScreen)
	shows("math.abs")
	shows("m METHODS")
	_, err := term.Write([]byte("p"))
	require.NoError(t, err)
	shows("p PEERS")
	shows("calc/server")
	screen.clear()
	require.NoError(t, pty.Setsize(term, &pty.Winsize{Rows: 24, Cols: 30}))
	narrow := regexp.MustCompile(`(?m)\x1b\[H(at |hub )`)
	await(t, func() bool {
		frames := narrow.Split(screen.text(), -1)
		last := frames[max(0, len(frames)-2)]
		for _, line := range strings.Split(last, "\r\n") {
			if len(line) > 30+len("\x1b[K\x1b[J") {
				return false
			}
		}
		return len(frames) > 2
	})
	_, err = term.Write([]byte("q"))
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	<-copied
	require.True(t, strings.HasSuffix(screen.text(), leaveScreen))
}

// TestTopHangup ends top from outside: the terminal is as it was.
func TestTopHangup(t *testing.T) {
	serveHub(t)
	cmd := process(t, "top", "--interval", "100ms")
	_, screen, copied := onTerminal(t, cmd)
	await(t, func() bool { return strings.Contains(screen.text(), "m METHODS") })
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	require.NoError(t, cmd.Wait())
	<-copied
	require.True(t, strings.HasSuffix(screen.text(), leaveScreen))
}

// TestR31TopLate shows on the terminal that the hub does not answer, long before that is an error,
// and that it is there again.
func TestR31TopLate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	h := startHub(t, nil, []string{path}, "--socket", path)
	cmd := process(t, "top", "--socket", path, "--interval", "100ms", "--timeout", "1h")
	term, screen, copied := onTerminal(t, cmd)
	shows := func(what string) {
		t.Helper()
		await(t, func() bool { return strings.Contains(screen.text(), what) })
	}
	shows("hub " + strconv.Itoa(h.cmd.Process.Pid))
	require.Equal(t, -1, h.stop(os.Kill))
	counts := regexp.MustCompile(`no answer of the hub for [1-9]s`)
	await(t, func() bool { // it may be late for one of them
		all := counts.FindAllString(screen.text(), -1)
		return len(all) > 0 && all[len(all)-1] != all[0]
	})
	h = startHub(t, nil, []string{path}, "--socket", path)
	shows("hub " + strconv.Itoa(h.cmd.Process.Pid))
	screen.clear()
	shows("up ")
	require.NotContains(t, screen.text(), "no answer")
	_, err := term.Write([]byte("q"))
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	<-copied
}

// recording is what a terminal was told.
type recording struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *recording) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func (r *recording) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b.Reset()
}
