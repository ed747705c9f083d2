package pithos_test

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxFileLines     = 600
	maxFunctionLines = 70
	maxFields        = 20
	maxOptions       = 8 // exported fields of a struct named Options
	maxColumns       = 100
	tabColumns       = 4
	maxWord          = 60 // columns; a line with a longer word cannot be broken, and is exempt
)

// bannedNames say nothing about what is inside.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "types",
	"base", "config", "log", "metrics"}

// bannedWords are what no text of the tree says. The brackets keep the patterns from finding
// themselves.
var bannedWords = []struct {
	what string
	file string // the only file that is looked at, by its name; "": all of them
	re   *regexp.Regexp
}{
	{"unfinished mark", "",
		regexp.MustCompile(`(?i)\b(to[d]o|fi[x]me|x[x]x|ha[c]k|tb[d]|wi[p]|not impl[e]mented)\b`)},
	{"path of one machine", "",
		regexp.MustCompile(`(?:^|[^\w./-])(/(?:home|Users|root|work|farm|mnt|srv)\b)`)},
	{"download address", "package-lock.json", regexp.MustCompile(`"resolved"`)},
}

func checkFileSize(f *file, report reporter) {
	if n := len(f.lines()); n > maxFileLines {
		report(f, maxFileLines+1, "%d lines, limit %d", n, maxFileLines)
	}
}

// checkColumns counts a tab as four. A line that holds a word of over 60 columns is exempt: an
// address, a path or golden bytes, that breaking would make worse.
func checkColumns(f *file, report reporter) {
	for i, line := range f.lines() {
		n := utf8.RuneCountInString(line) + strings.Count(line, "\t")*(tabColumns-1)
		unbroken := func(word string) bool { return utf8.RuneCountInString(word) > maxWord }
		if n > maxColumns && !slices.ContainsFunc(strings.Fields(line), unbroken) {
			report(f, i+1, "%d columns, limit %d", n, maxColumns)
		}
	}
}

// checkFunctions counts from the line of func to that of the closing brace. In a test the lines of
// composite literals do not count: a table of cases is data.
func checkFunctions(f *file, report reporter) {
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		n := f.line(fn.End()) - f.line(fn.Pos()) + 1
		if f.test() {
			n -= f.dataLines(fn)
		}
		if n > maxFunctionLines {
			report(f, f.line(fn.Pos()), "func %s has %d lines, limit %d", fn.Name.Name, n,
				maxFunctionLines)
		}
	}
}

// dataLines returns how many line breaks lie in the composite literals of fn.
func (f *file) dataLines(fn *ast.FuncDecl) int {
	n := 0
	ast.Inspect(fn, func(node ast.Node) bool {
		lit, ok := node.(*ast.CompositeLit)
		if ok {
			n += f.line(lit.End()) - f.line(lit.Pos())
		}
		return !ok
	})
	return n
}

// checkStructs counts names and embedded types; padding, which is named _, is no field.
func checkStructs(f *file, report reporter) {
	names := make(map[*ast.StructType]string)
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if s, ok := n.Type.(*ast.StructType); ok {
				names[s] = n.Name.Name
			}
		case *ast.StructType:
			fields, exported := countFields(n)
			if fields > maxFields {
				report(f, f.line(n.Pos()), "struct %s has %d fields, limit %d", names[n], fields,
					maxFields)
			}
			if names[n] == "Options" && exported > maxOptions {
				report(f, f.line(n.Pos()), "struct Options has %d exported fields, limit %d",
					exported, maxOptions)
			}
		}
		return true
	})
}

func countFields(s *ast.StructType) (all, exported int) {
	for _, field := range s.Fields.List {
		if len(field.Names) == 0 {
			all++
			exported++ // whoever embeds a type shows its fields
		}
		for _, name := range field.Names {
			if name.Name != "_" {
				all++
			}
			if name.IsExported() {
				exported++
			}
		}
	}
	return all, exported
}

// checkNames reports folders and packages with banned names, each once.
func checkNames(t *tree, report reporter) {
	seen := make(map[string]bool)
	for _, f := range t.files {
		for dir := f.dir(); dir != "."; dir = path.Dir(dir) {
			if slices.Contains(bannedNames, path.Base(dir)) && f.ast != nil && !seen[dir] {
				seen[dir] = true
				report(f, 1, "folder %s, one of the names that say nothing", dir)
			}
		}
		if f.ast == nil {
			continue
		}
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		if slices.Contains(bannedNames, name) && path.Base(f.dir()) != name {
			report(f, f.line(f.ast.Package), "package %s, one of the names that say nothing", name)
		}
	}
}

// checkWords reads every line of every file, but for the sums of modules and the corpora of the
// fuzzer, which nobody writes.
func checkWords(t *tree, report reporter) {
	for _, f := range t.files {
		if f.base() == "go.sum" || strings.Contains("/"+f.path, "/testdata/fuzz/") {
			continue
		}
		for i, line := range f.lines() {
			for _, w := range bannedWords {
				if w.file != "" && w.file != f.base() {
					continue
				}
				if m := w.re.FindStringSubmatch(line); m != nil {
					report(f, i+1, "%s %q, banned", w.what, m[len(m)-1])
				}
			}
		}
	}
}
