package wire_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

// protocolPage is the page that describes what this package does.
func protocolPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "PROTOCOL.md"))
	require.NoError(t, err)
	return string(page)
}

// TestProtocolExamples holds every block of bytes on the page to the golden file that it names.
func TestProtocolExamples(t *testing.T) {
	blocks := regexp.MustCompile("(?ms)^```hex (\\S+)\n(.*?)^```$")
	found := blocks.FindAllStringSubmatch(protocolPage(t), -1)
	require.NotEmpty(t, found)
	for _, b := range found {
		t.Run(b[1], func(t *testing.T) {
			require.Equal(t, hex.Dump(goldenBytes(t, b[1])), hex.Dump(hexBytes(t, b[2])))
		})
	}
}

// TestProtocolLimits holds the table of limits on the page to the constants.
func TestProtocolLimits(t *testing.T) {
	want := map[string]uint64{
		"HeaderSize": wire.HeaderSize, "PartSize": wire.PartSize, "MaxMeta": wire.MaxMeta,
		"MaxMethod": wire.MaxMethod, "MaxTrace": wire.MaxTrace,
		"MaxFieldNumber": wire.MaxFieldNumber, "MaxControl": wire.MaxControl,
		"MaxCredit": wire.MaxCredit, "MaxRing": wire.MaxRing, "MaxFiles": wire.MaxFiles,
		"MaxAction": wire.MaxAction, "MaxSelector": wire.MaxSelector,
	}
	rows := regexp.MustCompile(`(?m)^\| [^|]+ \| ([0-9,]+)[^|]* \| .wire\.(\w+). \|$`)
	for _, row := range rows.FindAllStringSubmatch(protocolPage(t), -1) {
		v, err := strconv.ParseUint(strings.ReplaceAll(row[1], ",", ""), 10, 64)
		require.NoError(t, err)
		require.Equal(t, want[row[2]], v, row[2])
		delete(want, row[2])
	}
	require.Empty(t, want, "constants that the page does not have")
}

// TestProtocolCodes holds the table of codes on the page to the names.
func TestProtocolCodes(t *testing.T) {
	page := protocolPage(t)
	for c := wire.CodeOK; c <= wire.CodeStale; c++ {
		require.Contains(t, page, fmt.Sprintf("\n| %d | %s |", c, c))
	}
}
