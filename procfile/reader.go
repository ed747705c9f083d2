package procfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxNodes = 100_000 // values visited, each use of an alias counted
	maxDepth = 64
	maxLines = 10_000
)

// A node is one value of the file, with the path of names that leads to it.
type node struct {
	ast  ast.Node
	path string
}

// child is the value of that name within n.
func (n node) child(name string, value ast.Node) node {
	if n.path != "" {
		name = n.path + "." + name
	}
	return node{value, name}
}

// item is the i-th value of the list n.
func (n node) item(i int, value ast.Node) node {
	return node{value, fmt.Sprintf("%s[%d]", n.path, i)}
}

// reader walks through the tree of one file.
type reader struct {
	path    string
	lookup  func(string) (string, bool)
	anchors map[string]ast.Node
	places  map[string]*token.Position // of every value that was read, by its path
	errs    Errors
	nodes   int
}

// Parse reads the text of a process file. path says where it is from: what is relative in it is
// relative to its folder. Variables come from lookup. The error is of type Errors.
func Parse(path string, text []byte, lookup func(string) (string, bool)) (*File, error) {
	r := &reader{
		path: path, lookup: lookup,
		anchors: make(map[string]ast.Node), places: make(map[string]*token.Position),
	}
	f := &File{Path: path}
	if root := r.root(text); root != nil {
		k := fileKind()
		*f = fileDefaults()
		f.Path = path
		k.read(r, node{root, ""}, f)
	}
	if len(r.errs) == 0 {
		r.check(f)
	}
	if len(r.errs) == 0 {
		for _, p := range f.Processes {
			p.Dir = cmp.Or(p.Dir, filepath.Dir(path))
		}
		return f, nil
	}
	r.errs.sort()
	return nil, r.errs
}

// root parses the text into a tree; nil when there is none, which has been reported then.
func (r *reader) root(text []byte) ast.Node {
	if what := excess(text); what != "" {
		r.errs = append(r.errs, &Error{Path: r.path, What: what})
		return nil
	}
	tree, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		e := &Error{Path: r.path, What: "not YAML: " + err.Error()}
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			p := at.GetToken().Position
			e.Line, e.Column, e.What = p.Line, p.Column, "not YAML: "+at.GetMessage()
		}
		r.errs = append(r.errs, e)
		return nil
	}
	var roots []ast.Node
	for _, doc := range tree.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.NullType {
			roots = append(roots, doc.Body)
		}
	}
	switch len(roots) {
	case 0:
		r.errs = append(r.errs, &Error{Path: r.path, What: "empty; want at least a name and " +
			"processes, \"pithos init\" writes an example"})
		return nil
	case 1:
		return roots[0]
	}
	r.fail(node{roots[1], ""}, "a second document; want one")
	return nil
}

// excess says what is more in the text than any process file has, "" if nothing is. It guards the
// parser, which recurses into what is nested and takes a time that grows with the square of the
// lines. It counts brackets in strings and comments, too.
func excess(text []byte) string {
	lines, deep, deepest := 0, 0, 0
	for line := range bytes.Lines(text) {
		lines++
		rest := bytes.TrimLeft(line, " -?:") // "- - - a" is a list in a list in a list
		deepest = max(deepest, bytes.Count(line[:len(line)-len(rest)], []byte("- ")),
			bytes.Count(line[:len(line)-len(rest)], []byte("? ")))
		for _, c := range rest {
			switch c {
			case '[', '{':
				deep++
				deepest = max(deepest, deep)
			case ']', '}':
				deep = max(0, deep-1)
			}
		}
	}
	switch {
	case len(text) > MaxSize:
		return fmt.Sprintf("%d bytes, limit %d", len(text), MaxSize)
	case lines > maxLines:
		return fmt.Sprintf("%d lines, limit %d", lines, maxLines)
	case deepest > maxDepth:
		return fmt.Sprintf("nested %d deep, limit %d", deepest, maxDepth)
	}
	return ""
}

// fail reports a fault at n.
func (r *reader) fail(n node, format string, args ...any) {
	e := &Error{Path: r.path, Field: n.path, What: fmt.Sprintf(format, args...)}
	if n.ast != nil && n.ast.GetToken() != nil {
		p := n.ast.GetToken().Position
		e.Line, e.Column = p.Line, p.Column
		if m, ok := n.ast.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
			p = m.Values[0].Key.GetToken().Position // a block's own token is its first colon
			e.Line, e.Column = p.Line, p.Column
		}
	}
	r.errs = append(r.errs, e)
}

