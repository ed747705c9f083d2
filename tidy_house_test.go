package pithos_test

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// arrows says which packages of ours a package may import. One that is neither named here, nor in a
// folder named internal of one that is, nor in a folder of edges, has no place in the house yet.
//
//	service    -> hub, hub/object, registry        hub           -> transport, wire, balancer
//	hub/object -> hub, wire                        transport     -> wire
//	registry/hubreg -> registry, hub, transport, wire      registry/etcd -> registry
//	procfile   -> supervisor                       app           -> procfile, supervisor, service
//	wire, balancer, supervisor, registry -> nothing of ours
//
// A test may also import its own package, all that lies behind its arrows, and what is in testers.
var arrows = map[string][]string{
	".":                       nil,
	"wire":                    nil,
	"balancer":                nil,
	"supervisor":              nil,
	"registry":                nil,
	"procfile":                {"supervisor"},
	"app":                     {"procfile", "supervisor", "service"},
	"daemon":                  {"app", "procfile", "supervisor", "transport", "wire"},
	"watch":                   nil,
	"console":                 {"supervisor"},
	"transport":               {"wire"},
	"transport/transporttest": {"transport", "wire"},
	"hub":                     {"transport", "wire", "balancer"},
	"hub/object":              {"hub", "wire"},
	"service":                 {"hub", "hub/object", "registry"},
	"registry/hubreg":         {"registry", "hub", "transport", "wire"},
	"registry/etcd":           {"registry"},
	"registry/etcd/etcdtest":  nil,
	"registry/registrytest":   {"registry", "transport/transporttest"},
	"internal/npmtest":        nil,
	"internal/paired":         nil,
}

// testers are the packages for tests, which any test may import.
var testers = []string{
	"transport/transporttest", "registry/registrytest", "registry/etcd/etcdtest",
	"internal/npmtest", "internal/paired",
}

// edges are the folders that import whatever they like and that nothing imports, but for those
// which each of them lists here.
var edges = map[string][]string{
	"cmd":      {"bench"},
	"bench":    nil,
	"fuzz":     nil,
	"examples": nil,
}

// guests are the modules of others that have fixed places, and the folders which those are.
// Modules that are not named here may be imported outside the core.
var guests = map[string][]string{
	"golang.org/x/sys":                  {everywhere},
	"github.com/valyala/bytebufferpool": {everywhere},
	"github.com/stretchr/testify": {
		inTests, "registry/registrytest", "registry/etcd/etcdtest", "internal/npmtest",
	},
	"github.com/santhosh-tekuri/jsonschema": {inTests},
	"github.com/spf13/cobra":                {"cmd"},
	"gonum.org/v1/plot":                     {"bench", "cmd"},
	"go.etcd.io/etcd":                       {"registry/etcd"},
	"google.golang.org/grpc":                {"registry/etcd"},
}

const (
	everywhere = "."
	inTests    = "test files"
)

// core are the folders that take none but the guests named above.
var core = []string{"wire", "transport", "balancer"}

// fences are the imports that only certain files may have, by a part of their names.
var fences = map[string]string{
	"unsafe":                "_unsafe",
	"syscall":               "_linux",
	"golang.org/x/sys/unix": "_linux",
}

// signals are what any test, and the code of the folders in signalled, may take from package
// syscall outside the fence: they are names, not calls.
var (
	signals   = regexp.MustCompile(`^(SIG[A-Z0-9]+|Signal)$`)
	signalled = []string{"cmd", "procfile", "supervisor", "service", "registry/registrytest"}
)

func checkArrows(t *tree, report reporter) {
	for dir, files := range t.packages() {
		if _, inside := arrows[owner(dir)]; !inside && !isEdge(dir) {
			report(files[0], 1, "folder %s has no place in the table of arrows", dir)
			continue
		}
		for _, f := range files {
			for _, imp := range f.ast.Imports {
				to, ours := folder(importPath(imp))
				if !ours || mayImport(owner(dir), owner(to), f.test()) {
					continue
				}
				may := "may import " + list(arrows[owner(dir)]) + " of ours"
				if isEdge(to) {
					may = "which nothing imports"
				}
				report(f, f.line(imp.Pos()), "%s imports %s, %s", dir, to, may)
			}
		}
	}
}

