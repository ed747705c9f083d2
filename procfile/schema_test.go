package procfile_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/procfile"
)

// schemaFile is the schema as it is in the tree, for editors. PITHOS_UPDATE=1 writes it anew.
const schemaFile = "pithos.schema.json"

func TestSchemaIsCurrent(t *testing.T) {
	want, err := procfile.Schema()
	require.NoError(t, err)
	if os.Getenv("PITHOS_UPDATE") != "" {
		require.NoError(t, os.WriteFile(schemaFile, want, 0o644))
	}
	have, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	require.Equal(t, string(want), string(have), "PITHOS_UPDATE=1 go test ./procfile")
}

// TestSchemaAgrees wants the schema to accept and refuse what the parser does, but for what no
// schema can say.
func TestSchemaAgrees(t *testing.T) {
	s := compile(t)
	for _, c := range []struct {
		name string
		text string
		ok   bool
	}{
		{"every field", full, true},
		{"short forms", "name: a\nhub: false\nregistry: embedded\n" +
			"processes: {x: {command: [a, 1], scale: auto, depends_on: y}, y: {command: b}}", true},
		{"no name", "processes: {x: {command: y}}", false},
		{"no command", "name: a\nprocesses: {x: {}}", false},
		{"unknown", "name: a\nfoo: 1\nprocesses: {x: {command: y}}", false},
		{"unknown within", process("scael: 1"), false},
		{"a number", process("scale: many"), false},
		{"a large number", process("scale: 1001"), false},
		{"a variable", process("scale: ${N}"), true},
		{"a time", process("stop: {window: soon}"), false},
		{"a time without unit", process("stop: {window: 5}"), false},
		{"a size", process("limits: {memory: much}"), false},
		{"a size as number", process("limits: {memory: 1000}"), true},
		{"a word", process("restart: sometimes"), false},
		{"a condition", process("depends_on: {x: soon}"), false},
		{"a name", "name: a b\nprocesses: {x: {command: y}}", false},
		{"a process's name", "name: a\nprocesses: {x y: {command: y}}", false},
		{"a registry", process("") + "\nregistry: {user: a}", false},
		{"a list", process("args: {a: b}"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(c.text)
			require.Equal(t, c.ok, err == nil, "parser: %v", err)
			var v any
			require.NoError(t, yaml.Unmarshal([]byte(c.text), &v))
			err = s.Validate(plain(v))
			require.Equal(t, c.ok, err == nil, "schema: %v", err)
		})
	}
}

func compile(t testing.TB) *jsonschema.Schema {
	text, err := procfile.Schema()
	require.NoError(t, err)
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource(schemaFile, v))
	s, err := c.Compile(schemaFile)
	require.NoError(t, err)
	return s
}

// plain makes of what package yaml reads what a validator of JSON knows.
func plain(v any) any {
	switch v := v.(type) {
	case uint64:
		return float64(v)
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	}
	return v
}
