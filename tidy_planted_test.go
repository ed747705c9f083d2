package pithos_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// clean is a tree that breaks no rule, though it goes near each of them.
var clean = map[string]string{
	"go.mod": "module " + module + "\n",
	"doc.go": "// Package pithos is the root.\npackage pithos\n",
	"wire/wire.go": `// Package wire is the format.
package wire

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// The errors.
var (
	ErrA = errors.New("wire: a")
	errB = fmt.Errorf("wire: b: %w", ErrA)
)

var (
	_     io.Reader = (*reader)(nil)
	names           = [...]string{"a", "b"}
	byKey           = map[string]int{"a": 1}
	magic           = []byte("magic")
	key             = regexp.MustCompile("[a-z]+")
)

//go:embed wire.go
var source string

// Code is a number.
type Code int

func (c Code) String() string { return names[c] + source + key.String() }

const (
	CodeA Code = iota // the first
	CodeB             // the second
)

type reader struct{ at int }

func (r *reader) Read(b []byte) (int, error) { return copy(b, magic), errB }

func (r *reader) get() int { return byKey["a"] }

// Getaway is no getter.
func Getaway() {}
`,
	"wire/wire_test.go": `package wire_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"` + module + `/transport/transporttest"
	"` + module + `/wire"
)

var changing int

func FuzzWire(f *testing.F) {
	changing++
	transporttest.Pair()
	require.Equal(f, wire.CodeA, syscall.SIGTERM)
}

func TestTable(t *testing.T) {
	for _, c := range []string{
		` + strings.Repeat("\"case\",\n\t\t", maxFunctionLines) + `
	} {
		t.Log(c)
	}
}
`,
	"transport/conn.go": `// Package transport carries frames.
package transport

import "` + module + `/wire"

// Conn is wide, and padded.
type Conn struct {
` + fields(maxFields) + `	_ [64]byte
}

// Options are few.
type Options struct {
` + fields(maxOptions) + `	hidden wire.Code
}
`,
	"transport/sys_linux.go": `package transport

import (
	"syscall"

	"github.com/valyala/bytebufferpool"
	"golang.org/x/sys/unix"
)

func pid() int { bytebufferpool.Put(nil); return unix.Getpid() + syscall.Getppid() }
`,
	"transport/sys_unsafe_linux.go": imports("transport", "unsafe"),
	"transport/sys_unsafe_amd64.s":  "TEXT ·pid(SB), 4, $0\n\tRET\n",
	"transport/long_test.go":        near("transport_test") + function(maxFunctionLines),
	"transport/transporttest/a.go":  near("transporttest", "transport", "wire"),
	"wire/url.go":                   near("wire") + "// https://" + strings.Repeat("x", 90),
	"wire/wide.go":                  near("wire") + "//" + strings.Repeat(" é", 49) + "\n",
	"wire/tall.go":                  near("wire") + strings.Repeat("\n", maxFileLines-2),
	"balancer/balancer.go":          near("balancer"),
	"hub/hub.go":                    near("hub", "transport", "hub/internal/json"),
	"hub/hub_test.go":               near("hub_test", "hub", "wire", "transport/transporttest"),
	"hub/internal/json/json.go":     near("json", "wire"),
	"hub/object/object.go":          near("object", "hub/internal/json"),
	"hub/package-lock.json":         "{\"integrity\": \"sha512\"}\n",
	"hub/testdata/util/long.txt":    strings.Repeat("long ", maxColumns) + "\n",
	"hub/testdata/fuzz/FuzzWire/1":  "string(\"" + unfinished + "\")\n",
	"registry/registry.go":          near("registry"),
	"registry/etcd/etcd.go":         near("etcd", "registry") + "import \"go.etcd.io/etcd/x\"\n",
	"service/service.go":            near("service", "hub/object", "registry"),
	"supervisor/run.go":             imports("run", "syscall") + "const s = syscall.SIGSTOP\n",
	"bench/bench.go":                near("bench", "hub", "transport/transporttest"),
	"bench/bench_test.go":           near("bench_test", "bench"),
	"bench/peers/go.mod":            "module peers\n",
	"bench/peers/util.go":           imports("util", "unsafe") + "func init() {}\n",
	"cmd/pithos/main.go":            near("main", "bench", "cmd/pithos/dump") + "func X() {}\n",
	"cmd/pithos/dump/dump.go":       near("dump", "wire"),
	"examples/a/main.go":            near("main", "hub"),
	"fuzz/README.md":                "`go test -fuzz ^FuzzWire$ ./wire`\nFuzzWire: of wire\n",
	"node_modules/log/index.js":     "// " + unfinished + "\n",
	".git/log":                      unfinished + "\n",
	"bench/.git":                    "gitdir: " + unfinished + "\n",
	"pithos.bin":                    "\x00 " + unfinished,
	"go.sum":                        unfinished + "\n",
	"README.md":                     "From https://example.com/home/work, mktemp XXXXXX\n",
}

