// Tidy holds the rules of the tree that no compiler holds: who may import whom, how long things may
// be, where unsafe and system calls live, which names and words are not used.
//
// A rule is a function over the parsed tree that reports what breaks it. TestTidy applies all rules
// to this module; TestTidyCatches plants violations of each in a small tree of its own. What a rule
// says stands beside it: tidy_house_test.go has the imports, tidy_size_test.go the sizes and the
// names, tidy_code_test.go what is declared.
//
// Folders with a go.mod of their own are other modules: only the banned words hold there too. Files
// under testdata are data: the banned words hold, but not in the corpora of the fuzzer.
package pithos_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const module = "github.com/pithos-ipc/pithos"

// rules are all there are; each is known by its name in what it reports.
var rules = []rule{
	{"syntax", everyGo(checkSyntax)},
	{"arrows", checkArrows},
	{"guests", everyGo(checkGuests)},
	{"fence", checkFence},
	{"file size", everyCode(checkFileSize)},
	{"columns", everyCode(checkColumns)},
	{"function size", everyGo(checkFunctions)},
	{"struct size", everyGo(checkStructs)},
	{"folder and package names", checkNames},
	{"words", checkWords},
	{"get", everyGo(checkGet)},
	{"init", everyGo(checkInit)},
	{"globals", checkGlobals},
	{"comments", checkComments},
	{"fuzz targets", checkFuzz},
}

func TestTidy(t *testing.T) {
	found, err := inspect(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// A rule is one thing that must hold. Its check reports every place where it does not.
type rule struct {
	name  string
	check func(t *tree, report reporter)
}

// A reporter takes one violation: the file, the line, the value found and its limit.
type reporter func(f *file, line int, format string, args ...any)

// A finding is one violation, printed as file:line: rule: what.
type finding struct {
	path string
	line int
	rule string
	what string
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.path, f.line, f.rule, f.what)
}

// inspect applies all rules to the tree in root. It returns what they found, by place.
func inspect(root fs.FS) ([]finding, error) {
	t, err := load(root)
	if err != nil {
		return nil, err
	}
	var found []finding
	for _, r := range rules {
		r.check(t, func(f *file, line int, format string, args ...any) {
			found = append(found, finding{f.path, line, r.name, fmt.Sprintf(format, args...)})
		})
	}
	slices.SortFunc(found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.path, b.path), a.line-b.line, cmp.Compare(a.what, b.what))
	})
	return found, nil
}

// A tree is the text files of a folder, in the order of their paths.
type tree struct {
	files []*file
}

// A file is one text file.
type file struct {
	path string // from the root, with slashes
	text string
	code bool           // a program's text in this module, not data
	ast  *ast.File      // nil unless the file is Go and code
	err  error          // of the parser
	fset *token.FileSet // of ast
}

// load reads and parses the tree in root. Binary files, what npm installed and hidden folders other
// than those of CI are left out.
func load(root fs.FS) (*tree, error) {
	t := &tree{}
	var foreign []string // folders of other modules, of test data
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if base == "node_modules" || hidden(base) {
				return fs.SkipDir
			}
			_, err := fs.Stat(root, path.Join(name, "go.mod"))
			if name != "." && err == nil || base == "testdata" {
				foreign = append(foreign, name)
			}
			return nil
		}
		if !d.Type().IsRegular() || base == ".git" { // a file, in a second checkout
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if errors.Is(err, fs.ErrNotExist) || bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text) {
			return nil
		}
		if err != nil {
			return err
		}
		f := &file{path: name, text: string(text)}
		f.parse(slices.ContainsFunc(foreign, f.under))
		t.files = append(t.files, f)
		return nil
	})
	return t, err
}

func hidden(folder string) bool {
	return strings.HasPrefix(folder, ".") && folder != "." && folder != ".ci" && folder != ".github"
}

// parse says whether f is code, and parses it if it is Go.
func (f *file) parse(foreign bool) {
	switch ext := path.Ext(f.path); {
	case foreign:
		return
	case ext == ".go":
		f.fset = token.NewFileSet()
		mode := parser.ParseComments | parser.SkipObjectResolution
		f.ast, f.err = parser.ParseFile(f.fset, f.path, f.text, mode)
		f.code = true
	default:
		f.code = slices.Contains([]string{".s", ".sh", ".js", ".mjs", ".cjs"}, ext) ||
			strings.HasPrefix(f.text, "#!")
	}
}

func (f *file) under(folder string) bool { return under(f.path, folder) }

// under says whether the path lies in the folder, or is it.
func under(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

func (f *file) dir() string  { return path.Dir(f.path) }
func (f *file) base() string { return path.Base(f.path) }
func (f *file) test() bool   { return strings.HasSuffix(f.path, "_test.go") }

func (f *file) line(p token.Pos) int { return f.fset.Position(p).Line }

// lines returns the lines of f, without an empty one after the last line break.
func (f *file) lines() []string {
	return strings.Split(strings.TrimSuffix(f.text, "\n"), "\n")
}

// packages returns the Go files of each folder that has any.
func (t *tree) packages() map[string][]*file {
	m := make(map[string][]*file)
	for _, f := range t.files {
		if f.ast != nil {
			m[f.dir()] = append(m[f.dir()], f)
		}
	}
	return m
}

// everyGo makes a rule of a check of one Go file.
func everyGo(check func(f *file, report reporter)) func(*tree, reporter) {
	return func(t *tree, report reporter) {
		for _, f := range t.files {
			if f.ast != nil {
				check(f, report)
			}
		}
	}
}

// everyCode makes a rule of a check of one file of code: Go, assembly, scripts.
func everyCode(check func(f *file, report reporter)) func(*tree, reporter) {
	return func(t *tree, report reporter) {
		for _, f := range t.files {
			if f.code {
				check(f, report)
			}
		}
	}
}

// checkSyntax reports what does not parse; the other rules see only what was understood of it.
func checkSyntax(f *file, report reporter) {
	if f.err != nil {
		report(f, 1, "%v", f.err)
	}
}