// failAt reports a fault of the value with that path, or of the nearest one around it.
func (r *reader) failAt(path, format string, args ...any) {
	e := &Error{Path: r.path, Field: path, What: fmt.Sprintf(format, args...)}
	for at := path; ; {
		if p := r.places[at]; p != nil {
			e.Line, e.Column = p.Line, p.Column
			break
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			break
		}
		at = at[:i]
	}
	r.errs = append(r.errs, e)
}

// resolve steps through anchors, aliases and tags to the value itself. It reports false, after an
// error, when there is none or the file is too large when all aliases are followed.
func (r *reader) resolve(n node) (node, bool) {
	for range maxDepth {
		if r.nodes++; r.nodes > maxNodes {
			if r.nodes == maxNodes+1 {
				r.fail(n, "over %d values once all aliases are followed", maxNodes)
			}
			return n, false
		}
		switch x := n.ast.(type) {
		case *ast.AnchorNode:
			r.anchors[x.Name.GetToken().Value] = x.Value
			n.ast = x.Value
		case *ast.AliasNode:
			name := x.Value.GetToken().Value
			to, ok := r.anchors[name]
			if !ok {
				r.fail(n, "there is no anchor &%s before it", name)
				return n, false
			}
			n.ast = to
		case *ast.TagNode:
			r.fail(n, "has the tag %s; want a plain value", x.Start.Value)
			return n, false
		default:
			if n.ast == nil {
				r.fail(n, "has no value")
				return n, false
			}
			return n, true
		}
	}
	r.fail(n, "aliases refer to each other")
	return n, false
}

// An entry is one key of a map with its value.
type entry struct {
	name string
	key  node
	node node
}

// entries returns those of the map n in their order, with the ones of merge keys ("<<") before the
// map's own, which win over them. A name that comes twice is reported.
func (r *reader) entries(n node) ([]entry, bool) {
	m, ok := n.ast.(ast.MapNode)
	if !ok {
		return nil, false
	}
	var merged, own []entry
	seen := make(map[string]int)
	for it := m.MapRange(); it.Next(); {
		key, value := it.Key(), it.Value()
		if key.IsMergeKey() {
			merged = append(merged, r.merge(n, value)...)
			continue
		}
		name := key.GetToken().Value
		e := entry{name, n.child(name, key), n.child(name, value)}
		line := key.GetToken().Position.Line
		if first, twice := seen[name]; twice {
			r.fail(e.key, "is there twice, first in line %d", first)
			continue
		}
		seen[name] = line
		own = append(own, e)
	}
	var all []entry
	for _, e := range merged {
		if _, over := seen[e.name]; !over {
			all = append(all, e)
		}
	}
	return append(all, own...), true
}

// merge returns the entries that the value of a merge key stands for: of a map, or of a list of
// them, the first of which wins.
func (r *reader) merge(n node, value ast.Node) []entry {
	from, ok := r.resolve(node{value, n.path})
	if !ok {
		return nil
	}
	if list, ok := from.ast.(*ast.SequenceNode); ok {
		var all []entry
		seen := make(map[string]bool)
		for _, v := range list.Values {
			for _, e := range r.merge(n, v) {
				if !seen[e.name] {
					seen[e.name] = true
					all = append(all, e)
				}
			}
		}
		return all
	}
	all, ok := r.entries(from)
	if !ok {
		r.fail(node{value, n.path}, "<< takes a map, not %s", describe(from.ast))
	}
	return all
}

// text returns a scalar as it is written, its variables replaced. It reports false when n is none.
func (r *reader) text(n node) (string, bool) {
	switch x := n.ast.(type) {
	case *ast.StringNode:
		return r.expand(n, x.Value)
	case *ast.LiteralNode:
		return r.expand(n, x.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.ast.GetToken().Value, true
	}
	return "", false
}

// describe says in words what a value is.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case ast.MapNode:
		return "a map"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode, nil:
		return "nothing"
	case *ast.StringNode:
		return fmt.Sprintf("%q", shorten(n.Value))
	case *ast.LiteralNode:
		return fmt.Sprintf("%q", shorten(n.Value.Value))
	}
	return shorten(n.GetToken().Value)
}

// shorten keeps what is quoted in an error within a line.
func shorten(s string) string {
	const longest = 60
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "..."
	}
	return s
}
