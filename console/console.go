// Package console shows what the processes of an application write and what becomes of them, in
// lines that a person reads.
//
//	api#0 | listening on :8080          a line of an instance, on a terminal in its colour
//	api#1 | listening on :8080
//	db    | ready for connections
//	      | api#1: crash loop: ...      what became of one
//	starting: 2 of 3 ready, waiting for db (4s)
//	                                    the status: at the bottom, on a terminal only
//
// It does not know processes beyond what it is told, and never waits for anybody but its writer.
package console

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pithos-ipc/pithos/supervisor"
)

// Options are how it looks. The zero value is for pipes.
type Options struct {
	Color  bool
	Live   bool       // a terminal, whose last line can be written again
	Width  func() int // of the terminal, in columns; only if Live
	Times  bool       // each line begins with the time
	JSON   bool       // each line is an object
	Events bool       // show every change of a state, not only those that matter
}

// A Console writes to one writer. Its methods may be called from any goroutine.
type Console struct {
	o Options

	mu     sync.Mutex
	w      io.Writer
	scales map[string]int // guarded by mu
	width  int            // of the labels; guarded by mu
	status string         // guarded by mu
	err    error          // the first of w; guarded by mu
	failed chan struct{}  // closed with err
}

// New makes a Console.
func New(w io.Writer, o Options) *Console {
	return &Console{o: o, w: w, scales: make(map[string]int), failed: make(chan struct{})}
}

// Know tells of the processes that lines will come from, so that labels are aligned, and those of
// which several instances run are numbered.
func (c *Console) Know(procs []supervisor.Process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range procs {
		c.scales[p.Name] = max(p.Scale, len(p.Instances))
		c.width = max(c.width, len(c.label(p.Name, max(0, p.Scale-1))))
	}
}

// label is what an instance is called. mu must be held.
func (c *Console) label(process string, index int) string {
	if index == 0 && c.scales[process] <= 1 {
		return process
	}
	return fmt.Sprintf("%s#%d", process, index)
}

// Line shows a line of log.
func (c *Console) Line(l supervisor.Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.JSON {
		c.json(jsonLine{l.Time, l.Process, l.Index, l.Stream, l.Text})
		return
	}
	label := c.label(l.Process, l.Index)
	c.width = max(c.width, len(label))
	text := l.Text
	if c.o.Live {
		text = printable(text)
	}
	if l.Stream == supervisor.Own {
		text = c.paint(yellow, text)
	}
	c.print(l.Time, c.paint(colorOf(l.Process), pad(label, c.width)+" |")+" "+text)
}

// Event shows what became of an instance, if that matters to somebody who looks on.
func (c *Console) Event(e supervisor.Event) {
	if !c.o.Events && !matters(e) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.JSON {
		c.json(jsonEvent{e.Time, e.Process, e.Index, e.PID, e.To, e.Reason, e.Warning})
		return
	}
	text := e.To.String()
	color := dim
	switch {
	case e.Warning != "":
		text, color = "warning: "+e.Warning, yellow
	case e.To == supervisor.CrashLoop || e.To == supervisor.Failed:
		color = red
	case e.To == supervisor.Backoff:
		text, color = "ended, starts again", yellow
	case e.To == supervisor.Ready:
		text, color = fmt.Sprintf("ready, pid %d", e.PID), green
	}
	if e.Reason != "" && e.Warning == "" {
		text += ": " + e.Reason
	}
	if c.o.Live {
		text = printable(text)
	}
	if e.Process != "" {
		text = c.label(e.Process, e.Index) + ": " + text
	}
	c.print(e.Time, c.own(c.paint(color, text)))
}

// matters says whether e is shown without Options.Events.
func matters(e supervisor.Event) bool {
	switch e.To {
	case supervisor.Ready, supervisor.Backoff, supervisor.CrashLoop, supervisor.Exited,
		supervisor.Failed:
		return true
	}
	return e.Warning != ""
}

// Note shows a line of the program's own.
func (c *Console) Note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if c.o.JSON {
		c.json(jsonNote{time.Now(), text})
		return
	}
	if c.o.Live {
		text = printable(text)
	}
	c.print(time.Now(), c.own(text))
}

// own puts a line of the program's own behind an empty label. mu must be held.
func (c *Console) own(text string) string { return pad("", c.width) + " | " + text }

// Status shows text as the last line until there is another one, on a terminal only; "" is none.
func (c *Console) Status(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.o.Live || c.o.JSON || text == c.status {
		return
	}
	c.status = text
	c.write(eraseLine + c.statusLine())
}

// Live says whether Status is seen.
func (c *Console) Live() bool { return c.o.Live && !c.o.JSON }

// Failed is closed when the writer has failed.
func (c *Console) Failed() <-chan struct{} { return c.failed }

// Err is the first error of the writer. Nothing is written after it.
func (c *Console) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// print writes a line above the status. mu must be held.
func (c *Console) print(t time.Time, line string) {
	if c.o.Times {
		line = c.paint(dim, t.Local().Format("15:04:05.000")) + " " + line
	}
	if c.status == "" {
		c.write(line + "\n")
		return
	}
	c.write(eraseLine + line + "\n" + c.statusLine())
}

// statusLine is the status, cut to one line of the terminal. mu must be held.
func (c *Console) statusLine() string {
	if c.status == "" {
		return ""
	}
	text := c.status
	if c.o.Width != nil {
		if w := c.o.Width(); w > 1 && utf8.RuneCountInString(text) >= w {
			text = string([]rune(text)[:w-1])
		}
	}
	return c.paint(bold, text)
}

func (c *Console) write(s string) {
	if c.err != nil {
		return
	}
	if _, c.err = io.WriteString(c.w, s); c.err != nil {
		close(c.failed)
	}
}

func (c *Console) json(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = fmt.Appendf(nil, `{"error":%q}`, err)
	}
	c.write(string(b) + "\n")
}

type jsonLine struct {
	Time    time.Time         `json:"time"`
	Process string            `json:"process"`
	Index   int               `json:"index"`
	Stream  supervisor.Stream `json:"stream"`
	Text    string            `json:"text"`
}

type jsonEvent struct {
	Time    time.Time        `json:"time"`
	Process string           `json:"process,omitempty"`
	Index   int              `json:"index"`
	PID     int              `json:"pid,omitempty"`
	State   supervisor.State `json:"state"`
	Reason  string           `json:"reason,omitempty"`
	Warning string           `json:"warning,omitempty"`
}

type jsonNote struct {
	Time time.Time `json:"time"`
	Note string    `json:"note"`
}

const eraseLine = "\r\x1b[K"

// The colours, as parameters of SGR.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// palette are the colours of processes.
var palette = [...]string{"36", "35", "34", "32", "33", "96", "95", "94", "92", "93"}

// colorOf chooses by the name alone, so that a process has the same colour the next day.
func colorOf(process string) string {
	h := uint32(2166136261) // FNV-1a
	for _, c := range []byte(process) {
		h = (h ^ uint32(c)) * 16777619
	}
	return palette[h%uint32(len(palette))]
}

func (c *Console) paint(color, text string) string {
	if !c.o.Color || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-len(s)))
}

// printable keeps colours, and drops what would move the cursor or do other things to the terminal.
func printable(s string) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if n := sgr(s[i:]); n > 0 {
			b.WriteString(s[i : i+n])
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == '\t' || !unicode.IsControl(r) {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	if strings.Contains(s, "\x1b[") {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// sgr returns the length of the sequence that chooses a colour, at the beginning of s; 0 if there
// is none.
func sgr(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}
