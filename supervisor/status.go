package supervisor

import (
	"fmt"
	"time"
)

// An Exit is how a run of an instance ended.
type Exit struct {
	Time   time.Time
	Code   int    // -1 if a signal ended it, or it never ran
	Signal string // such as SIGKILL; "" if none
	Core   bool   // a core was dumped
	Reason string // all of it as text: "exit status 3", "not ready within 1m0s", ...
}

// success says whether it ended by itself with status 0.
func (e Exit) success() bool { return e.Code == 0 && e.Signal == "" }

// Process is the status of one process at the time of a Snapshot.
type Process struct {
	Name      string
	Command   []string // with its arguments
	State     State    // of the instance that is worst off
	Wanted    bool     // it was started, and not stopped
	Scale     int
	DependsOn []string
	Instances []Status // by index; during a reload there may be two with one index
	LogFile   string
	LogLost   uint64 // lines that found the queue full
}

// Status is what there is to know of one instance.
type Status struct {
	Instance           // PID 0: it does not run
	State    State     // and
	Since    time.Time // when it came into it
	Started  time.Time // when its last run was started; zero if there was none
	Restarts int       // starts after an end by itself, since it was last asked to start
	Reason   string    // why it is in its state, if there is more to say than the state does
	Text     string    // STATUS= of sd_notify(3)
	Retry    time.Time // in Backoff and CrashLoop: when it is started again
	Exit     *Exit     // of its last run that ended; nil if none has
	Tail     []Line    // in CrashLoop and Failed: the last lines of its log

	CPU     time.Duration // used by its processes, as far as they live
	Memory  int64         // bytes resident in its processes
	Threads int
}

// An Event tells that the state of an instance changed, or, with a Warning, that something about a
// process, or about none if Process is empty, needs attention and nothing changed.
type Event struct {
	Time    time.Time
	Process string
	Index   int
	PID     int
	From    State
	To      State
	Reason  string
	Warning string
}

func (e Event) String() string {
	who := fmt.Sprintf("%s#%d", e.Process, e.Index)
	switch {
	case e.Warning != "":
		return who + ": warning: " + e.Warning
	case e.Reason != "":
		return fmt.Sprintf("%s: %v: %s", who, e.To, e.Reason)
	}
	return fmt.Sprintf("%s: %v", who, e.To)
}

// A Stream says where a Line comes from.
type Stream uint8

const (
	Stdout Stream = iota // of the instance
	Stderr               // of the instance
	Own                  // the supervisor itself: how many lines were lost
)

func (s Stream) String() string { return name([]string{"out", "err", "sup"}, int(s)) }

// MarshalText makes a Stream its name in JSON.
func (s Stream) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Line is one line of log, without its line break.
type Line struct {
	Time    time.Time // when it was read
	Process string
	Index   int
	Stream  Stream
	Part    bool // it was longer than MaxLine, and goes on in the next Line of this stream
	Text    string
}

// AppendTo appends l to b as it stands in a log file, with a line break:
//
//	2006-01-02T15:04:05.000Z web#0 out text
//
// The stream of a Part is followed by +.
func (l Line) AppendTo(b []byte) []byte {
	b = l.Time.UTC().AppendFormat(b, stampLayout)
	b = append(b, ' ')
	b = appendOrigin(b, l.Process, l.Index, l.Stream, l.Part)
	b = append(b, l.Text...)
	return append(b, '\n')
}
