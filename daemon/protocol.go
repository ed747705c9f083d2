package daemon

import (
	"time"

	"github.com/pithos-ipc/pithos/supervisor"
)

// The methods of the daemon's socket.
const (
	methodHello   = "hello"   // nothing -> Hello
	methodStart   = "start"   // startRequest -> App, ready
	methodReload  = "reload"  // startRequest -> Reloaded
	methodStop    = "stop"    // targets -> nothing
	methodRestart = "restart" // targets -> nothing
	methodResume  = "resume"  // targets -> nothing: start what was stopped
	methodScale   = "scale"   // scaleRequest -> nothing
	methodStatus  = "status"  // targets -> []App
	methodExit    = "exit"    // nothing -> nothing
)

// Hello says who the daemon is.
type Hello struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Folder  string    `json:"folder"` // of its state
	// Notice is said once, to the first who asks: that the last daemon was killed.
	Notice string `json:"notice,omitempty"`
}

// An App is an application and how it does.
type App struct {
	Name      string    `json:"name"`
	File      string    `json:"file"`
	State     string    `json:"state"` // of the instance that is worst off
	Ready     int       `json:"ready"` // instances
	Total     int       `json:"total"` // instances that shall run
	Started   time.Time `json:"started"`
	Hub       string    `json:"hub,omitempty"` // the socket of its own hub
	Processes []Process `json:"processes,omitempty"`
}

// A Process is one process of an application.
type Process struct {
	Name      string     `json:"name"`
	Command   []string   `json:"command"`
	State     string     `json:"state"`
	Wanted    bool       `json:"wanted"`
	Scale     int        `json:"scale"`
	DependsOn []string   `json:"depends_on,omitempty"`
	LogFile   string     `json:"log_file,omitempty"`
	LogLost   uint64     `json:"log_lost,omitempty"` // lines
	Instances []Instance `json:"instances"`
}

// An Instance is one of the instances of a process.
type Instance struct {
	Index    int       `json:"index"`
	PID      int       `json:"pid,omitempty"`
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
	Started  time.Time `json:"started,omitzero"`
	Restarts int       `json:"restarts"`
	Reason   string    `json:"reason,omitempty"`
	Text     string    `json:"text,omitempty"` // its own words, by sd_notify(3)
	Retry    time.Time `json:"retry,omitzero"`
	LastExit string    `json:"last_exit,omitempty"`
	ExitTime time.Time `json:"exit_time,omitzero"`
	Tail     []string  `json:"tail,omitempty"` // last lines, of one that crashes
	CPU      float64   `json:"cpu_seconds"`
	Memory   int64     `json:"memory_bytes"`
	Threads  int       `json:"threads"`
}

// Reloaded says what a reload came to.
type Reloaded struct {
	Added    []string `json:"added,omitempty"`
	Changed  []string `json:"changed,omitempty"`
	Removed  []string `json:"removed,omitempty"`
	Replaced []string `json:"replaced,omitempty"` // one instance after the other
}

// startRequest is a process file in its resolved form, and the environment that it is run in.
type startRequest struct {
	File    string   `json:"file"`
	Text    string   `json:"text"`
	Env     []string `json:"env"`
	Targets []string `json:"targets,omitempty"` // of a reload: only these processes
	// Registry stands in for the file's, also in the reloads that follow without one.
	Registry string `json:"registry,omitempty"`
}

// targets are applications, or processes of them, as application/process.
type targets struct {
	Targets []string `json:"targets"`
}

type scaleRequest struct {
	Target string `json:"target"`
	Scale  int    `json:"scale"`
}

func processOf(p supervisor.Process) Process {
	out := Process{
		Name: p.Name, Command: p.Command, State: p.State.String(), Wanted: p.Wanted,
		Scale: p.Scale, DependsOn: p.DependsOn, LogFile: p.LogFile, LogLost: p.LogLost,
	}
	for _, i := range p.Instances {
		in := Instance{
			Index: i.Index, PID: i.PID, State: i.State.String(), Since: i.Since,
			Started: i.Started, Restarts: i.Restarts, Reason: i.Reason, Text: i.Text,
			Retry: i.Retry, CPU: i.CPU.Seconds(), Memory: i.Memory, Threads: i.Threads,
		}
		if i.Exit != nil {
			in.LastExit, in.ExitTime = i.Exit.Reason, i.Exit.Time
		}
		for _, l := range i.Tail {
			in.Tail = append(in.Tail, l.Text)
		}
		out.Instances = append(out.Instances, in)
	}
	return out
}
