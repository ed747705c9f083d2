package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/hub"
)

// lister is what ls is asked to do.
type lister struct {
	what      string
	match     string
	json      bool
	histogram bool
	members   bool
	limit     int
	watch     time.Duration
	timeout   time.Duration
	have      []members       // of the objects that were listed last
	cut       map[string]bool // titles of lists that have reached the limit
	out       io.Writer
	err       io.Writer
}

// lists are what ls can list.
var lists = []string{"hub", "peers", "objects", "routes", "methods", "all"}

func newLs(s *socketFlag) *cobra.Command {
	var l lister
	cmd := &cobra.Command{
		Use:   "ls [hub|peers|objects|routes|methods|all] [name]",
		Short: "List who is at the hub, what is published, and how it is called",
		Long: `Asks the hub what it knows, and prints it as tables: the hub, its peers and the
objects that they publish, or the list that is named.

  peers    connections: calls INSIDE they have to answer, calls ASKING they wait for, and
           what is QUEUED and WAITING (bytes) for them
  objects  what is published, and by whom
  routes   the selectors that somebody has asked for
  methods  calls so far and in flight, and how long they took: mean, quantiles, maximum

A name, in which * stands for any text, leaves only what is called so: peers by their names,
methods as object.method. With --watch it goes on looking until it is interrupted. With --members
each object is asked what can be called there, and how.`,
		Example: `  pithos ls
  pithos ls methods
  pithos ls methods 'math.*' --histogram
  pithos ls objects math --members
  pithos ls peers --watch=1s
  pithos ls all --json | jq '.methods[] | select(.failed > 0)'`,
		Args:      cobra.MaximumNArgs(2),
		ValidArgs: lists,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				l.what = args[0]
			}
			if len(args) > 1 {
				l.match = args[1]
			}
			if err := l.check(); err != nil {
				return err
			}
			l.out, l.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return atHub(cmd, s, l.timeout, func(ctx context.Context, c *hub.Client) error {
				return l.run(ctx, l.looker(c))
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&l.json, "json", false, "as JSON")
	flags.BoolVar(&l.histogram, "histogram", false, "draw how long the calls of each method took")
	flags.BoolVar(&l.members, "members", false, "ask the objects for their methods and properties")
	flags.IntVar(&l.limit, "limit", hub.DefaultInspectLimit, "longest list")
	flags.DurationVar(&l.watch, "watch", 0, "look again and again, at this interval")
	flags.Lookup("watch").NoOptDefVal = "2s"
	registerTimeout(cmd, &l.timeout)
	return cmd
}

func (l *lister) check() error {
	for _, name := range []string{l.what, l.match} {
		if _, err := time.ParseDuration(name); err == nil && l.watch > 0 {
			return fmt.Errorf("--watch %s: want --watch=%s", name, name)
		}
	}
	switch {
	case l.what != "" && !slices.Contains(lists, l.what):
		return fmt.Errorf("no list %q: there are %s", l.what, strings.Join(lists, ", "))
	case l.what == "hub" && l.match != "":
		return fmt.Errorf("ls hub %s: there is one hub only", l.match)
	case l.histogram && l.what != "methods":
		return fmt.Errorf("--histogram: only for ls methods")
	case l.members && l.what != "objects":
		return fmt.Errorf("--members: only for ls objects")
	case l.limit <= 0:
		return fmt.Errorf("--limit %d: want more than 0", l.limit)
	case l.watch != 0 && l.watch < minWatch:
		return fmt.Errorf("--watch %s: want %s or more", l.watch, minWatch)
	}
	return nil
}

// options are the parts that the list wants.
func (l *lister) options() hub.InspectOptions {
	all := l.what == "all"
	return hub.InspectOptions{
		Peers:   all || l.what == "" || l.what == "peers" || l.what == "objects",
		Objects: all || l.what == "" || l.what == "objects",
		Routes:  all || l.what == "routes",
		Methods: all || l.what == "methods",
		Buckets: l.histogram || l.json && l.what == "methods",
		Limit:   l.limit,
	}
}

// looker asks the hub for what the list wants, and the objects where that is wanted, too.
func (l *lister) looker(c *hub.Client) looker {
	look := inspector(c, l.options(), l.timeout)
	return func(ctx context.Context) (*hub.Inspection, error) {
		in, err := look(ctx)
		if err != nil {
			return nil, err
		}
		l.cut = map[string]bool{"PEERS": len(in.Peers) == l.limit,
			"OBJECTS": len(in.Objects) == l.limit, "ROUTES": len(in.Routes) == l.limit,
			"METHODS": len(in.Methods) == l.limit}
		l.leave(in)
		if l.members {
			l.have = askMembers(ctx, c, in.Objects)
		}
		return in, nil
	}
}

// run lists once, or until ctx ends. What goes wrong meanwhile is said, but not among JSON.
func (l *lister) run(ctx context.Context, look looker) error {
	var v view
	trouble := l.out
	if l.json {
		trouble = l.err
	}
	for {
		in, err := look(ctx)
		switch {
		case err == nil:
			v = view{now: in, before: v.now}
			err = l.print(v)
		case l.watch == 0 || v.now == nil:
			return err
		case ctx.Err() != nil:
			return nil // it was to go on until then
		default:
			_, err = fmt.Fprintf(trouble, "%s\n", plainText(err.Error()))
		}
		if err != nil || l.watch == 0 || !pause(ctx, l.watch) {
			return err
		}
	}
}

// leave leaves in the lists what has the name that is wanted.
func (l *lister) leave(in *hub.Inspection) {
	if l.match == "" {
		return
	}
	other := func(name string) bool { return !hub.Matches(l.match, name) }
	if l.what != "objects" { // which names its peers
		in.Peers = slices.DeleteFunc(in.Peers, func(p hub.PeerInfo) bool { return other(p.Name) })
	}
	in.Objects = slices.DeleteFunc(in.Objects, func(o hub.ObjectInfo) bool { return other(o.Name) })
	in.Routes = slices.DeleteFunc(in.Routes, func(r hub.RouteInfo) bool {
		return other(string(r.Selector))
	})
	in.Methods = slices.DeleteFunc(in.Methods, func(m hub.MethodInfo) bool {
		return other(methodName(m))
	})
}

func (l *lister) print(v view) error {
	if l.json {
		return json.NewEncoder(l.out).Encode(l.part(v.now))
	}
	var lines []string
	if l.watch > 0 {
		lines = append(lines, v.now.Hub.Now.Local().Format("15:04:05"))
	}
	if l.what == "" || l.what == "hub" || l.what == "all" {
		lines = append(lines, v.headline()...)
	}
	for _, g := range l.grids(v) {
		if len(lines) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, g.lines(0)...)
	}
	if l.watch > 0 {
		lines = append(lines, "")
	}
	_, err := io.WriteString(l.out, strings.Join(lines, "\n")+"\n")
	return err
}