// folder returns where in the tree the package of an import path is, if it is ours.
func folder(imported string) (string, bool) {
	rest, ok := strings.CutPrefix(imported+"/", module+"/")
	return path.Clean(rest), ok
}

// owner returns the folder whose arrows hold for a package: its own, or, for what lies in a folder
// named internal, the one above that.
func owner(dir string) string {
	dir, _, _ = strings.Cut(dir, "/internal/")
	return dir
}

func isEdge(dir string) bool {
	_, ok := edges[top(dir)]
	return ok
}

func mayImport(from, to string, test bool) bool {
	switch {
	case from == to:
		return true // by its own tests, or within what one folder owns
	case isEdge(to):
		return top(from) == top(to) || slices.Contains(edges[top(from)], top(to))
	case isEdge(from):
		return true
	case test:
		return slices.Contains(testers, to) || behind(from, to)
	}
	return slices.Contains(arrows[from], to)
}

// behind says whether arrows lead from one package to the other, or both are one.
func behind(from, to string) bool {
	return from == to ||
		slices.ContainsFunc(arrows[from], func(next string) bool { return behind(next, to) })
}

func checkGuests(f *file, report reporter) {
	for _, imp := range f.ast.Imports {
		name := importPath(imp)
		if _, ours := folder(name); ours || !strings.Contains(top(name), ".") {
			continue // the standard library has no dot in its first element
		}
		places := placesOf(name)
		switch {
		case places == nil && slices.ContainsFunc(core, f.under):
			report(f, f.line(imp.Pos()), "%s imports %s, and takes no such guests", f.dir(), name)
		case places != nil && !slices.ContainsFunc(places, f.in):
			report(f, f.line(imp.Pos()), "%s imports %s, which belongs in %s", f.dir(), name,
				list(places))
		}
	}
}

// placesOf returns the folders where an import of another module may be; none if it has no fixed
// places.
func placesOf(imported string) []string {
	for guest, places := range guests {
		if under(imported, guest) {
			return places
		}
	}
	return nil
}

// in says whether f is in one of the places of guests.
func (f *file) in(place string) bool {
	return place == everywhere || place == inTests && f.test() || f.under(place)
}

// checkFence reports unsafe, system calls, assembly and C outside the files whose names tell of
// them. A linkname needs unsafe, and so the same name.
func checkFence(t *tree, report reporter) {
	for _, f := range t.files {
		if f.code && path.Ext(f.path) == ".s" && !strings.Contains(f.base(), "_unsafe_") {
			report(f, 1, "assembly in %s, belongs in *_unsafe_*.s", f.base())
		}
		if f.ast == nil {
			continue
		}
		for _, imp := range f.ast.Imports {
			checkFenced(f, imp, report)
		}
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname ") && !fenced(f, "unsafe") {
					report(f, f.line(c.Pos()), "go:linkname in %s, belongs in *_unsafe*.go",
						f.base())
				}
			}
		}
	}
}

func checkFenced(f *file, imp *ast.ImportSpec, report reporter) {
	name := importPath(imp)
	part, ok := fences[name]
	switch {
	case name == "C":
		report(f, f.line(imp.Pos()), "import of C in %s, belongs nowhere", f.base())
	case !ok || fenced(f, name) || name == "syscall" && onlySignals(f, imp):
	default:
		report(f, f.line(imp.Pos()), "import of %s in %s, belongs in *%s*.go", name, f.base(), part)
	}
}

func fenced(f *file, imported string) bool { return strings.Contains(f.base(), fences[imported]) }

// onlySignals says whether f may take, and takes, nothing but signals from package syscall.
func onlySignals(f *file, imp *ast.ImportSpec) bool {
	if !f.test() && !slices.ContainsFunc(signalled, f.under) || imp.Name != nil {
		return false
	}
	only := true
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && !signals.MatchString(sel.Sel.Name) {
			x, ok := sel.X.(*ast.Ident)
			only = only && !(ok && x.Name == "syscall")
		}
		return true
	})
	return only
}

func importPath(imp *ast.ImportSpec) string {
	name, _ := strconv.Unquote(imp.Path.Value) // the parser has checked it
	return name
}

// top returns the first element of a path.
func top(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
