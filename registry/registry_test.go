package registry_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/registry"
)

func TestCheck(t *testing.T) {
	long := strings.Repeat("ü", registry.MaxName/2) // two bytes each
	for _, c := range []struct {
		name  string
		entry registry.Entry
		err   string // "": none
	}{
		{"instance to be chosen", registry.Entry{Service: "cart", Address: "x"}, ""},
		{"longest names", registry.Entry{Service: long, Instance: long, Address: "x"}, ""},
		{"no service", registry.Entry{Address: "x"}, "service is empty"},
		{"long service", registry.Entry{Service: long + "x", Address: "x"},
			"service of 201 bytes, limit 200"},
		{"slash", registry.Entry{Service: "a/b", Address: "x"},
			`service "a/b" has a slash, a space or a control character at byte 1`},
		{"newline", registry.Entry{Service: "a", Instance: "b\n", Address: "x"}, "at byte 1"},
		{"no-break space", registry.Entry{Service: "a\u00a0b", Address: "x"}, "at byte 1"},
		{"bytes", registry.Entry{Service: "a\xff", Address: "x"}, `service "a\xff" is not UTF-8`},
		{"no address", registry.Entry{Service: "a"}, "address is empty"},
		{"long address", registry.Entry{Service: "a",
			Address: strings.Repeat("x", registry.MaxAddress+1)},
			"address of 513 bytes, limit 512"},
		{"bytes for an address", registry.Entry{Service: "a", Address: "\xff"}, "not UTF-8"},
		{"bytes in metadata", registry.Entry{Service: "a", Address: "x",
			Metadata: map[string]string{"k": "\xff"}}, `metadata "k": "\xff" is not UTF-8`},
		{"much metadata", registry.Entry{Service: "a", Address: "x",
			Metadata: map[string]string{"k": strings.Repeat("x", registry.MaxMetadata)}},
			"metadata of 2049 bytes, limit 2048"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.entry.Check()
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.err)
		})
	}
}

func TestClone(t *testing.T) {
	a := registry.Entry{Service: "a", Instance: "i", Address: "x",
		Metadata: map[string]string{"k": "v"}}
	b := a.Clone()
	require.True(t, a.Equal(b))
	b.Metadata["k"] = "w"
	require.Equal(t, "v", a.Metadata["k"])
	require.False(t, a.Equal(b))
}
