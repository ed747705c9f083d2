package procfile

import (
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/pithos-ipc/pithos/supervisor"
)

func processKind() kind[Process] {
	k := object([]field[Process]{
		need("command", words(), func(p *Process) *[]string { return &p.Command },
			"The program and its arguments: a list, or a text that is split at blanks and quotes "+
				"as a shell does. No shell runs it."),
		in("args", listOf(argument()), func(p *Process) *[]string { return &p.args },
			"Further arguments, behind those of the command."),
		in("env", variables(), func(p *Process) *map[string]string { return &p.Env },
			"Variables of the environment, beside those of the file and of who runs it."),
		in("dir", place(), func(p *Process) *string { return &p.Dir },
			"The folder it runs in. Default: that of this file."),
		in("scale", scaleKind(), func(p *Process) *int { return &p.Scale },
			"How many of it run: a number, or auto for one for each processor."),
		in("order", count(-1000, 1000), func(p *Process) *int { return &p.Order },
			"Processes with lower numbers start earlier and stop later."),
		in("on_demand", flag(), func(p *Process) *bool { return &p.OnDemand },
			"true: it runs only if a service is assigned to it, by its name or by all."),
		in("depends_on", dependsKind(),
			func(p *Process) *[]supervisor.Dependency { return &p.DependsOn },
			"Processes that it needs: a list of names, or a map from each name to what is waited "+
				"for: ready, started, or done (ended with success)."),
		in("ready", readyKind(), func(p *Process) *Ready { return &p.Ready },
			"How it is known that it can do its work. notify: it says so by sd_notify(3). "+
				"Default: it is once it runs."),
		in("restart", restartKind(),
			func(p *Process) *supervisor.RestartPolicy { return &p.Restart },
			"What happens when it has ended by itself: always, on-failure or never, or a map."),
		in("stop", stopKind(), func(p *Process) *supervisor.StopPolicy { return &p.Stop },
			"How it is ended."),
		in("log", logKind(), func(p *Process) *supervisor.LogPolicy { return &p.Log },
			"Where its output goes."),
		in("limits", limitsKind(), func(p *Process) *supervisor.Limits { return &p.Limits },
			"What each of it may use. All but open_files want a delegated cgroup (version 2); "+
				"where there is none, a warning says so."),
		in("watch", watchKind(), func(p *Process) *Watch { return &p.Watch },
			"Files and folders in which a change restarts it under pithos dev. Default: the "+
				"folder it runs in; false: none."),
	}, processDefaults)
	read := k.read
	k.read = func(r *reader, n node, into *Process) {
		read(r, n, into)
		into.Command, into.args = append(into.Command, into.args...), nil
	}
	return k
}

func scaleKind() kind[int] {
	numbers := count(1, maxScale)
	return scalar("a number from 1 to "+strconv.Itoa(maxScale)+", or auto",
		schema{"anyOf": []any{schema{"const": "auto"}, numbers.schema}},
		func(s string) (int, error) {
			if s == "auto" {
				return runtime.GOMAXPROCS(0), nil
			}
			return parseCount(s, 1, maxScale)
		},
		func(i int) any { return i })
}

// maxScale is the most instances of one process.
const maxScale = 1000

func conditions() kind[supervisor.Condition] {
	return choice(supervisor.UntilReady, supervisor.UntilStarted, supervisor.UntilDone)
}

// dependsKind is a map from processes to conditions, or a list of processes.
func dependsKind() kind[[]supervisor.Dependency] {
	until := conditions()
	full := kind[[]supervisor.Dependency]{
		read: func(r *reader, n node, into *[]supervisor.Dependency) {
			_, entries, ok := r.mapping(n)
			if !ok {
				return
			}
			var all []supervisor.Dependency
			for _, e := range entries {
				d := supervisor.Dependency{Name: e.name}
				until.read(r, e.node, &d.Until)
				r.places[e.node.path] = e.key.ast.GetToken().Position
				all = append(all, d)
			}
			*into = all
		},
		write: func(all []supervisor.Dependency) any {
			var out yaml.MapSlice
			for _, d := range all {
				out = append(out, yaml.MapItem{Key: d.Name, Value: d.Until.String()})
			}
			if len(out) == 0 {
				return nil
			}
			return out
		},
		schema: schema{"type": "object", "additionalProperties": until.schema},
	}
	return or(full, oneOrMore(name()), func(all *[]supervisor.Dependency, names []string) {
		*all = nil
		for _, s := range names {
			*all = append(*all, supervisor.Dependency{Name: s})
		}
	})
}

