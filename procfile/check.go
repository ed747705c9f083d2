package procfile

import (
	"slices"
	"strings"
)

// HubName is what the process of the hub is called.
const HubName = "hub"

// check reports what is wrong between the parts of a file, each of which is right by itself.
func (r *reader) check(f *File) {
	if len(f.Processes) == 0 {
		r.failAt("processes", "want at least one")
	}
	names := f.names()
	for _, s := range f.Services {
		r.checkService(s, names)
	}
	for _, p := range f.Processes {
		r.checkProcess(f, p, names)
	}
	if c := f.cycle(); c != nil {
		r.failAt("processes."+c[0]+".depends_on", "depends on itself: %s", strings.Join(c, " -> "))
	}
}

func (f *File) names() []string {
	names := make([]string, len(f.Processes))
	for i, p := range f.Processes {
		names[i] = p.Name
	}
	return names
}

func (r *reader) checkProcess(f *File, p *Process, names []string) {
	at := "processes." + p.Name
	switch {
	case p.Name == HubName && f.Hub.Run:
		r.failAt(at, "is the name of the hub's process; choose another")
	case p.Name == All || p.Name == WeakAll:
		r.failAt(at, "stands for processes of any name in services; choose another")
	case len(p.Command) == 0 || p.Command[0] == "":
		r.failAt(at+".command", "want a program")
	}
	for _, d := range p.DependsOn {
		to := f.Process(d.Name)
		switch at := at + ".depends_on"; {
		case to == nil && d.Name == HubName && f.Hub.Run: // everything does
		case to == nil:
			r.failAt(at, "unknown process %q; %s", d.Name, nearest(d.Name, names))
		case f.Runs(p) && !f.Runs(to):
			r.failAt(at, "process %q is on demand, and no service is assigned to it", d.Name)
		}
	}
	if p.Ready.Object != "" && !f.Hub.Run && f.Hub.Path == "" {
		r.failAt(at+".ready.object", "wants a hub, and there is none")
	}
	if o := p.Restart; o.Delay > o.MaxDelay {
		r.failAt(at+".restart.delay", "want at most max_delay, %s, not %s", o.MaxDelay, o.Delay)
	}
}

func (r *reader) checkService(s *Service, names []string) {
	at := "services." + s.Name + ".process"
	if len(s.Processes) == 0 {
		r.failAt(at, "want at least one process")
	}
	for i, p := range s.Processes {
		switch {
		case (p == All || p == WeakAll) && len(s.Processes) > 1:
			r.failAt(at, "want %s alone, or names of processes", p)
		case p == All || p == WeakAll:
		case !slices.Contains(names, p):
			r.failAt(at, "unknown process %q; %s", p, nearest(p, names))
		case slices.Contains(s.Processes[:i], p):
			r.failAt(at, "process %q is there twice", p)
		}
	}
}

// cycle returns the names along a cycle of dependencies, the first one again at its end; nil if
// there is none.
func (f *File) cycle() []string {
	done := make(map[string]bool)
	var trail []string
	var visit func(name string) []string
	visit = func(name string) []string {
		if i := slices.Index(trail, name); i >= 0 {
			return append(slices.Clone(trail[i:]), name)
		}
		p := f.Process(name)
		if p == nil || done[name] {
			return nil
		}
		trail = append(trail, name)
		for _, d := range p.DependsOn {
			if c := visit(d.Name); c != nil {
				return c
			}
		}
		trail = trail[:len(trail)-1]
		done[name] = true
		return nil
	}
	for _, p := range f.Processes {
		if c := visit(p.Name); c != nil {
			return c
		}
	}
	return nil
}
