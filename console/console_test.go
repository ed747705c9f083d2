package console_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/console"
	"github.com/pithos-ipc/pithos/supervisor"
)

var procs = []supervisor.Process{
	{Name: "database", Scale: 1, Wanted: true},
	{Name: "api", Scale: 2, Wanted: true},
}

func line(process string, index int, text string) supervisor.Line {
	return supervisor.Line{Process: process, Index: index, Text: text}
}

func TestPipe(t *testing.T) {
	var b bytes.Buffer
	c := console.New(&b, console.Options{})
	c.Know(procs)
	c.Status("nobody sees it")
	c.Line(line("database", 0, "up"))
	c.Line(line("api", 1, "\x1b[31mas it is\x1b[0m"))
	c.Event(supervisor.Event{Process: "api", Index: 1, PID: 7, To: supervisor.Ready})
	c.Event(supervisor.Event{Process: "api", To: supervisor.Pending})
	c.Event(supervisor.Event{Process: "api", To: supervisor.Backoff, Reason: "exit status 3"})
	c.Event(supervisor.Event{Process: "api", To: supervisor.CrashLoop, Reason: "exit status 3"})
	c.Event(supervisor.Event{Process: "database", Warning: "the disk is full"})
	c.Event(supervisor.Event{Warning: "no warden"})
	c.Note("that was %d", 1)
	require.Equal(t, ""+
		"database | up\n"+
		"api#1    | \x1b[31mas it is\x1b[0m\n"+
		"         | api#1: ready, pid 7\n"+
		"         | api#0: ended, starts again: exit status 3\n"+
		"         | api#0: crash-loop: exit status 3\n"+
		"         | database: warning: the disk is full\n"+
		"         | warning: no warden\n"+
		"         | that was 1\n", b.String())
}

func TestTerminal(t *testing.T) {
	var b bytes.Buffer
	c := console.New(&b, console.Options{Live: true, Width: func() int { return 10 }})
	c.Know(procs[:1])
	c.Status("starting: everything")
	require.Equal(t, "\r\x1b[Kstarting:", b.String())
	b.Reset()
	c.Status("starting: everything")
	require.Empty(t, b.String(), "nothing new")
	c.Line(line("database", 0, "up"))
	require.Equal(t, "\r\x1b[Kdatabase | up\nstarting:", b.String())
	b.Reset()
	c.Status("")
	c.Line(line("database", 0, "a\x1b[2J\x1b]0;title\ab\tc\rd \x1b[1;32mgreen"))
	require.Equal(t, "\r\x1b[Kdatabase | a[2J]0;titleb\tcd \x1b[1;32mgreen\x1b[0m\n", b.String())
}

func TestColor(t *testing.T) {
	var b bytes.Buffer
	c := console.New(&b, console.Options{Color: true})
	c.Line(line("a", 0, "x"))
	require.Regexp(t, `^\x1b\[\d+ma \|\x1b\[0m x\n$`, b.String())
	b.Reset()
	c.Event(supervisor.Event{Process: "a", To: supervisor.Failed})
	require.Equal(t, "  | \x1b[31ma: failed\x1b[0m\n", b.String())
}

func TestTimes(t *testing.T) {
	var b bytes.Buffer
	c := console.New(&b, console.Options{Times: true})
	l := line("a", 0, "x")
	l.Time = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.Local)
	c.Line(l)
	require.Equal(t, "03:04:05.006 a | x\n", b.String())
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	c := console.New(&b, console.Options{JSON: true, Color: true, Live: true, Events: true})
	c.Status("none")
	c.Line(line("a", 3, "x\ty"))
	c.Event(supervisor.Event{Process: "a", To: supervisor.Pending})
	c.Note("n")
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	require.Len(t, lines, 3)
	for i, want := range []map[string]any{
		{"process": "a", "index": 3., "stream": "out", "text": "x\ty"},
		{"process": "a", "index": 0., "state": "pending"},
		{"note": "n"},
	} {
		var have map[string]any
		require.NoError(t, json.Unmarshal([]byte(lines[i]), &have))
		delete(have, "time")
		require.Equal(t, want, have)
	}
}

// TestWildReason has a reason, and a note, that a terminal would obey.
func TestWildReason(t *testing.T) {
	var b strings.Builder
	c := console.New(&b, console.Options{Live: true})
	c.Event(supervisor.Event{Process: "a", To: supervisor.Failed, Reason: "x\x1b[2Jy"})
	c.Note("%s", "a\x1b]0;b")
	require.Equal(t, " | a: failed: x[2Jy\x1b[0m\n | a]0;b\n", b.String())
}

type broken struct{ writes int }

func (b *broken) Write([]byte) (int, error) {
	b.writes++
	return 0, errors.New("gone")
}

func TestBrokenPipe(t *testing.T) {
	b := &broken{}
	c := console.New(b, console.Options{})
	select {
	case <-c.Failed():
		t.Fatal("nothing was written yet")
	default:
	}
	c.Note("a")
	c.Note("b")
	<-c.Failed()
	require.EqualError(t, c.Err(), "gone")
	require.Equal(t, 1, b.writes)
}

func TestStatus(t *testing.T) {
	now := time.Now()
	status := func(index int, s supervisor.State) supervisor.Status {
		st := supervisor.Status{State: s, Since: now.Add(-3 * time.Second)}
		st.Index = index
		return st
	}
	procs := []supervisor.Process{
		{Name: "db", Scale: 1, Wanted: true,
			Instances: []supervisor.Status{status(0, supervisor.Ready)}},
		{Name: "api", Scale: 2, Wanted: true, Instances: []supervisor.Status{
			status(0, supervisor.Starting), status(1, supervisor.CrashLoop)}},
		{Name: "off", Scale: 1,
			Instances: []supervisor.Status{status(0, supervisor.Stopped)}},
	}
	require.Equal(t, "starting: 1 of 3 ready, waiting for api#0 (3s), api#1 (crash-loop)",
		console.Starting(procs, now))
	procs[1].Instances = []supervisor.Status{status(0, supervisor.Stopping),
		status(1, supervisor.Stopped)}
	require.Equal(t, "stopping: waiting for api#0 (3s), db", console.Stopping(procs, now))
	require.Equal(t, "api#0, db", console.Waiting(procs))
	procs = procs[:1]
	require.Empty(t, console.Starting(procs, now))
	procs[0].Instances[0].State = supervisor.Stopped
	require.Empty(t, console.Stopping(procs, now))
	require.Empty(t, console.Waiting(procs))

	many := supervisor.Process{Name: "m", Scale: 9, Wanted: true}
	for i := range 9 {
		many.Instances = append(many.Instances, status(i, supervisor.Ready))
	}
	require.Equal(t, "m#0, m#1, m#2, m#3 and 5 more", console.Waiting([]supervisor.Process{many}))
}