func readyKind() kind[Ready] {
	full := object([]field[Ready]{
		in("notify", flag(), func(y *Ready) *bool { return &y.Policy.Notify },
			"It says READY=1 by sd_notify(3)."),
		in("object", text(), func(y *Ready) *string { return &y.Object },
			"An object of this name is published at the hub."),
		in("tcp", hostPort(), func(y *Ready) *string { return &y.TCP },
			"host:port that accepts connections."),
		in("http", location("http", "https"), func(y *Ready) *string { return &y.HTTP },
			"A URL that is answered with a status below 400."),
		in("exec", words(), func(y *Ready) *[]string { return &y.Exec },
			"A command that exits with 0, in the folder and environment of the process."),
		in("interval", duration(time.Millisecond),
			func(y *Ready) *time.Duration { return &y.Policy.Interval },
			"The time between two attempts."),
		in("timeout", duration(time.Millisecond),
			func(y *Ready) *time.Duration { return &y.Policy.Timeout },
			"The longest time of one attempt."),
		in("after", duration(0), func(y *Ready) *time.Duration { return &y.Policy.After },
			"Without a probe: how long it has to run to count as ready."),
		in("window", duration(time.Millisecond),
			func(y *Ready) *time.Duration { return &y.Policy.Window },
			"How long it may take until it is ready; then it is stopped, and has failed."),
		in("watchdog", duration(0), func(y *Ready) *time.Duration { return &y.Policy.Watchdog },
			"How long it may be without WATCHDOG=1 of sd_notify(3) once it is ready; 0: for ever."),
	}, func() Ready { return processDefaults().Ready })
	return or(full, oneOf("notify"), func(y *Ready, _ string) { y.Policy.Notify = true })
}

func restartKind() kind[supervisor.RestartPolicy] {
	modes := choice(supervisor.RestartAlways, supervisor.RestartOnFailure, supervisor.RestartNever)
	full := object([]field[supervisor.RestartPolicy]{
		in("policy", modes,
			func(p *supervisor.RestartPolicy) *supervisor.RestartMode { return &p.Mode },
			"After which ends it is started again."),
		in("delay", duration(time.Millisecond),
			func(p *supervisor.RestartPolicy) *time.Duration { return &p.Delay },
			"The time before the first start; it doubles with each that follows."),
		in("max_delay", duration(time.Millisecond),
			func(p *supervisor.RestartPolicy) *time.Duration { return &p.MaxDelay },
			"The longest time before a start."),
		in("stable", duration(time.Millisecond),
			func(p *supervisor.RestartPolicy) *time.Duration { return &p.Stable },
			"After running for so long it begins from delay again."),
		in("burst", count(1, maxScale), func(p *supervisor.RestartPolicy) *int { return &p.Burst },
			"Ends in a row that are a crash loop."),
		in("give_up", flag(), func(p *supervisor.RestartPolicy) *bool { return &p.GiveUp },
			"true: in a crash loop it is not started again."),
	}, func() supervisor.RestartPolicy { return processDefaults().Restart })
	return or(full, modes, func(p *supervisor.RestartPolicy, m supervisor.RestartMode) {
		p.Mode = m
	})
}

func stopKind() kind[supervisor.StopPolicy] {
	return object([]field[supervisor.StopPolicy]{
		{
			name: "signal", doc: "The signal that asks it to end.",
			schema: signalKind().schema,
			read: func(r *reader, n node, into *supervisor.StopPolicy) {
				sig, _ := into.Signal.(syscall.Signal)
				signalKind().read(r, n, &sig)
				into.Signal = sig
			},
			write: func(p *supervisor.StopPolicy) any {
				sig, _ := p.Signal.(syscall.Signal)
				return signalKind().write(sig)
			},
		},
		in("window", duration(0),
			func(p *supervisor.StopPolicy) *time.Duration { return &p.Window },
			"How long it may take; then everything that is left of it is killed."),
	}, func() supervisor.StopPolicy { return processDefaults().Stop })
}

// signals are those that a process may be asked to end by.
var signals = [...]struct {
	name string
	sig  syscall.Signal
}{
	{"SIGTERM", syscall.SIGTERM}, {"SIGINT", syscall.SIGINT}, {"SIGQUIT", syscall.SIGQUIT},
	{"SIGHUP", syscall.SIGHUP}, {"SIGUSR1", syscall.SIGUSR1}, {"SIGUSR2", syscall.SIGUSR2},
	{"SIGKILL", syscall.SIGKILL},
}

