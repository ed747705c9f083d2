package daemon_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/daemon"
	"github.com/pithos-ipc/pithos/supervisor"
)

// entry is a line as package supervisor writes it.
func entry(i int) string {
	l := supervisor.Line{Time: time.Date(2026, 1, 2, 3, 4, 5, i*1e6, time.UTC), Process: "api",
		Index: 1, Stream: supervisor.Stderr, Text: fmt.Sprintf("line %d", i)}
	return string(l.AppendTo(nil))
}

func TestParseLine(t *testing.T) {
	for _, l := range []supervisor.Line{
		{Process: "a", Text: "x  y "},
		{Process: "a-b.c", Index: 12, Stream: supervisor.Stderr, Part: true, Text: ""},
		{Process: "a", Stream: supervisor.Own, Text: "# 1"},
	} {
		l.Time = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
		require.Equal(t, l, daemon.ParseLine(strings.TrimSuffix(string(l.AppendTo(nil)), "\n")))
	}
	for _, s := range []string{"", "x", "a b c d", "2026-01-02T03:04:05.678Z a out x",
		"2026-01-02T03:04:05.678Z a#b out x", "2026-01-02T03:04:05.678Z a#1 in x"} {
		require.Equal(t, supervisor.Line{Text: s}, daemon.ParseLine(s))
	}
}

func texts(lines []supervisor.Line) (out []string) {
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func TestLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	var b strings.Builder
	for i := range 9000 { // several times what is read at once
		b.WriteString(entry(i))
	}
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	for _, n := range []int{0, 1, 2, 5000, 8999, 9000, 10_000} {
		l, lines, err := daemon.OpenLog(path, n)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.Len(t, lines, min(n, 9000))
		if n > 0 {
			require.Equal(t, "line 8999", lines[len(lines)-1].Text)
			require.Equal(t, fmt.Sprintf("line %d", max(0, 9000-n)), lines[0].Text)
		}
	}
}

// TestFollowRotation writes a line right before each rotation, while somebody follows the file.
func TestFollowRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	l, _, err := daemon.OpenLog(path, 0)
	require.NoError(t, err)
	defer l.Close()
	for i := range 3000 {
		written := make(chan error, 1)
		go func() {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
			if err == nil {
				_, err = f.WriteString(entry(i))
				err = errors.Join(err, os.Rename(path, path+".old"),
					os.WriteFile(path, nil, 0o600), f.Close())
			}
			written <- err
		}()
		var all []string
		for quiet := 0; quiet < 4; { // one begun before, the line, the old file's end, the new one
			lines, err := l.Next()
			require.NoError(t, err)
			if all = append(all, texts(lines)...); len(written) == 1 {
				quiet++
			}
		}
		require.NoError(t, <-written)
		require.Equal(t, []string{fmt.Sprintf("line %d", i)}, all)
	}
}

// TestRotatedLines wants the last lines also right after a rotation, of old files in their order.
func TestRotatedLines(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(entry(1) + entry(2)))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	write("x-2026-01-02T03-04-05.001-size.log.gz", packed.String())
	write("x-2026-01-02T03-04-05.002-size.log", entry(3)+entry(4))
	write("x-y-2026-01-02T03-04-05.003-size.log", entry(9))
	write("x-y.log", entry(9))
	write("x-2026-01-02T03-04-05.002-size.log.gz", "half a file, which is just being written")
	write("x-2026-01-02T03-04-05.002-size.log.gz.tmp", "")
	write("x.log", entry(5))
	for n, want := range [][]string{nil, {"line 5"}, {"line 4", "line 5"},
		{"line 3", "line 4", "line 5"}, {"line 2", "line 3", "line 4", "line 5"},
		{"line 1", "line 2", "line 3", "line 4", "line 5"},
		{"line 1", "line 2", "line 3", "line 4", "line 5"}} {
		l, lines, err := daemon.OpenLog(filepath.Join(dir, "x.log"), n)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.Equal(t, want, texts(lines), n)
	}
}

func TestRotated(t *testing.T) {
	require.True(t, daemon.Rotated("/x/api-2026-01-02T03-04-05.678.log"))
	require.True(t, daemon.Rotated("/x/api-2026-01-02T03-04-05.678-size.log"))
	require.True(t, daemon.Rotated("/x/api-2026-01-02T03-04-05.678-size.log.gz"))
	require.False(t, daemon.Rotated("/x/api.log"))
	require.False(t, daemon.Rotated("/x/api-2026.log"))
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l, lines, err := daemon.OpenLog(path, 10)
	require.NoError(t, err, "it may come later")
	require.Empty(t, lines)
	defer func() { require.NoError(t, l.Close()) }()
	next := func() (all []string) {
		for range 3 { // of an old file, of nothing, of a new one
			lines, err := l.Next()
			require.NoError(t, err)
			all = append(all, texts(lines)...)
		}
		return all
	}
	require.Empty(t, next())

	add := func(text string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	add(entry(1) + entry(2)[:10])
	require.Equal(t, []string{"line 1"}, next())
	add(entry(2)[10:])
	require.Equal(t, []string{"line 2"}, next())

	add(entry(3))
	require.NoError(t, os.Rename(path, path+".old"))
	add(entry(4))
	require.Equal(t, []string{"line 3", "line 4"}, next())
	require.NoError(t, os.Truncate(path, 0))
	require.Empty(t, next())
	add(entry(5))
	require.Equal(t, []string{"line 5"}, next())
}
