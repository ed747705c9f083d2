package service

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pithos-ipc/pithos/hub/object"
)

// node is one service of a process, with those that it depends on and that depend on it.
type node struct {
	Definition
	assigned Assigned
	needs    []*node
	neededBy []*node

	begun   chan struct{} // closed when its start is over, one way or the other
	ended   chan struct{} // closed when it is stopped, or there is nothing to stop
	service Service       // nil unless it has started; set before begun is closed
	object  *object.Published
}

// choose returns the services that an assignment means, in the order of defs, connected.
func choose(defs []Definition, a Assignment) ([]*node, error) {
	all, err := connect(defs)
	if err != nil {
		return nil, err
	}
	var chosen []*node
	var take func(n *node)
	take = func(n *node) {
		if !slices.Contains(chosen, n) {
			chosen = append(chosen, n)
			for _, needed := range n.needs {
				take(needed)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Services)) {
		n, known := all[name]
		switch {
		case known:
			n.assigned = a.Services[name]
			take(n)
		case !a.Services[name].Weak:
			return nil, fmt.Errorf("service: %s is assigned to this process, which %s", name,
				knows(all))
		}
	}
	if a.All {
		for _, n := range all {
			take(n)
		}
	}
	for _, n := range chosen {
		n.neededBy = slices.DeleteFunc(n.neededBy,
			func(by *node) bool { return !slices.Contains(chosen, by) })
	}
	place := func(n *node) int {
		return slices.IndexFunc(defs, func(d Definition) bool { return d.Name == n.Name })
	}
	slices.SortFunc(chosen, func(a, b *node) int { return place(a) - place(b) })
	return chosen, nil
}

// connect checks all definitions and returns them by name.
func connect(defs []Definition) (map[string]*node, error) {
	all := make(map[string]*node, len(defs))
	for i, d := range defs {
		switch {
		case d.Name == "":
			return nil, fmt.Errorf("service: definition %d of %d has no name", i+1, len(defs))
		case d.New == nil:
			return nil, fmt.Errorf("service: %s has no New", d.Name)
		case all[d.Name] != nil:
			return nil, fmt.Errorf("service: two services are named %s", d.Name)
		case d.StartWithin < 0 || d.StopWithin < 0:
			return nil, fmt.Errorf("service: %s has windows of %v and %v, want 0 or more", d.Name,
				d.StartWithin, d.StopWithin)
		}
		if d.StartWithin == 0 {
			d.StartWithin = StartWithin
		}
		if d.StopWithin == 0 {
			d.StopWithin = StopWithin
		}
		all[d.Name] = &node{Definition: d, begun: make(chan struct{}), ended: make(chan struct{})}
	}
	var errs []error
	for _, d := range defs {
		n := all[d.Name]
		for _, name := range d.DependsOn {
			needed, known := all[name]
			if !known {
				errs = append(errs, fmt.Errorf("service: %s depends on %s, and this process %s",
					d.Name, name, knows(all)))
				continue
			}
			n.needs = append(n.needs, needed)
			needed.neededBy = append(needed.neededBy, n)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if cycle := findCycle(defs, all); cycle != nil {
		return nil, fmt.Errorf("service: cycle of dependencies: %s", strings.Join(cycle, " -> "))
	}
	return all, nil
}

func knows(all map[string]*node) string {
	if len(all) == 0 {
		return "knows no services"
	}
	return "knows only " + strings.Join(slices.Sorted(maps.Keys(all)), ", ")
}

// findCycle returns the names along a cycle, the first one again at its end, or nil.
func findCycle(defs []Definition, all map[string]*node) []string {
	done := make(map[*node]bool)
	var path []*node
	var visit func(n *node) []string
	visit = func(n *node) []string {
		if i := slices.Index(path, n); i >= 0 {
			var names []string
			for _, on := range append(path[i:], n) {
				names = append(names, on.Name)
			}
			return names
		}
		if done[n] {
			return nil
		}
		path = append(path, n)
		for _, needed := range n.needs {
			if cycle := visit(needed); cycle != nil {
				return cycle
			}
		}
		path = path[:len(path)-1]
		done[n] = true
		return nil
	}
	for _, d := range defs {
		if cycle := visit(all[d.Name]); cycle != nil {
			return cycle
		}
	}
	return nil
}
