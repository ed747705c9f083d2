package pithos_test

import (
	"go/ast"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// globals are the package-level variables that no clause of checkGlobals covers, with the reason
// why each may be one.
var globals = map[string]string{
	"bench.calls":    "a pool: what it holds is nobody's, and what it yields is overwritten",
	"transport.base": "where the monotonic clock counts from; a constant, but for its making",
}

var (
	getName  = regexp.MustCompile(`^Get(\p{Lu}|\d|$)`)
	fuzzName = regexp.MustCompile(`\bFuzz\p{Lu}\w*`)
	errName  = regexp.MustCompile(`^[Ee]rr(\p{Lu}|$)`)
)

// fuzzReadme is where every fuzz target has the command that runs it.
const fuzzReadme = "fuzz/README.md"

func checkGet(f *file, report reporter) {
	for _, fn := range functions(f) {
		if !f.test() && getName.MatchString(fn.Name.Name) {
			report(f, f.line(fn.Pos()), "func %s, no name begins with Get", fn.Name.Name)
		}
	}
}

func checkInit(f *file, report reporter) {
	for _, fn := range functions(f) {
		if fn.Recv == nil && fn.Name.Name == "init" {
			report(f, f.line(fn.Pos()), "func init, limit 0")
		}
	}
}

func functions(f *file) []*ast.FuncDecl {
	var fns []*ast.FuncDecl
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			fns = append(fns, fn)
		}
	}
	return fns
}

// checkGlobals reports the package-level variables of code, not of tests, that could change. What
// stays as it was made is fine:
//
//	var _ I = ...                        an assertion
//	//go:embed                           a file
//	var ErrX, errX = errors.New(...)     a sentinel, of fmt.Errorf too
//	var re = regexp.MustCompile(...)     a compiled pattern
//	var table = [...]T{...}              an unexported array, slice or map
//
// provided that nothing in its package assigns to it or takes its address.
func checkGlobals(t *tree, report reporter) {
	for dir, files := range t.packages() {
		for _, f := range files {
			if f.test() {
				continue
			}
			for _, v := range variables(f) {
				why := "not a sentinel, a pattern or an unexported table"
				if v.fixed() {
					why = "written to in its package"
				}
				if _, ok := globals[dir+"."+v.name]; ok || v.fixed() && !written(files, v.name) {
					continue
				}
				report(f, f.line(v.pos), "var %s is mutable: %s", v.name, why)
			}
		}
	}
}

// A variable is one name of a package-level var.
type variable struct {
	name  string
	pos   token.Pos
	value ast.Expr // nil if it has none of its own
	embed bool
}

func variables(f *file) []variable {
	var vars []variable
	for _, d := range f.ast.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, s := range gen.Specs {
			spec := s.(*ast.ValueSpec)
			for i, name := range spec.Names {
				v := variable{name.Name, name.Pos(), nil, embeds(gen.Doc) || embeds(spec.Doc)}
				if len(spec.Values) == len(spec.Names) {
					v.value = spec.Values[i]
				}
				vars = append(vars, v)
			}
		}
	}
	return vars
}

func embeds(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// fixed says whether v is of a kind that stays as it was made, unless someone writes to it.
func (v variable) fixed() bool {
	if v.name == "_" || v.embed {
		return true
	}
	switch x := v.value.(type) {
	case *ast.CallExpr:
		switch qualified(x.Fun) {
		case "errors.New", "fmt.Errorf":
			return errName.MatchString(v.name)
		case "regexp.MustCompile":
			return !token.IsExported(v.name)
		}
		_, conversion := x.Fun.(*ast.ArrayType)
		return conversion && !token.IsExported(v.name)
	case *ast.CompositeLit:
		switch x.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			return !token.IsExported(v.name)
		}
	}
	return false
}

// qualified returns e as text if it is a name with its package, and otherwise "".
func qualified(e ast.Expr) string {
	if sel, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := sel.X.(*ast.Ident); ok {
			return x.Name + "." + sel.Sel.Name
		}
	}
	return ""
}

