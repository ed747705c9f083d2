package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
)

// members are what an object says that it has, or why it does not say.
type members struct {
	object.Introspection
	Error string `json:"error,omitempty"`
}

// askingAtATime is how many objects are asked what they have at a time.
const askingAtATime = 16

// askMembers asks those objects what they have, by their names and tags, each for askTime at most.
func askMembers(ctx context.Context, c *hub.Client, objects []hub.ObjectInfo) []members {
	all := make([]members, len(objects))
	places := make(chan struct{}, askingAtATime)
	var asking sync.WaitGroup
	for i, o := range objects {
		asking.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			var err error
			route := c.Route(hub.Selector{ObjectName: o.Name, ObjectTag: o.Tag})
			defer route.Release()
			if all[i].Introspection, err = object.Introspect(ctx, route); err != nil {
				all[i].Error = bare(err)
			}
		})
	}
	asking.Wait()
	return all
}

// objectMembers is an object with what it has, as --json prints it.
type objectMembers struct {
	hub.ObjectInfo
	members
}

func withMembers(objects []hub.ObjectInfo, all []members) []objectMembers {
	list := make([]objectMembers, len(objects))
	for i, o := range objects {
		list[i] = objectMembers{o, all[i]}
	}
	return list
}

// membersGrid lists what the objects have, as it is called.
func membersGrid(objects []hub.ObjectInfo, all []members) *grid {
	g := &grid{title: "MEMBERS", none: "nothing is published",
		heads: []string{"MEMBER", "TAG", "KIND", "TYPE"}}
	for i, o := range objects {
		m := all[i]
		for _, x := range m.Methods {
			kind := "method"
			if x.Type != "" && x.Type != "function" {
				kind = x.Type
			}
			g.add(o.Name+"."+x.Name, o.Tag, kind, signatureOf(x))
		}
		for _, x := range m.Properties {
			g.add(o.Name+"."+x.Name, o.Tag, "property", x.Type)
		}
		switch {
		case m.Error != "":
			g.add(o.Name, o.Tag, "-", m.Error)
		case len(m.Methods)+len(m.Properties) == 0:
			g.add(o.Name, o.Tag, "-", "says nothing of what it has")
		}
	}
	return g
}

// signatureOf is how m is called: as Go says it, or else, as of Node nothing more is known, with a
// place for each parameter.
func signatureOf(m object.MethodInfo) string {
	if m.Signature != "" {
		return m.Signature
	}
	return fmt.Sprintf("(%s)", strings.TrimSuffix(strings.Repeat("any, ", m.Length), ", "))
}
