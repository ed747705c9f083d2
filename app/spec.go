package app

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/service"
	"github.com/pithos-ipc/pithos/supervisor"
)

// Specs returns what the supervisor runs: the hub first, if the file wants one, then the processes
// in the order of the file, without those on demand that nobody demands.
func Specs(f *procfile.File, o Options) ([]supervisor.Spec, error) {
	socket := Socket(f, o)
	var specs []supervisor.Spec
	if f.Hub.Run {
		specs = append(specs, hubSpec(f, o, socket))
	}
	for _, p := range f.Processes {
		if !f.Runs(p) {
			continue
		}
		s, err := spec(f, p, o, socket)
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	return specs, nil
}

// Socket is the hub's socket: that of the file, else that of the options, or "" if the application
// has no hub.
func Socket(f *procfile.File, o Options) string {
	if f.Hub.Path != "" || !f.Hub.Run {
		return f.Hub.Path
	}
	return o.Socket
}

// hubSpec is the hub as a process. It is back at once when it was killed, and tried again for ever.
func hubSpec(f *procfile.File, o Options, socket string) supervisor.Spec {
	args := append(slices.Clone(o.Hub[1:]), "--socket", socket)
	if f.Hub.Pandora {
		args = append(args, "--pandora")
	}
	for _, n := range [...]struct{ flag, value string }{
		{"--policy", f.Hub.Policy}, {"--balancer", f.Hub.Balancer},
	} {
		if n.value != "" {
			args = append(args, n.flag, n.value)
		}
	}
	for _, n := range [...]struct {
		flag  string
		value int64
	}{
		{"--max-body", f.Hub.MaxBody}, {"--max-batch", f.Hub.MaxBatch},
		{"--max-outbox", f.Hub.MaxOutbox}, {"--max-pending", int64(f.Hub.MaxPending)},
		{"--max-conns", int64(f.Hub.MaxConns)}, {"--max-queue", f.Hub.MaxQueue},
		{"--max-total", f.Hub.MaxTotal},
	} {
		if n.value > 0 {
			args = append(args, n.flag, strconv.FormatInt(n.value, 10))
		}
	}
	s := supervisor.Spec{
		Name: procfile.HubName, Command: o.Hub[0], Args: args, Env: o.Env,
		Dir: filepath.Dir(f.Path), Order: -1 << 16, Log: logPolicy(f.Hub.Log, procfile.HubName, o),
		Restart: supervisor.RestartPolicy{Delay: 20 * time.Millisecond, MaxDelay: 2 * time.Second},
		Stop:    supervisor.StopPolicy{Window: 15 * time.Second}, // it has 10 s to close
	}
	s.Ready.Interval = 20 * time.Millisecond
	s.Ready.Probe = o.HubProbe(socket)
	return s
}

func logPolicy(l supervisor.LogPolicy, name string, o Options) supervisor.LogPolicy {
	if l.File == "" && o.LogFolder != "" {
		l.File = filepath.Join(o.LogFolder, name+".log")
	}
	return l
}

func spec(f *procfile.File, p *procfile.Process, o Options,
	socket string) (supervisor.Spec, error) {
	services, err := assignment(f, p, socket)
	if err != nil {
		return supervisor.Spec{}, err
	}
	env := slices.Clone(o.Env)
	if socket != "" {
		env = append(env, "PITHOS_SOCKET="+socket)
	}
	for _, vars := range [...]map[string]string{f.Env, p.Env} {
		for _, name := range slices.Sorted(maps.Keys(vars)) {
			env = append(env, name+"="+vars[name])
		}
	}
	s := supervisor.Spec{
		Name: p.Name, Command: p.Command[0], Args: p.Command[1:], Env: env, Dir: p.Dir,
		Services: services, Scale: p.Scale, Order: p.Order,
		DependsOn: slices.Clone(p.DependsOn), Ready: p.Ready.Policy, Restart: p.Restart,
		Stop: p.Stop, Log: logPolicy(p.Log, p.Name, o), Limits: p.Limits,
	}
	named := func(d supervisor.Dependency) bool { return d.Name == procfile.HubName }
	if f.Hub.Run && !slices.ContainsFunc(s.DependsOn, named) {
		s.DependsOn = append(s.DependsOn, supervisor.Dependency{Name: procfile.HubName})
	}
	s.Ready.Probe = probe(p, o, socket)
	if s.Ready.After == 0 { // which is the default to the supervisor, here and below
		s.Ready.After = -1
	}
	if s.Stop.Window == 0 {
		s.Stop.Window = time.Nanosecond
	}
	return s, nil
}

// assignment is the value of PITHOS_SERVICES. A file that names no services at all leaves it to
// each process to run those that it knows.
func assignment(f *procfile.File, p *procfile.Process, socket string) (string, error) {
	a := service.Assignment{
		Application: f.Name, Process: p.Name, Hub: socket, Registry: f.Registry,
		All: len(f.Services) == 0,
	}
	for _, s := range f.Assigned(p) {
		assigned := service.Assigned{Weak: s.Weak()}
		if s.Config != nil {
			config, err := json.Marshal(s.Config)
			if err != nil {
				return "", fmt.Errorf("services.%s.config: %w", s.Name, err)
			}
			assigned.Config = config
		}
		if a.Services == nil {
			a.Services = make(map[string]service.Assigned)
		}
		a.Services[s.Name] = assigned
	}
	b, err := json.Marshal(a)
	return string(b), err
}

// probe is all that the file wants to be asked, one after the other; nil if that is nothing.
func probe(p *procfile.Process, o Options, socket string) supervisor.Probe {
	var probes []supervisor.Probe
	if p.Ready.TCP != "" {
		probes = append(probes, supervisor.TCPProbe(p.Ready.TCP))
	}
	if p.Ready.HTTP != "" {
		probes = append(probes, supervisor.HTTPProbe(p.Ready.HTTP))
	}
	if p.Ready.Object != "" {
		probes = append(probes, o.ObjectProbe(socket, p.Ready.Object))
	}
	if len(p.Ready.Exec) > 0 {
		probes = append(probes, supervisor.ExecProbe(p.Ready.Exec[0], p.Ready.Exec[1:]...))
	}
	if len(probes) == 0 {
		return nil
	}
	return func(ctx context.Context) error {
		for _, ask := range probes {
			if err := ask(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}