// written says whether the files assign to name, or take its address. It goes by the name alone, so
// that a local variable of that name counts too.
func written(files []*file, name string) bool {
	found := false
	hit := func(places ...ast.Expr) {
		for _, e := range places {
			id := base(e)
			found = found || name != "_" && id != nil && id.Name == name
		}
	}
	for _, f := range files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					hit(n.Lhs...)
				}
			case *ast.IncDecStmt:
				hit(n.X)
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					hit(n.Key, n.Value)
				}
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					hit(n.X)
				}
			case *ast.CallExpr:
				id, _ := n.Fun.(*ast.Ident)
				if id != nil && slices.Contains([]string{"clear", "copy", "delete"}, id.Name) {
					hit(n.Args[0])
				}
			}
			return !found
		})
	}
	return found
}

// base returns the variable that an addressable expression is a part of.
func base(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// checkComments reports packages without a package comment and exported names without a comment.
// Error() and String() need none: their signatures say it all. Commands export nothing.
func checkComments(t *tree, report reporter) {
	for dir, files := range t.packages() {
		code := slices.DeleteFunc(slices.Clone(files), (*file).test)
		commented := func(f *file) bool { return f.ast.Doc != nil }
		if len(code) > 0 && !slices.ContainsFunc(code, commented) {
			report(code[0], code[0].line(code[0].ast.Package), "package %s has no comment", dir)
		}
		for _, f := range code {
			if f.ast.Name.Name == "main" {
				continue
			}
			for _, id := range uncommented(f.ast) {
				report(f, f.line(id.Pos()), "%s is exported and has no comment", id.Name)
			}
		}
	}
}

// uncommented returns the exported names of a file that have no comment. In a group the comment of
// the group will do, and so will one at the end of the line.
func uncommented(f *ast.File) []*ast.Ident {
	var ids []*ast.Ident
	need := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		none := func(c *ast.CommentGroup) bool { return c == nil }
		if name.IsExported() && len(slices.DeleteFunc(comments, none)) == 0 {
			ids = append(ids, name)
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if !obvious(d) && !hiddenReceiver(d) {
				need(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					need(s.Name, d.Doc, s.Doc, s.Comment)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						need(name, d.Doc, s.Doc, s.Comment)
					}
				}
			}
		}
	}
	return ids
}

func obvious(fn *ast.FuncDecl) bool {
	named := fn.Name.Name == "Error" || fn.Name.Name == "String"
	return named && fn.Recv != nil && fn.Type.Params.NumFields() == 0
}

// hiddenReceiver says whether fn is a method of an unexported type.
func hiddenReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return false
	}
	id := base(generic(fn.Recv.List[0].Type))
	return id != nil && !id.IsExported()
}

// generic returns the type without its parameters, of which base knows only one.
func generic(e ast.Expr) ast.Expr {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if x, ok := e.(*ast.IndexListExpr); ok {
		e = x.X
	}
	return e
}

// checkFuzz reports the fuzz targets whose command is not in the README of folder fuzz, as one line
// with -fuzz, the name and the folder, and the names there that are no targets.
func checkFuzz(t *tree, report reporter) {
	i := slices.IndexFunc(t.files, func(f *file) bool { return f.path == fuzzReadme })
	if i < 0 {
		return
	}
	readme, commands := t.files[i], make(map[string]int)
	for i, line := range t.files[i].lines() {
		for _, name := range fuzzName.FindAllString(line, -1) {
			if at := commands[name]; at == 0 || strings.Contains(line, "-fuzz") {
				commands[name] = i + 1
			}
		}
	}
	for _, f := range t.files {
		if f.ast == nil || !f.test() {
			continue
		}
		for _, fn := range functions(f) {
			name := fn.Name.Name
			if fn.Recv != nil || fuzzName.FindString(name) != name {
				continue
			}
			line := readme.lineAt(commands[name])
			where := regexp.MustCompile(`\./` + regexp.QuoteMeta(f.dir()) + `/?([^\w./-]|$)`)
			if !strings.Contains(line, "-fuzz") || !where.MatchString(line) {
				report(f, f.line(fn.Pos()), "%s is in no line of %s with -fuzz and ./%s", name,
					fuzzReadme, f.dir())
			}
			delete(commands, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		report(readme, commands[name], "%s is no fuzz target in the tree", name)
	}
}

// lineAt returns the line of that number, and "" for 0.
func (f *file) lineAt(n int) string {
	if n == 0 {
		return ""
	}
	return f.lines()[n-1]
}
