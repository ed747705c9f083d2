package supervisor_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/supervisor"
)

func TestLimitOfOpenFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limit")
	s := once("limited", "ulimit -n >"+file)
	s.Limits.OpenFiles = 77
	r := start(t, supervisor.Options{}, s)
	require.NoError(t, r.Wait(r.ctx()))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "77\n", string(text))
}
