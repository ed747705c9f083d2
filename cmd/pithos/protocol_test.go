package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// TestProtocolDefaults holds the table of defaults in PROTOCOL.md to the constants.
func TestProtocolDefaults(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "PROTOCOL.md"))
	require.NoError(t, err)
	want := map[string]int64{
		"DefaultMaxBody": transport.DefaultMaxBody, "DefaultMaxCalls": transport.DefaultMaxCalls,
		"DefaultMaxCallBytes": transport.DefaultMaxCallBytes,
		"DefaultMaxPending":   transport.DefaultMaxPending,
		"DefaultOutbox":       transport.DefaultOutbox,
		"DefaultConnMemory":   transport.DefaultConnMemory,
		"DefaultMaxConns":     transport.DefaultMaxConns,
	}
	rows := regexp.MustCompile(`(?m)^\| [^|]+ \| ([0-9,]+)( bytes)? \| .transport\.(\w+). \|$`)
	for _, row := range rows.FindAllStringSubmatch(string(page), -1) {
		v, err := strconv.ParseInt(strings.ReplaceAll(row[1], ",", ""), 10, 64)
		require.NoError(t, err)
		require.Equal(t, want[row[3]], v, row[3])
		delete(want, row[3])
	}
	require.Empty(t, want, "constants that the page does not have")
	require.Equal(t, 5*time.Second, transport.DefaultHelloTimeout)
	require.Contains(t, string(page), "| time for the hello | 5s | "+
		"`transport.DefaultHelloTimeout` |")
}
