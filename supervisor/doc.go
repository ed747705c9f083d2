// Package supervisor keeps the processes of an application running: it starts them in the order of
// their dependencies, waits until they are ready, captures their logs, starts those again that end,
// replaces them one by one without a gap, and stops them in reverse order. When it ends, however it
// ends, nothing that they started is left. It imports nothing else of Pithos, so that it outlives a
// fault of what it restarts.
//
// A Spec says how one process is run, and how many instances of it. A Supervisor is made of Specs
// by New and works while Run does:
//
//	func main() {
//		supervisor.Warden() // lets this binary also be the warden, see below
//		s, err := supervisor.New(supervisor.Options{}, supervisor.Spec{
//			Name: "web", Command: "./web", Scale: 2,
//		})
//		...
//		err = s.Run(ctx) // starts all; stops all when ctx is done
//	}
//
// # One owner
//
// One goroutine, in Run, with one select owns all state. Methods, timers, probes and the ends of
// processes post to it. After each of them it settles: it compares what is wanted with what is, and
// starts and stops what differs, as far as the order allows.
//
//	Start, Stop, ... ──┐                  ┌── settle: start, signal, kill
//	probes, sd_notify ─┼── post ── loop ──┼── who waits for a result gets it
//	ends of processes ─┘          timer   └── events to those who subscribed
//
// Lines of log do not take that way: from the pipe of an instance they go to the subscribers, who
// miss what they have no room for, and through one bounded queue of its process to the file and the
// Sink.
//
// # States
//
// An instance is in one State. What ends it and what its RestartPolicy says of that decide the next
// one (next in state.go is the table):
//
//	          dependencies ready        ready
//	Pending ────────────────> Starting ─────> Ready
//	   │  ^                      │              │
//	   │  └── delay ── Backoff <─┴──── ends ────┤ again soon
//	   │  └── delay ── CrashLoop <──────────────┤ again, at the longest delay
//	   │              Exited, Failed <──────────┘ not again
//	   └─ a dependency fails ──> Failed ── it is back ──> Pending
//	Starting, Ready ── stop ──> Stopping ── all gone ──> Stopped
//
// # Nothing is left
//
// On Linux processes are not children of the supervisor, but of its warden: the same binary once
// more, which Warden turns into one. It leads a session of its own, starts each instance as the
// leader of another, and is the subreaper of all that they start, however often that forks or calls
// setsid. It holds one end of a socket pair, on which the orders arrive; when the other end closes,
// which no kill -9 of the supervisor can prevent, it kills and reaps children until it has none.
// (PR_SET_PDEATHSIG alone is not enough: it does not reach the children of children, and it fires
// when a thread ends, golang.org/issue/27505.) If the warden itself is killed, the kernel kills its
// children by that signal, the supervisor what is left of their groups, and a new warden starts.
//
// Signals go through pidfds, or to what the sender has not yet reaped; so a pid that a stranger has
// taken is never signalled. After the leader of an instance has ended, what is left of the instance
// gets the stop signal, the window, and then SIGKILL. What belongs to an instance is known by its
// process group, its session, or the variable PITHOS_RUN in its environment, and exactly where
// cgroup v2 is delegated to the user.
//
// # What a child gets
//
//	PITHOS_PROCESS, PITHOS_INSTANCE   the name of its Spec, and its index from 0
//	PITHOS_SERVICES                   Spec.Services, as it is
//	NOTIFY_SOCKET, WATCHDOG_USEC      as sd_notify(3) and sd_watchdog_enabled(3) want them
//	stdin                             /dev/null
//	stdout, stderr                    pipes
//
// The package does not read process files, does not watch files, does not print, and handles no
// signals of the process it is in: who embeds it does. It is no init: no cron, no sockets opened
// for children, no users changed.
package supervisor