func signalKind() kind[syscall.Signal] {
	var names []string
	for _, s := range signals {
		names = append(names, s.name)
	}
	return choiceOf(names,
		func(i int) syscall.Signal { return signals[i].sig },
		func(sig syscall.Signal) string {
			for _, s := range signals {
				if s.sig == sig {
					return s.name
				}
			}
			return ""
		})
}

func logKind() kind[supervisor.LogPolicy] {
	return object([]field[supervisor.LogPolicy]{
		in("file", place(), func(l *supervisor.LogPolicy) *string { return &l.File },
			"The file. Default: none under pithos dev, <process>.log in the daemon's folder of "+
				"the application else."),
		in("max_size", size(1<<20), func(l *supervisor.LogPolicy) *int64 { return &l.MaxSize },
			"Bytes before the file is rotated, in steps of 1 MiB."),
		in("max_files", count(1, maxScale),
			func(l *supervisor.LogPolicy) *int { return &l.MaxFiles },
			"Old files that are kept."),
		in("compress", flag(), func(l *supervisor.LogPolicy) *bool { return &l.Compress },
			"Compress old files."),
		in("full", choice(supervisor.Drop, supervisor.Block),
			func(l *supervisor.LogPolicy) *supervisor.FullPolicy { return &l.Full },
			"What happens to lines that come faster than they can be written: drop them, with one "+
				"line that counts them, or block the process."),
	}, logDefaults)
}

func limitsKind() kind[supervisor.Limits] {
	return object([]field[supervisor.Limits]{
		in("memory", size(0), func(l *supervisor.Limits) *int64 { return &l.Memory },
			"Bytes of memory; beyond them the kernel kills it."),
		in("cpu", number(), func(l *supervisor.Limits) *float64 { return &l.CPU },
			"Processors; 0.5 is half of one."),
		in("processes", whole[int64](), func(l *supervisor.Limits) *int64 { return &l.Processes },
			"Processes and threads."),
		in("open_files", whole[uint64](),
			func(l *supervisor.Limits) *uint64 { return &l.OpenFiles },
			"Files that are open at once (RLIMIT_NOFILE)."),
	}, func() supervisor.Limits { return supervisor.Limits{} })
}

// whole is a whole number of 0 or more, which is not written when it is 0.
func whole[T int64 | uint64]() kind[T] {
	return scalar("a whole number", schema{"type": "integer", "minimum": 0},
		func(s string) (T, error) {
			n, err := strconv.ParseUint(s, 10, 63)
			return T(n), err
		},
		func(n T) any { return nonZero(n, n) })
}

// watchKind is a map, one or more paths, or false.
func watchKind() kind[Watch] {
	full := object([]field[Watch]{
		in("enabled", flag(), func(w *Watch) *bool { return &w.On },
			"false: changes do not matter."),
		in("paths", oneOrMore(place()), func(w *Watch) *[]string { return &w.Paths },
			"Files and folders."),
		in("ignore", oneOrMore(text()), func(w *Watch) *[]string { return &w.Ignore },
			"Patterns of names of files and folders that do not matter, such as *.md."),
	}, func() Watch { return Watch{On: true} })
	paths, flags := oneOrMore(place()), flag()
	short := kind[Watch]{
		read: func(r *reader, n node, into *Watch) {
			if _, ok := n.ast.(*ast.BoolNode); ok {
				flags.read(r, n, &into.On)
				return
			}
			into.On = true
			paths.read(r, n, &into.Paths)
		},
		schema: schema{"anyOf": []any{flags.schema, paths.schema}},
	}
	return or(full, short, func(w *Watch, v Watch) { *w = v })
}

func servicesKind() kind[[]*Service] {
	k := object([]field[Service]{
		need("process", oneOrMore(name()), func(s *Service) *[]string { return &s.Processes },
			"The process that runs it, or a list of them; all: every process, each is started for "+
				"it; weak-all: every process that runs anyway and knows it."),
		in("config", anything(), func(s *Service) *any { return &s.Config },
			"What the service is configured with."),
	}, func() Service { return Service{} })
	return named(k, func(s *Service) *string { return &s.Name },
		func() Service { return Service{} }, false)
}
