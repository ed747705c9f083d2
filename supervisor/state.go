package supervisor

// A State is what an instance is doing.
type State int

const (
	Pending   State = iota // waits for what it depends on
	Starting               // runs, and is not ready yet
	Ready                  // runs
	Stopping               // is being stopped, or the rest of it is
	Backoff                // ended, and is started again soon
	CrashLoop              // ended again and again, and is started again at the longest delay
	Exited                 // ended with success, and is not started again
	Failed                 // ended, or could not start, and is not started again by itself
	Stopped                // was stopped, or not yet started

	states = iota
)

func (s State) String() string {
	return name([]string{"pending", "starting", "ready", "stopping", "backoff", "crash-loop",
		"exited", "failed", "stopped"}, int(s))
}

// MarshalText makes a State its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// running says whether there are, or may be, processes.
func (s State) running() bool { return s == Starting || s == Ready || s == Stopping }

// over says whether nothing more happens without an order, or without another process.
func (s State) over() bool { return s == Exited || s == Failed || s == Stopped }

// A happening is what moves an instance from one state to another.
type happening int

const (
	wanted   happening = iota // it shall run
	unwanted                  // it shall not
	launched                  // its dependencies are there, and its start was ordered
	orphaned                  // a dependency failed
	isReady
	breaks     // it began to end: the leader ended, or it is stopped for being late or silent
	endsRetry  // its end is complete, and the policy says Backoff
	endsLoop   // ... CrashLoop
	endsWell   // ... Exited
	endsFailed // ... Failed
	gone       // its end is complete, after a stop
	due        // the delay is over

	happenings = iota
)

// next is the table of states: what follows from s when h happens. It returns s itself for what
// changes nothing, or cannot be.
//
//	          wanted   unwanted launched orphaned isReady breaks   ends...  gone    due
//	Pending   .        Stopped  Starting Failed   .       .        .        .       .
//	Starting  .        Stopping .        .        Ready   Stopping result   .       .
//	Ready     .        Stopping .        .        .       Stopping result   .       .
//	Stopping  .        .        .        .        .       .        result   Stopped .
//	Backoff   .        Stopped  .        .        .       .        .        .       Pending
//	CrashLoop .        Stopped  .        .        .       .        .        .       Pending
//	Exited    Pending  Stopped  .        .        .       .        .        .       .
//	Failed    Pending  Stopped  .        .        .       .        .        .       .
//	Stopped   Pending  .        .        .        .       .        .        .       .
func next(s State, h happening) State {
	switch h {
	case wanted:
		if s.over() {
			return Pending
		}
	case unwanted:
		switch s {
		case Starting, Ready:
			return Stopping
		case Pending, Backoff, CrashLoop, Exited, Failed:
			return Stopped
		}
	case launched:
		if s == Pending {
			return Starting
		}
	case orphaned:
		if s == Pending {
			return Failed
		}
	case isReady:
		if s == Starting {
			return Ready
		}
	case breaks:
		if s == Starting || s == Ready {
			return Stopping
		}
	case endsRetry, endsLoop, endsWell, endsFailed:
		if s.running() {
			return [...]State{Backoff, CrashLoop, Exited, Failed}[h-endsRetry]
		}
	case gone:
		if s == Stopping {
			return Stopped
		}
	case due:
		if s == Backoff || s == CrashLoop {
			return Pending
		}
	}
	return s
}
