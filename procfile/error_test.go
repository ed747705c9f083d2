package procfile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/procfile"
)

// TestErrors wants place, field, what was found and what was expected.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		text string
		want []string // after the path
	}{
		{"empty", "",
			[]string{`: empty; want at least a name and processes, "pithos init" writes ` +
				`an example`}},
		{"only a comment", "# nothing\n", []string{`: empty; want at least a name and processes, ` +
			`"pithos init" writes an example`}},
		{"no map", "- a", []string{`:1:1: want a map, not a list`}},
		{"not YAML", "name: [a\nprocesses: }", []string{`not YAML: `}},
		{"missing", "env: {}", []string{`:1:1: name is missing`, `:1:1: processes is missing`}},
		{"two documents", "name: a\n---\nname: b", []string{`a second document; want one`}},
		{"unknown", "name: a\nproceses: {}\nprocesses: {x: {command: y}}",
			[]string{`:2:1: proceses: unknown field; did you mean "processes"?`}},
		{"unknown, unlike any", "name: a\nfoo: 1\nprocesses: {x: {command: y}}",
			[]string{`:2:1: foo: unknown field; known are name, env, hub, registry, processes, ` +
				`services`}},
		{"unknown within", "name: a\nprocesses:\n  x:\n    command: y\n    scael: 2",
			[]string{`:5:5: processes.x.scael: unknown field; did you mean "scale"?`}},
		{"no command", "name: a\nprocesses:\n  x:\n    scale: 2",
			[]string{`:4:5: processes.x: command is missing`}},
		{"nothing", "name: a\nprocesses:\n  x:",
			[]string{`processes.x: want a map, not nothing`}},
		{"twice", "name: a\nprocesses:\n  x: {command: y}\n  x: {command: z}",
			[]string{`:4:3: processes.x: is there twice, first in line 3`}},
		{"none", "name: a\nprocesses: {}", []string{`:2:1: processes: want at least one`}},
		{"a name", "name: a b\nprocesses: {x: {command: y}}",
			[]string{`:1:7: name: want a name of letters, digits, '.', '_' and '-' that begins ` +
				`with a letter or digit, at most 63, not "a b"`}},
		{"a number", process("scale: many"), []string{`:5:12: processes.x.scale: want a number ` +
			`from 1 to 1000, or auto, not "many"`}},
		{"a large number", process("scale: 1001"),
			[]string{`want a number from 1 to 1000, or auto`}},
		{"a time", process("stop: {window: 5}"),
			[]string{`:5:20: processes.x.stop.window: want a ` +
				`time such as 500ms, 5s or 1m30s, not 5`}},
		{"a size", process("limits: {memory: much}"),
			[]string{`processes.x.limits.memory: want a ` +
				`size such as 512KiB, 16MiB or 1GiB, not "much"`}},
		{"a small size", process("log: {max_size: 5}"), []string{`at least 1048576 bytes, not 5`}},
		{"a flag", process("on_demand: yes"), []string{`want true or false, not "yes"`}},
		{"a word", process("restart: sometimes"), []string{`:5:14: processes.x.restart: want one ` +
			`of always, on-failure, never, not "sometimes"`}},
		{"a signal", process("stop: {signal: SIGFOO}"), []string{`want one of SIGTERM, SIGINT`}},
		{"an address", process("ready: {tcp: here}"), []string{`want host:port, not "here"`}},
		{"a URL", process("ready: {http: 'ftp://x'}"),
			[]string{`want a URL that begins with http:// or https://, not "ftp://x"`}},
		{"a variable", process("env: {a-b: c}"),
			[]string{`processes.x.env.a-b: want a name of letters, digits and _`}},
		{"a shell", "name: a\nprocesses: {x: {command: 'a | b'}}",
			[]string{`want a command, not "a | b": "|" is a shell's; for a shell write [sh, -c, ` +
				`"a | b"]`}},
		{"a quote", "name: a\nprocesses: {x: {command: 'a \"b'}}",
			[]string{`a quote or bracket is not closed`}},
		{"a blank command", "name: a\nprocesses: {x: {command: ''}}",
			[]string{`processes.x.command: want a program`}},
		{"a list", process("args: {a: b}"), []string{`processes.x.args: want a list, not a map`}},
		{"unset", process("dir: ${NOSUCH}"),
			[]string{`:5:10: processes.x.dir: variable NOSUCH is ` +
				`not set; ${NOSUCH:-} is empty then, $${NOSUCH} is left for a shell`}},
		{"unset, with a message", process("dir: ${EMPTY:?where?}"),
			[]string{`variable EMPTY is not set: where?`}},
		{"open", process("dir: ${HERE"), []string{`${HERE has no closing brace`}},
		{"a bad variable", process("dir: ${a-b}"),
			[]string{`want a name of letters, digits and _`}},
		{"no operator", process("dir: ${HERE:b}"), []string{`want ${HERE}, ${HERE:-default} or`}},
		{"an anchor", process("env: *nosuch"), []string{`nosuch`}},
		{"a tag", process("dir: !!binary aGk="),
			[]string{`has the tag !!binary; want a plain value`}},
		{"a loop", "name: a\nx-a: &a [*a]\nprocesses: {x: {command: y}}", []string{`a`}},
		{"a dependency", process("depends_on: [xx]"),
			[]string{`:5:5: processes.x.depends_on: unknown process "xx"; did you mean "x"?`}},
		{"itself", process("depends_on: x"), []string{`depends on itself: x -> x`}},
		{"a cycle", "name: a\nprocesses:\n  a: {command: x, depends_on: b}\n" +
			"  b: {command: x, depends_on: c}\n  c: {command: x, depends_on: b}",
			[]string{`:4:19: processes.b.depends_on: depends on itself: b -> c -> b`}},
		{"on demand", "name: a\nprocesses:\n  a: {command: x, depends_on: b}\n" +
			"  b: {command: x, on_demand: true}",
			[]string{`process "b" is on demand, and no service is assigned to it`}},
		{"the hub's name", "name: a\nprocesses: {hub: {command: y}}",
			[]string{`processes.hub: is the name of the hub's process; choose another`}},
		{"all's name", "name: a\nprocesses: {all: {command: y}}", []string{`choose another`}},
		{"a service's process", process("") + "\nservices: {s: {process: y}}",
			[]string{`services.s.process: unknown process "y"; did you mean "x"?`}},
		{"a service everywhere and there", process("") + "\nservices: {s: {process: [all, x]}}",
			[]string{`want all alone, or names of processes`}},
		{"a service without a process", process("") + "\nservices: {s: {}}",
			[]string{`services.s: process is missing`}},
		{"a value that JSON has not", process("") + "\nservices: {s: {process: x, config: .inf}}",
			[]string{`want a value that JSON has, not .inf`}},
		{"delays", process("restart: {delay: 5m}"),
			[]string{`want at most max_delay, 30s, not 5m0s`}},
		{"half of TLS", process("") + "\nregistry: {endpoints: x, tls: {cert: c}}",
			[]string{`:6:11: registry: want tls.cert and tls.key together`}},
		{"a prefix", process("") + "\nregistry: {endpoints: x, prefix: 'a?ttl=1s'}",
			[]string{`registry.prefix: want a path without a question mark, not "a?ttl=1s"`}},
		{"a password", process("") + "\nregistry: {endpoints: x, password: c}",
			[]string{`registry: want user and password together`}},
		{"no hub", process("ready: {object: o}") + "\nhub: false",
			[]string{`:5:13: processes.x.ready.object: wants a hub, and there is none`}},
		{"no registry", process("") + "\nregistry: consul://x",
			[]string{`:6:11: registry: want embedded, or a URL that begins with etcd:// or ` +
				`etcds://`}},
		{"several", "name: 'a b'\nfoo: 1\nprocesses: {}",
			[]string{":1:7: name:", ":2:1: foo:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(c.text)
			var errs procfile.Errors
			require.ErrorAs(t, err, &errs)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			for line := range strings.Lines(err.Error()) {
				require.Regexp(t, `^/app/pithos.yaml(:\d+:\d+)?: `, line)
			}
			var one *procfile.Error
			require.True(t, errors.As(err, &one))
		})
	}
}

// process is a file whose one process has this line, as its fifth.
func process(line string) string {
	return "name: a\nprocesses:\n  x:\n    command: y\n    " + line
}

func TestManyErrors(t *testing.T) {
	_, err := parse("name: a\nprocesses: {}\n" + strings.Repeat("x: 1\n", 50))
	require.ErrorContains(t, err, "\nand 30 more")
}
