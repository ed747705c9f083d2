package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// addressee is whom call and send mean, and what they have for him.
type addressee struct {
	flag     string // --selector
	selector hub.Selector
	method   string // or a property
	property bool
	payload  []byte // the arguments, as a list of JSON
}

func (a *addressee) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.flag, "selector", "", "who, besides the object: JSON, or "+
		"key=value,key=value")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w; arguments of the method go behind --", err)
	})
}

// addressed wants object.method, and arguments behind "--".
func addressed(cmd *cobra.Command, args []string) error {
	named := len(args)
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		named = dash
	}
	switch {
	case named == 0:
		return fmt.Errorf("what is to be called? want object.method, as in %s math.abs -- -1",
			cmd.CommandPath())
	case named > 1:
		return fmt.Errorf("arguments of the method go behind --, as in %s %s -- %s",
			cmd.CommandPath(), args[0], strings.Join(args[1:named], " "))
	}
	return nil
}

// parse reads the name and the arguments.
func (a *addressee) parse(args []string) error {
	dot := strings.LastIndexByte(args[0], '.')
	name, method := args[0][:max(dot, 0)], args[0][dot+1:]
	var err error
	if a.selector, err = parseSelector(a.flag); err != nil {
		return fmt.Errorf("--selector %w", err)
	}
	if method == "" || dot == 0 {
		return &incomplete{name, fmt.Sprintf("%q: want object.method", args[0])}
	}
	switch other := a.selector.ObjectName; {
	case name != "" && other != "" && other != name:
		return fmt.Errorf("--selector %s: it is about %s, but %s about %s", a.flag, other, args[0],
			name)
	case name != "":
		a.selector.ObjectName = name
	case a.selector == hub.Selector{}:
		return &incomplete{method, fmt.Sprintf(
			"%q names no object: want object.method, or a --selector", args[0])}
	}
	a.method = method
	list := make([]json.RawMessage, len(args)-1)
	for i, text := range args[1:] {
		list[i] = argument(text)
	}
	a.payload, err = json.Marshal(list)
	return err
}

// incomplete says that a name has no method, or no object.
type incomplete struct{ object, text string }

func (e *incomplete) Error() string { return e.text }

// complete says of an object's name alone which methods there are, if somebody knows.
func (a *addressee) complete(cmd *cobra.Command, s *socketFlag, err error) error {
	var part *incomplete
	if !errors.As(err, &part) || part.object == "" {
		return err
	}
	a.selector.ObjectName = part.object
	_ = atHub(cmd, s, askTime, func(ctx context.Context, c *hub.Client) error {
		if have, ok := a.members(ctx, c); ok {
			err = fmt.Errorf("%q names no method: object %s has %s", cmd.Flags().Arg(0),
				part.object, listed(methodsOf(have), ""))
		}
		return nil
	})
	return err
}

// parseSelector reads a selector as JSON, or as key=value,key=value.
func parseSelector(text string) (s hub.Selector, err error) {
	if text == "" {
		return s, nil
	}
	keys := map[string]*string{"appName": &s.AppName, "processName": &s.ProcessName, "pid": &s.PID,
		"clientId": &s.ClientID, "objectName": &s.ObjectName, "objectTag": &s.ObjectTag}
	known := func() string {
		var names []string
		for k := range keys {
			names = append(names, k)
		}
		slices.Sort(names)
		return strings.Join(names, ", ")
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		var values map[string]any
		if err := json.Unmarshal([]byte(text), &values); err != nil {
			return s, fmt.Errorf("%s: %w", text, err)
		}
		for k, v := range values {
			if keys[k] == nil {
				return s, fmt.Errorf("%s: unknown key %q, there are %s", text, k, known())
			}
			value, ok := v.(string)
			if !ok {
				return s, fmt.Errorf("%s: %s: want a string", text, k)
			}
			*keys[k] = value
		}
		return s, nil
	}
	for _, pair := range strings.Split(text, ",") {
		k, v, ok := strings.Cut(pair, "=")
		if k = strings.TrimSpace(k); !ok || keys[k] == nil {
			return s, fmt.Errorf("%s: %q: want key=value, the keys are %s", text, pair, known())
		}
		*keys[k] = v
	}
	return s, nil
}