// plants are violations: what is planted in the clean tree, and how the only report begins.
var plants = []struct {
	rule string
	path string
	text string
	want string
}{
	{"syntax", "wire/bad.go", "package", "wire/bad.go:1: syntax: "},

	{"arrows", "wire/bad.go", near("wire", "transport"),
		"wire/bad.go:4: arrows: wire imports transport, may import nothing of ours"},
	{"arrows", "transport/bad.go", near("transport", "hub"),
		"transport/bad.go:4: arrows: transport imports hub, may import wire of ours"},
	{"arrows", "supervisor/bad_test.go", near("supervisor", "hub"),
		"supervisor/bad_test.go:4: arrows: supervisor imports hub, "},
	{"arrows", "transport/bad.go", near("transport", "transport/transporttest"),
		"transport/bad.go:4: arrows: transport imports transport/transporttest, "},
	{"arrows", "hub/internal/json/bad.go", near("json", "hub/object"),
		"hub/internal/json/bad.go:4: arrows: hub/internal/json imports hub/object, "},
	{"arrows", "hub/bad.go", near("hub", "bench"),
		"hub/bad.go:4: arrows: hub imports bench, which nothing imports"},
	{"arrows", "hub/bad_test.go", near("hub", "fuzz"),
		"hub/bad_test.go:4: arrows: hub imports fuzz, which nothing imports"},
	{"arrows", "bench/bad.go", near("bench", "cmd/pithos/dump"),
		"bench/bad.go:4: arrows: bench imports cmd/pithos/dump, which nothing imports"},
	{"arrows", "cache/cache.go", near("cache"),
		"cache/cache.go:1: arrows: folder cache has no place in the table"},

	{"guests", "wire/bad.go", imports("wire", "github.com/google/uuid"),
		"wire/bad.go:4: guests: wire imports github.com/google/uuid, and takes no such guests"},
	{"guests", "balancer/bad_test.go", imports("balancer", "go.uber.org/goleak"),
		"balancer/bad_test.go:4: guests: balancer imports go.uber.org/goleak, "},
	{"guests", "transport/transporttest/bad.go",
		imports("transporttest", "github.com/stretchr/testify/require"),
		"transport/transporttest/bad.go:4: guests: transport/transporttest imports github.com/"},
	{"guests", "hub/bad.go", imports("hub", "gonum.org/v1/plot/plotter"),
		"hub/bad.go:4: guests: hub imports gonum.org/v1/plot/plotter, which belongs in bench, cmd"},
	{"guests", "service/bad.go", imports("service", "google.golang.org/grpc"),
		"service/bad.go:4: guests: service imports google.golang.org/grpc, "},

	{"fence", "wire/bad.go", imports("wire", "unsafe"),
		"wire/bad.go:4: fence: import of unsafe in bad.go, belongs in *_unsafe*.go"},
	{"fence", "wire/bad.go", near("wire") + "//go:linkname now runtime.nanotime\n",
		"wire/bad.go:3: fence: go:linkname in bad.go"},
	{"fence", "transport/bad.go", imports("transport", "golang.org/x/sys/unix"),
		"transport/bad.go:4: fence: import of golang.org/x/sys/unix in bad.go, belongs in"},
	{"fence", "hub/bad.go", imports("hub", "syscall") + "\nvar _ = syscall.SIGTERM\n",
		"hub/bad.go:4: fence: import of syscall in bad.go"},
	{"fence", "cmd/pithos/bad.go", imports("main", "syscall") + "\nvar _ = syscall.Getpid()\n",
		"cmd/pithos/bad.go:4: fence: import of syscall in bad.go"},
	{"fence", "hub/bad_test.go", imports("hub_test", "syscall") + "\nvar _ = syscall.Getpid()\n",
		"hub/bad_test.go:4: fence: import of syscall in bad_test.go"},
	{"fence", "wire/bad.go", imports("wire", "C"), "wire/bad.go:4: fence: import of C in bad.go"},
	{"fence", "wire/sum_amd64.s", "RET\n",
		"wire/sum_amd64.s:1: fence: assembly in sum_amd64.s, belongs in *_unsafe_*.s"},

	{"file size", "wire/bad.go", near("wire") + strings.Repeat("\n", maxFileLines-1),
		"wire/bad.go:601: file size: 601 lines, limit 600"},
	{"file size", ".ci/run", "#!/bin/sh\n" + strings.Repeat("\n", maxFileLines),
		".ci/run:601: file size: 601 lines, limit 600"},
	{"columns", "wire/bad_test.go", near("wire_test") + "//" + strings.Repeat(" é", 50) + "\n",
		"wire/bad_test.go:3: columns: 102 columns, limit 100"},
	{"columns", "wire/bad.go", near("wire") + "\t\t//" + strings.Repeat(" -", 46) + "\n",
		"wire/bad.go:3: columns: 102 columns, limit 100"},
	{"function size", "wire/bad.go", near("wire") + function(maxFunctionLines+1),
		"wire/bad.go:3: function size: func long has 71 lines, limit 70"},
	{"function size", "wire/bad_test.go", near("wire_test") + function(maxFunctionLines+1),
		"wire/bad_test.go:3: function size: func long has 71 lines, limit 70"},
	{"struct size", "wire/bad.go",
		near("wire") + "type wide struct {\n" + fields(maxFields+1) + "}\n",
		"wire/bad.go:3: struct size: struct wide has 21 fields, limit 20"},
	{"struct size", "balancer/bad.go",
		near("balancer") + "// Options.\ntype Options struct {\n" + fields(maxOptions+1) + "}\n",
		"balancer/bad.go:4: struct size: struct Options has 9 exported fields, limit 8"},

	{"folder and package names", "cmd/pithos/util/a.go", near("names"),
		"cmd/pithos/util/a.go:1: folder and package names: folder cmd/pithos/util"},
	{"folder and package names", "bench/bad_test.go", near("metrics_test"),
		"bench/bad_test.go:2: folder and package names: package metrics"},
	{"words", "wire/bad.go", near("wire") + "// " + unfinished + ": all.\n",
		"wire/bad.go:3: words: unfinished mark \"" + unfinished + "\", banned"},
	{"words", "README.md", "Pithos\n\nSee " + somewhere + ".\n",
		"README.md:3: words: path of one machine \"" + somewhere[:5] + "\", banned"},
	{"words", "bench/peers/run.sh", "cd " + somewhere + "\n", "bench/peers/run.sh:1: words: path"},
	{"words", "hub/testdata/a.json", "[\"" + somewhere + "\"]\n", "hub/testdata/a.json:1: words: "},
	{"words", "hub/testdata/js/package-lock.json", "{\n\"resolved\": \"https://example.com\"}\n",
		"hub/testdata/js/package-lock.json:2: words: download address"},

	{"get", "wire/bad.go", near("wire") + "// GetName.\nfunc (c Code) GetName() {}\n",
		"wire/bad.go:4: get: func GetName, no name begins with Get"},
	{"init", "wire/bad.go", near("wire") + "func init() {}\n",
		"wire/bad.go:3: init: func init, limit 0"},
	{"globals", "wire/bad.go", near("wire") + "var count int\n",
		"wire/bad.go:3: globals: var count is mutable: not a sentinel"},
	{"globals", "wire/bad.go", near("wire") + "var notAnError = errors.New(\"\")\n",
		"wire/bad.go:3: globals: var notAnError is mutable: not a sentinel"},
	{"globals", "wire/bad.go", near("wire") + "// Table is open.\nvar Table = []int{1}\n",
		"wire/bad.go:4: globals: var Table is mutable: not a sentinel, a pattern or"},
	{"globals", "wire/bad.go", near("wire") + "func f() { names[1] = \"c\" }\n",
		"wire/wire.go:20: globals: var names is mutable: written to in its package"},
	{"globals", "wire/bad_test.go", near("wire") + "func f() *string { return &names[1] }\n",
		"wire/wire.go:20: globals: var names is mutable: written to in its package"},
	{"globals", "wire/bad.go", near("wire") + "func f() { for ErrA = range all {} }\n",
		"wire/wire.go:14: globals: var ErrA is mutable: written to in its package"},
	{"globals", "wire/bad.go", near("wire") + "func f() { delete(byKey, \"a\") }\n",
		"wire/wire.go:21: globals: var byKey is mutable: written to in its package"},
	{"comments", "fuzz/bad.go", "package fuzz\n",
		"fuzz/bad.go:1: comments: package fuzz has no comment"},
	{"comments", "wire/bad.go", near("wire") + "func Open() {}\n",
		"wire/bad.go:3: comments: Open is exported and has no comment"},
	{"comments", "wire/bad.go", near("wire") + "func (c *Code[K, V]) Error(int) {}\n",
		"wire/bad.go:3: comments: Error is exported and has no comment"},
	{"comments", "wire/bad.go", near("wire") + "const (\n\tA = 1\n\t// B is next.\n\tB = 2\n)\n",
		"wire/bad.go:4: comments: A is exported and has no comment"},
	{"comments", "wire/bad.go", near("wire") + "type Frame struct{}\n",
		"wire/bad.go:3: comments: Frame is exported and has no comment"},
	{"fuzz targets", "wire/bad_test.go", near("wire_test") + "func FuzzOther(f *testing.F) {}\n",
		"wire/bad_test.go:3: fuzz targets: FuzzOther is in no line of fuzz/README.md with -fuzz"},
	{"fuzz targets", "fuzz/README.md", "-fuzz FuzzWire ./wire\n-fuzz FuzzGone ./wire\n",
		"fuzz/README.md:2: fuzz targets: FuzzGone is no fuzz target in the tree"},
	{"fuzz targets", "fuzz/README.md", "-fuzz FuzzWire ./hub\n",
		"wire/wire_test.go:15: fuzz targets: "},
}