// grids are the tables of the list.
func (l *lister) grids(v view) []*grid {
	var list []*grid
	for _, t := range []struct {
		what  string
		grid  func() *grid
		usual bool // is in the list that has no name
	}{
		{"peers", v.peers, true}, {"objects", v.objects, true}, {"routes", v.routes, false},
		{"methods", v.methods, false},
	} {
		if l.what == "all" || l.what == t.what || l.what == "" && t.usual {
			list = append(list, t.grid())
		}
	}
	for _, g := range list {
		if l.match != "" {
			g.none = fmt.Sprintf("nothing is called %q", l.match)
		}
		if l.cut[g.title] {
			g.more = fmt.Sprintf("of the first %d; --limit shows more", l.limit)
		}
	}
	switch {
	case l.members:
		list = append(list, membersGrid(v.now.Objects, l.have))
	case l.histogram:
		for _, m := range v.now.Methods {
			list = append(list, histogram(m))
		}
	case len(list) == 1:
		list[0].title = ""
	}
	return list
}

// part is what --json prints: the list, or everything.
func (l *lister) part(in *hub.Inspection) any {
	switch l.what {
	case "hub":
		return struct {
			Hub   hub.HubInfo `json:"hub"`
			Stats hub.Stats   `json:"stats"`
		}{in.Hub, in.Stats}
	case "peers":
		return orEmpty(in.Peers)
	case "objects":
		if l.members {
			return withMembers(in.Objects, l.have)
		}
		return orEmpty(in.Objects)
	case "routes":
		return orEmpty(in.Routes)
	case "methods":
		return orEmpty(in.Methods)
	}
	return in
}

// orEmpty is list, so that JSON has [] where nothing is there.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
