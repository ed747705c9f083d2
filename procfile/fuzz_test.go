package procfile_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/procfile"
)

// FuzzParse: whatever the text is, the result is a file or Errors, each with a path and a place
// within the text; a file that is written in its resolved form and read again is the same.
func FuzzParse(f *testing.F) {
	f.Add(full)
	f.Add(process("scale: auto"))
	f.Add(process("depends_on: x"))
	f.Add(process("dir: $${A}${N:-b}${N:?c}"))
	f.Add("name: a\nx-a: &a {command: y}\nprocesses: {x: {<<: [*a, {args: [1]}]}}")
	f.Add("name: a\nprocesses: {x: {command: y}}\nservices: {s: {process: x, config: !!str 1}}")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := parse(text)
		if err != nil {
			var errs procfile.Errors
			require.True(t, errors.As(err, &errs) && len(errs) > 0, "%T", err)
			for _, e := range errs {
				require.Equal(t, "/app/pithos.yaml", e.Path)
				require.NotEmpty(t, e.What)
				require.GreaterOrEqual(t, e.Line, 0)
			}
			return
		}
		out, err := file.Marshal()
		require.NoError(t, err)
		again, err := parse(string(out))
		require.NoError(t, err, "%s", out)
		require.Equal(t, file, again, "%s", out)
	})
}