// What the words rule must find, put together here so that it does not find it in this file.
const (
	unfinished = "TO" + "DO"
	somewhere  = "/" + "home/me/pithos"
)

func TestTidyPassesClean(t *testing.T) {
	root := t.TempDir()
	if err := os.CopyFS(root, mapFS(clean)); err != nil {
		t.Fatal(err)
	}
	found, err := inspect(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

func TestTidyCatches(t *testing.T) {
	planted := make(map[string]bool)
	for i, p := range plants {
		planted[p.rule] = true
		t.Run(fmt.Sprintf("%s %d", p.rule, i), func(t *testing.T) {
			files := maps.Clone(clean)
			files[p.path] = p.text
			found, err := inspect(mapFS(files))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || found[0].rule != p.rule ||
				!strings.HasPrefix(found[0].String(), p.want) {
				t.Errorf("found %q, want one %q", found, p.want)
			}
		})
	}
	for _, r := range rules {
		if !planted[r.name] {
			t.Errorf("rule %s has no plant", r.name)
		}
	}
}

// TestTidyTables holds the tables against each other.
func TestTidyTables(t *testing.T) {
	for from, tos := range arrows {
		for _, to := range tos {
			if _, ok := arrows[to]; !ok || isEdge(to) {
				t.Errorf("arrow from %s to %s, which has no place", from, to)
			}
		}
	}
	for name, reason := range globals {
		if !strings.Contains(name, ".") || reason == "" {
			t.Errorf("global %q allowed for %q, want folder.name and a reason", name, reason)
		}
	}
	if names := ruleNames(); len(slices.Compact(names)) != len(rules) {
		t.Errorf("rules with one name: %q", names)
	}
}

func ruleNames() []string {
	var names []string
	for _, r := range rules {
		names = append(names, r.name)
	}
	slices.Sort(names)
	return names
}

func mapFS(files map[string]string) fstest.MapFS {
	root := make(fstest.MapFS)
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return root
}

// near returns the beginning of a package that imports these of ours.
func near(name string, ours ...string) string {
	for i, folder := range ours {
		ours[i] = module + "/" + folder
	}
	return imports(name, ours...)
}

// imports returns the beginning of a package, two lines, and its imports from line 4 on.
func imports(name string, paths ...string) string {
	text := "// Package " + name + " is one of the planted.\npackage " + name + "\n"
	for _, p := range paths {
		text += "\nimport \"" + p + "\"\n"
	}
	return text
}

// fields returns n fields, one a line.
func fields(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "\tF%d int\n", i)
	}
	return text.String()
}

// function returns a function of n lines.
func function(n int) string { return "func long() {\n" + strings.Repeat("\n", n-2) + "}\n" }
