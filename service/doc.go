// Package service is what the main of a process calls: it starts the services of the process in the
// order of their dependencies, waits, and stops them in reverse.
//
//	func main() {
//		service.Main(
//			service.Definition{Name: "db", New: newDB},
//			service.Definition{Name: "web", DependsOn: []string{"db"}, New: newWeb},
//		)
//	}
//
//	func newWeb(e *service.Env) (service.Service, error) {
//		w := &web{port: 80}
//		if err := e.Config(&w.settings); err != nil {
//			return nil, err
//		}
//		var err error
//		w.db, err = service.Dependency[*db](e, "db")
//		return w, err
//	}
//
// A process that is told to stop by SIGTERM or SIGINT stops web, then db, each within its window,
// and exits. A second signal forces it.
//
// # What a supervisor tells a process
//
// A supervisor says by one environment variable, PITHOS_SERVICES, which of its services a process
// runs, and what they are configured with. Its value is an Assignment as JSON, in one line (here
// broken for the eye); every field may be missing:
//
//	{
//	  "application": "tryrpc",             the application that the process belongs to
//	  "process":     "provider",           its name in the process file
//	  "instance":    0,                    which of the scaled ones, from 0
//	  "services": {                        those it runs, by name
//	    "tryrpc": {"config": {...}},       config: any JSON, what Env.Config decodes
//	    "traces": {"weak": true}           weak: only if the process knows such a service
//	  },
//	  "all":      false,                   true: it runs all that it knows; services configures
//	  "hub":      "<path of a socket>",    where the hub is; "": there is none
//	  "registry": "hub:"                   the embedded one; or etcd://host:port,host:port/prefix
//	}
//
// What an assigned service depends on runs, too, whether it is named or not. A name that the
// process does not know is an error that lists those it knows, unless it is weak: that is for
// services assigned to every process that runs anyway, whatever program it is. Unknown fields are
// ignored, so that an older program runs under a newer supervisor. Without the variable (a process
// that someone starts by hand, or systemd does) a process runs all that it knows, without
// configuration.
//
// Readiness, the beginning of the end and the watchdog are told by sd_notify(3), so that a process
// runs under systemd unchanged.
//
// The package starts no processes, restarts nothing (that is the supervisor's work, which sees the
// process end), and reads no files.
package service
