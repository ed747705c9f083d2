package procfile

import (
	"strconv"
	"syscall"
	"time"

	"github.com/pithos-ipc/pithos/supervisor"
)

// The defaults of a file. What is not named here is empty, and means what its comment says.

func fileDefaults() File { return File{Hub: hubDefaults(), Registry: Embedded} }

func hubDefaults() Hub { return Hub{Run: true, Log: logDefaults()} }

func processDefaults() Process {
	return Process{
		Scale: 1,
		Ready: Ready{Policy: supervisor.Readiness{
			Interval: 250 * time.Millisecond, Timeout: 5 * time.Second,
			After: 100 * time.Millisecond, Window: time.Minute,
		}},
		Restart: supervisor.RestartPolicy{Delay: 100 * time.Millisecond,
			MaxDelay: 30 * time.Second, Stable: 10 * time.Second, Burst: 5},
		Stop:  supervisor.StopPolicy{Signal: syscall.SIGTERM, Window: 5 * time.Second},
		Log:   logDefaults(),
		Watch: Watch{On: true},
	}
}

func logDefaults() supervisor.LogPolicy {
	return supervisor.LogPolicy{MaxSize: 10 << 20, MaxFiles: 5}
}

func fileKind() kind[File] {
	return object([]field[File]{
		need("name", name(), func(f *File) *string { return &f.Name },
			"The application's name."),
		in("env", variables(), func(f *File) *map[string]string { return &f.Env },
			"Variables of the environment for every process."),
		in("hub", hubKind(), func(f *File) *Hub { return &f.Hub },
			"The hub, which is started first. false: none is; a text: the path of its socket."),
		in("registry", registryKind(), func(f *File) *string { return &f.Registry },
			"Where names are kept: embedded, which is in the hub, or etcd, as a URL "+
				"(etcd://user:password@host:port,host:port/prefix?ttl=10s) or a map."),
		need("processes", processesKind(), func(f *File) *[]*Process { return &f.Processes },
			"The processes by name, each with its command."),
		in("services", servicesKind(), func(f *File) *[]*Service { return &f.Services },
			"Which process runs which services, and with what configuration. Without it every "+
				"process runs all services that it knows."),
	}, fileDefaults)
}

func hubKind() kind[Hub] {
	full := object([]field[Hub]{
		in("run", flag(), func(h *Hub) *bool { return &h.Run },
			"false: no hub is started. If there is a path the hub there is used, which somebody "+
				"else runs."),
		in("path", place(), func(h *Hub) *string { return &h.Path },
			"Its socket: a path, or an abstract name after @. Default: the user's usual hub."),
		in("pandora", flag(), func(h *Hub) *bool { return &h.Pandora },
			"Listen where Pandora's Node clients look, too."),
		in("max_body", size(1), func(h *Hub) *int64 { return &h.MaxBody },
			"Largest body of a frame, in bytes."),
		in("max_batch", size(1), func(h *Hub) *int64 { return &h.MaxBatch },
			"Largest reply with the answers of many, in bytes."),
		in("max_outbox", size(1), func(h *Hub) *int64 { return &h.MaxOutbox },
			"Bytes that may wait for a peer before it is disconnected."),
		in("max_pending", optionalCount(), func(h *Hub) *int { return &h.MaxPending },
			"Calls of one peer without an answer."),
		in("max_queue", size(1), func(h *Hub) *int64 { return &h.MaxQueue },
			"Bytes of calls and oneways that wait for a native peer that takes no more."),
		in("max_total", size(1), func(h *Hub) *int64 { return &h.MaxTotal },
			"Bytes of them for all native peers."),
		in("policy", oneOf("block", "drop-oldest", "drop-newest", "disconnect"),
			func(h *Hub) *string { return &h.Policy },
			"What happens to a native peer whose queue is full. Default: block."),
		in("balancer", oneOf("round-robin", "random", "least-pending", "power-of-two", "weighted",
			"consistent-hash"), func(h *Hub) *string { return &h.Balancer },
			"Who of several gets a call. Default: round-robin."),
		in("max_conns", optionalCount(), func(h *Hub) *int { return &h.MaxConns },
			"Connections of the hub's socket."),
		in("log", logKind(), func(h *Hub) *supervisor.LogPolicy { return &h.Log },
			"Where its own log goes."),
	}, hubDefaults)
	return or(full, flagOrPlace(), func(h *Hub, s string) {
		if run, err := strconv.ParseBool(s); err == nil {
			h.Run = run
			return
		}
		h.Path = s
	})
}

// flagOrPlace is true, false or a path.
func flagOrPlace() kind[string] {
	paths, flags := place(), flag()
	k := paths
	k.read = func(r *reader, n node, into *string) {
		if s, ok := r.text(n); ok && (s == "true" || s == "false") {
			*into = s
			return
		}
		paths.read(r, n, into)
	}
	k.schema = schema{"anyOf": []any{flags.schema, paths.schema}}
	return k
}

// optionalCount is a number from 1 whose absence means a default of elsewhere.
func optionalCount() kind[int] {
	k := count(1, 1<<30)
	k.write = func(i int) any { return nonZero(i, i) }
	return k
}

func processesKind() kind[[]*Process] {
	return named(processKind(), func(p *Process) *string { return &p.Name }, processDefaults, false)
}
