package supervisor

import (
	"context"
	"os"
	"time"
)

// Auto as a Scale is one instance for each processor that the supervisor may use.
const Auto = -1

// A Spec says how one process is run. Only Name and Command have no default.
type Spec struct {
	// Name is what the process is called: of letters, digits and . _ - / : and unique.
	Name string
	// Command is a path if it holds a slash, relative to Dir, else looked up in the PATH of the
	// child's environment. Args are its arguments, without the command.
	Command string
	Args    []string
	// Env is added to the environment of the supervisor, as KEY=value; of two with the same key the
	// last counts.
	Env []string
	// Dir is the working directory; that of the supervisor by default.
	Dir string
	// Services goes into PITHOS_SERVICES, which is unset if it is empty. The supervisor does not
	// look into it.
	Services string
	// Scale is how many instances run: 1 by default, or Auto.
	Scale int
	// Order is a weaker DependsOn: a process starts when all of lower order that are wanted are
	// ready or have failed, and stops before they do. 0 by default.
	Order int
	// DependsOn are the processes that this one needs.
	DependsOn []Dependency

	Ready   Readiness
	Restart RestartPolicy
	Stop    StopPolicy
	Log     LogPolicy
	Limits  Limits
}

// A Dependency is a process that another one needs before it starts. If it fails, so does who
// depends on it, until it is back.
type Dependency struct {
	Name string
	// Until says what is waited for: UntilReady by default.
	Until Condition
}

// A Condition is what a Dependency waits for.
type Condition int

const (
	UntilReady   Condition = iota // all instances are Ready, or have ended with success
	UntilStarted                  // all instances run
	UntilDone                     // all instances have ended with success
)

func (c Condition) String() string {
	return name([]string{"ready", "started", "done"}, int(c))
}

// A Probe asks whether an instance is ready, and returns nil if so. InstanceOf tells which instance
// it is about. It must return when its context is done.
type Probe func(ctx context.Context) error

// Readiness says when an instance counts as ready. With neither Notify nor Probe it does when it
// has run for After; with both when both say so.
type Readiness struct {
	// Notify waits for READY=1 by sd_notify(3).
	Notify bool
	// Probe is asked every Interval (by default 250 ms), within Timeout each (5 s), until it
	// returns nil.
	Probe    Probe `json:"-"`
	Interval time.Duration
	Timeout  time.Duration
	// After is 100 ms by default; a negative one is none.
	After time.Duration
	// Window is how long an instance may take until it is ready, by default 60 s, unless it asks
	// for more by EXTEND_TIMEOUT_USEC. Then it is stopped, and counts as failed.
	Window time.Duration
	// Watchdog, if it is not 0, is how long a ready instance may be without a WATCHDOG=1 by
	// sd_notify(3). Then it is killed, and counts as failed.
	Watchdog time.Duration
}

// StopPolicy says how an instance is stopped: by Signal, by default SIGTERM, to all of its process
// group, and after Window, by default 5 s, by SIGKILL.
type StopPolicy struct {
	Signal os.Signal
	Window time.Duration
}

// LogPolicy says what becomes of the lines that the instances of a process write.
type LogPolicy struct {
	// File is where they go to; nowhere if it is empty. It is rotated when it would grow beyond
	// MaxSize bytes (by default 10 MiB, at least 1 MiB, in steps of 1 MiB); MaxFiles old ones are
	// kept (by default 5), compressed if Compress is set.
	File     string
	MaxSize  int64
	MaxFiles int
	Compress bool
	// Full says what happens when lines come faster than they can be written.
	Full FullPolicy
	// MaxLine is where a line is cut in two: by default after 16 KiB.
	MaxLine int
	// Tail is how many last lines of each instance are kept: 50 by default.
	Tail int
	// Queue is how many bytes of lines may wait for the writer: by default 1 MiB.
	Queue int
}

// A FullPolicy says what happens to lines that find the queue of their process full.
type FullPolicy int

const (
	// Drop loses the newest lines; one line in the log counts those between its neighbours.
	Drop FullPolicy = iota
	// Block does not read them; so the instance waits as soon as its pipe is full.
	Block
)

func (p FullPolicy) String() string { return name([]string{"drop", "block"}, int(p)) }

// Limits are what an instance may use, all its processes together; 0 is no limit. All but OpenFiles
// need a cgroup v2 that is delegated to the user; where there is none, a Warning says so and the
// instance runs without.
type Limits struct {
	Memory    int64   // bytes; beyond it the kernel kills them all
	CPU       float64 // processors, 0.5 is half of one
	Processes int64   // and threads
	OpenFiles uint64  // of each process (RLIMIT_NOFILE)
}

// grouped returns those that need a cgroup.
func (l Limits) grouped() Limits {
	l.OpenFiles = 0
	return l
}

// An Instance names one running instance of a process.
type Instance struct {
	Process string
	Index   int
	PID     int
}

type instanceKey struct{}

// InstanceOf returns the instance that a Probe is asked about.
func InstanceOf(ctx context.Context) (Instance, bool) {
	i, ok := ctx.Value(instanceKey{}).(Instance)
	return i, ok
}

// name returns names[i], or what cannot be named as a number.
func name(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return "?"
	}
	return names[i]
}