// explain says what was wrong, and what there is in place of what is not.
func (a *addressee) explain(ctx context.Context, c *hub.Client, timeout time.Duration,
	err error) error {
	var remote *hub.RemoteError
	switch {
	case errors.As(err, &remote) && remote.Code == wire.CodeNoRoute:
		return a.nobody(context.WithoutCancel(ctx), c)
	case errors.As(err, &remote) && (remote.Code == wire.CodeDeadline):
		return fmt.Errorf("%s: no result within %s", a.name(), timeout)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, transport.ErrDeadline):
		return fmt.Errorf("%s: no result within %s", a.name(), timeout)
	case errors.As(err, &remote):
		if have, ok := a.members(context.WithoutCancel(ctx), c); ok {
			if missing := a.missing(have); missing != nil {
				return missing
			}
		}
		return fmt.Errorf("%s: %s", a.name(), bare(err))
	}
	return fmt.Errorf("%s: %w", a.name(), err)
}

// name is what is called, as it was written.
func (a *addressee) name() string {
	if a.selector.ObjectName == "" {
		return a.method
	}
	return a.selector.ObjectName + "." + a.method
}

// askTime is how long the hub, and an object, is asked at most what there is, to say so.
const askTime = time.Second

// nobody says that nobody is selected, and which objects there are.
func (a *addressee) nobody(ctx context.Context, c *hub.Client) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	in, err := c.Inspect(ctx, hub.InspectOptions{Objects: true})
	if err != nil {
		return fmt.Errorf("nobody is found by the selector %s", a.selected())
	}
	var names []string
	there := false
	for _, o := range in.Objects {
		there = there || o.Name == a.selector.ObjectName
		if !slices.Contains(names, o.Name) {
			names = append(names, o.Name)
		}
	}
	switch {
	case there: // but not with the rest of the selector
		return fmt.Errorf("object %q is there, but nobody provides it who is %s",
			a.selector.ObjectName, a.selected())
	case a.selector.ObjectName == "":
		return fmt.Errorf("nobody is found by the selector %s", a.selected())
	case len(names) == 0:
		return fmt.Errorf("no object %q: nothing is published", a.selector.ObjectName)
	}
	return fmt.Errorf("no object %q: there are %s", a.selector.ObjectName,
		listed(names, a.selector.ObjectName))
}

// selected is the selector without the object's name.
func (a *addressee) selected() string {
	s := a.selector
	s.ObjectName = ""
	b, _ := json.Marshal(s) // strings cannot fail
	return string(b)
}

// missing says that the object has no such method or property, and what it has; nil when it has.
func (a *addressee) missing(have object.Introspection) error {
	methods, properties := methodsOf(have), propertiesOf(have)
	kind, there := "method", methods
	if a.property {
		kind, there = "property", properties
	}
	switch {
	case slices.Contains(there, a.method):
		return nil
	case !a.property && slices.Contains(properties, a.method):
		return fmt.Errorf("%s is a property, which call --property reads; methods of %s are %s",
			a.name(), a.selector.ObjectName, listed(methods, a.method))
	}
	return fmt.Errorf("object %s has no %s %q: there are %s", a.selector.ObjectName, kind, a.method,
		listed(there, a.method))
}

// members are what the object says that it has, if it says so.
func (a *addressee) members(ctx context.Context, c *hub.Client) (object.Introspection, bool) {
	if a.selector.ObjectName == "" {
		return object.Introspection{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	have, err := object.Introspect(ctx, c.Route(a.selector))
	return have, err == nil
}

func methodsOf(have object.Introspection) (names []string) {
	for _, m := range have.Methods {
		names = append(names, m.Name)
	}
	return names
}

func propertiesOf(have object.Introspection) (names []string) {
	for _, p := range have.Properties {
		names = append(names, p.Name)
	}
	return names
}

// maxListed is how many names an error lists.
const maxListed = 20

// listed are the names, the likely ones first.
func listed(names []string, wanted string) string {
	if len(names) == 0 {
		return "none"
	}
	names = slices.Clone(names)
	short := func(name string) string { return strings.ToLower(clip(name, 64)) }
	distance := make(map[string]int, len(names))
	for _, n := range names {
		distance[n] = levenshtein.Distance(short(n), short(wanted), nil)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(distance[a]-distance[b], strings.Compare(a, b))
	})
	more := ""
	if n := len(names) - maxListed; n > 0 {
		names, more = names[:maxListed], fmt.Sprintf(" and %d more", n)
	}
	for i, n := range names {
		names[i] = plainText(n)
	}
	return strings.Join(names, ", ") + more
}
