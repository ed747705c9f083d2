package procfile

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// A field is one name of a map that is read into a struct S.
type field[S any] struct {
	name     string
	doc      string // for the editor: sentences
	required bool
	read     func(r *reader, n node, into *S)
	write    func(*S) any
	schema   schema
}

// in makes a field of a kind and of the place in S where its value goes.
func in[S, T any](name string, k kind[T], at func(*S) *T, doc string) field[S] {
	return field[S]{
		name:   name,
		doc:    doc,
		read:   func(r *reader, n node, into *S) { k.read(r, n, at(into)) },
		write:  func(s *S) any { return k.write(*at(s)) },
		schema: k.schema,
	}
}

// need makes a field that may not be missing.
func need[S, T any](name string, k kind[T], at func(*S) *T, doc string) field[S] {
	f := in(name, k, at, doc)
	f.required = true
	return f
}

// object is a map with these fields. What is not there stays as defaults made it.
func object[S any](fields []field[S], defaults func() S) kind[S] {
	return kind[S]{
		read: func(r *reader, n node, into *S) {
			n, entries, ok := r.mapping(n)
			if !ok {
				return
			}
			for _, e := range entries {
				readField(r, fields, e, into)
			}
			for _, f := range fields {
				if f.required && !slices.ContainsFunc(entries, func(e entry) bool {
					return e.name == f.name
				}) {
					r.fail(n, "%s is missing", f.name)
				}
			}
		},
		write: func(s S) any {
			var out yaml.MapSlice
			for _, f := range fields {
				if v := f.write(&s); v != nil {
					out = append(out, yaml.MapItem{Key: f.name, Value: v})
				}
			}
			if len(out) == 0 {
				return nil
			}
			return out
		},
		schema: objectSchema(fields, defaults()),
	}
}

func readField[S any](r *reader, fields []field[S], e entry, into *S) {
	for _, f := range fields {
		if f.name == e.name {
			r.places[e.node.path] = e.key.ast.GetToken().Position
			f.read(r, e.node, into)
			return
		}
	}
	if e.key.path == e.name && strings.HasPrefix(e.name, "x-") {
		var ignored any
		anything().read(r, e.node, &ignored) // for its anchors
		return
	}
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.name
	}
	r.fail(e.key, "unknown field; %s", nearest(e.name, known))
}

func objectSchema[S any](fields []field[S], defaults S) schema {
	properties, required := schema{}, []string{}
	for _, f := range fields {
		s := maps.Clone(f.schema)
		s["description"] = f.doc
		if v := f.write(&defaults); v != nil && isScalar(v) {
			s["default"] = v
		}
		properties[f.name] = s
		if f.required {
			required = append(required, f.name)
		}
	}
	s := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func isScalar(v any) bool {
	switch v.(type) {
	case string, int, int64, float64, bool:
		return true
	}
	return false
}

// or lets a value that is no map stand for an object, by a kind of its own.
func or[S, T any](full kind[S], short kind[T], use func(*S, T)) kind[S] {
	read := full.read
	full.read = func(r *reader, n node, into *S) {
		v, ok := r.resolve(n)
		if !ok {
			return
		}
		if _, isMap := v.ast.(ast.MapNode); isMap {
			read(r, v, into)
			return
		}
		before := len(r.errs)
		var t T
		if short.read(r, v, &t); len(r.errs) == before {
			use(into, t)
		}
	}
	full.schema = schema{"anyOf": []any{short.schema, full.schema}}
	return full
}

// namePattern is what names look like: they become parts of paths, of variables and of keys.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

const nameRule = "a name of letters, digits, '.', '_' and '-' that begins with a letter or " +
	"digit, at most 63"

// named is a map from names to objects, kept as a list in the order of the file. empty lets an
// object have no value at all.
func named[S any](k kind[S], at func(*S) *string, defaults func() S, empty bool) kind[[]*S] {
	return kind[[]*S]{
		read: func(r *reader, n node, into *[]*S) {
			_, entries, ok := r.mapping(n)
			if !ok {
				return
			}
			var all []*S
			for _, e := range entries {
				if !namePattern.MatchString(e.name) {
					r.fail(e.key, "want %s", nameRule)
					continue
				}
				r.places[e.node.path] = e.key.ast.GetToken().Position
				s := defaults()
				*at(&s) = e.name
				if _, null := e.node.ast.(*ast.NullNode); !null || !empty {
					k.read(r, e.node, &s)
				}
				all = append(all, &s)
			}
			*into = all
		},
		write: func(all []*S) any {
			var out yaml.MapSlice
			for _, s := range all {
				out = append(out, yaml.MapItem{Key: *at(s), Value: k.write(*s)})
			}
			if len(out) == 0 {
				return nil
			}
			return out
		},
		schema: schema{"type": "object", "additionalProperties": k.schema,
			"propertyNames": schema{"pattern": namePattern.String()}},
	}
}

// anything is a value of any form, as encoding/json has it, variables replaced in its texts.
func anything() kind[any] {
	return kind[any]{
		read: func(r *reader, n node, into *any) {
			before := len(r.errs)
			if v := r.anything(n, 0); len(r.errs) == before {
				*into = v
			}
		},
		write:  writeAnything,
		schema: schema{},
	}
}

func (r *reader) anything(n node, depth int) any {
	n, ok := r.resolve(n)
	if !ok {
		return nil
	}
	if depth > maxDepth {
		r.fail(n, "nested more than %d deep", maxDepth)
		return nil
	}
	switch x := n.ast.(type) {
	case ast.MapNode:
		entries, _ := r.entries(n)
		m := make(map[string]any, len(entries))
		for _, e := range entries {
			m[e.name] = r.anything(e.node, depth+1)
		}
		return m
	case *ast.SequenceNode:
		list := make([]any, len(x.Values))
		for i, v := range x.Values {
			list[i] = r.anything(n.item(i, v), depth+1)
		}
		return list
	case *ast.StringNode, *ast.LiteralNode:
		s, _ := r.text(n)
		return s
	case *ast.IntegerNode:
		return x.Value
	case *ast.FloatNode:
		return x.Value
	case *ast.BoolNode:
		return x.Value
	case *ast.InfinityNode, *ast.NanNode:
		r.fail(n, "want a value that JSON has, not %s", describe(n.ast))
	}
	return nil
}

func writeAnything(v any) any {
	switch v := v.(type) {
	case string:
		return escape(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = writeAnything(item)
		}
		return out
	case map[string]any:
		out := make(yaml.MapSlice, 0, len(v))
		for _, name := range sortedKeys(v) {
			out = append(out, yaml.MapItem{Key: name, Value: writeAnything(v[name])})
		}
		return out
	}
	return v
}

// nonZero is out, or nil when v is the zero value.
func nonZero[T comparable](v T, out any) any {
	var zero T
	if v == zero {
		return nil
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
