package procfile

import (
	"bytes"
	"encoding/json"

	"github.com/goccy/go-yaml"
)

// Marshal writes f in its resolved form: with all defaults, nothing relative, and no variables.
// It reads as f again.
func (f *File) Marshal() ([]byte, error) {
	k := fileKind()
	return yaml.MarshalWithOptions(k.write(*f), yaml.Indent(2), yaml.IndentSequence(true))
}

// Schema returns the JSON schema of the file, for editors. Those that know YAML take it by a first
// line "# yaml-language-server: $schema=<path or URL>".
func Schema() ([]byte, error) {
	k := fileKind()
	s := k.schema
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "pithos.yaml"
	s["$defs"] = schema{variableSchema: schema{"type": "string", "pattern": `\$\{`}}
	s["patternProperties"] = schema{"^x-": schema{"description": "For anchors."}}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(s)
	return b.Bytes(), err
}
