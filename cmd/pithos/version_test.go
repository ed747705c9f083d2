package main

import (
	"bytes"
	"encoding/json"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersion(t *testing.T) {
	r := pithos("", "version")
	require.Zero(t, r.code)
	require.Regexp(t, `^pithos    \S+\nrevision  .+\ngo        go\S+ \w+/\w+\nprotocol  1\n$`,
		r.stdout)
}

func TestPrintVersion(t *testing.T) {
	goLine := "go        " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	setting := func(kv ...string) (s []debug.BuildSetting) {
		for i := 0; i < len(kv); i += 2 {
			s = append(s, debug.BuildSetting{Key: kv[i], Value: kv[i+1]})
		}
		return s
	}
	for _, c := range []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"nothing is known", nil, "pithos    unknown\nrevision  unknown\n"},
		{"a release", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}},
			"pithos    v1.2.3\nrevision  unknown\n"},
		{"a checkout", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"},
			Settings: setting("vcs.revision", "18bfcfb", "vcs.time", "2026-01-02T03:04:05Z",
				"vcs.modified", "false")},
			"pithos    (devel)\nrevision  18bfcfb of 2026-01-02T03:04:05Z\n"},
		{"a checkout with changes", &debug.BuildInfo{Settings: setting("vcs.revision", "18bfcfb",
			"vcs.modified", "true")}, "pithos    unknown\nrevision  18bfcfb, with changes\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, buildOf(c.info).print(&out))
			require.Equal(t, c.want+goLine+"protocol  1\n", out.String())
		})
	}
}

func TestVersionJSON(t *testing.T) {
	r := pithos("", "version", "--json")
	require.Zero(t, r.code, r.stderr)
	var b build
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &b))
	require.NotEmpty(t, b.Version)
	require.Contains(t, b.Go, runtime.Version())
	require.EqualValues(t, 1, b.Protocol.Newest)
}

func TestRangeOf(t *testing.T) {
	require.Equal(t, "1", rangeOf(1, 1))
	require.Equal(t, "1 to 3", rangeOf(1, 3))
}
