package supervisor

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type piece struct {
	text string
	part bool
}

// pieces splits a stream that comes in chunks of n bytes, as a reader does.
func pieces(stream []byte, limit, n int) []piece {
	var all []piece
	emit := func(line []byte, part bool) { all = append(all, piece{string(line), part}) }
	var held []byte
	for len(stream) > 0 {
		n := min(n, len(stream))
		held = bytes.Clone(split(append(held, stream[:n]...), limit, emit))
		stream = stream[n:]
	}
	if len(held) > 0 {
		emit(held, false)
	}
	return all
}

// model splits as one would who has all of the stream at once.
func model(stream []byte, limit int) []piece {
	var all []piece
	lines := strings.SplitAfter(string(stream), "\n")
	for _, l := range lines {
		text, ended := strings.CutSuffix(l, "\n")
		for len(text) > limit {
			all = append(all, piece{text[:limit], true})
			text = text[limit:]
		}
		if ended {
			text = strings.TrimSuffix(text, "\r")
		}
		if ended || text != "" {
			all = append(all, piece{text, false})
		}
	}
	return all
}

// Any chunking of a stream gives the lines of the whole, and joined they are the stream.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\nthree"), 4, 1)
	f.Add([]byte("aaaaabbbbb\n"), 5, 3)
	f.Add([]byte("aaaaa\r\n"), 5, 2)
	f.Add([]byte("\n\n\r\r\n"), 1, 5)
	f.Fuzz(func(t *testing.T, stream []byte, limit, chunk int) {
		limit, chunk = 1+(limit&0x3ff), 1+(chunk&0xfff)
		require.Equal(t, model(stream, limit), pieces(stream, limit, chunk))
		for _, p := range pieces(stream, limit, chunk) {
			require.LessOrEqual(t, len(p.text), limit)
			require.NotContains(t, p.text, "\n")
		}
	})
}

// What is appended to a batch is cut from it.
func FuzzRecords(f *testing.F) {
	f.Add(int64(1), 2, uint8(1), true, []byte("text"))
	f.Fuzz(func(t *testing.T, time int64, index int, stream uint8, part bool, text []byte) {
		r := record{time, index & 0xffff, Stream(stream), part, text}
		batch := appendRecord(appendRecord(nil, r), r)
		for range 2 {
			var got record
			got, batch = cutRecord(batch)
			require.Equal(t, string(r.text), string(got.text))
			got.text = r.text
			require.Equal(t, r, got)
		}
		require.Empty(t, batch)
	})
}

// A message of sd_notify never does more than it says.
func TestParseNotice(t *testing.T) {
	status := "a=b"
	for text, want := range map[string]notice{
		"":                                   {},
		"READY=1":                            {ready: true},
		"READY=0":                            {},
		"STOPPING=1\nSTATUS=a=b":             {stopping: true, status: &status},
		"WATCHDOG=1\n":                       {watchdog: true},
		"WATCHDOG=trigger":                   {trigger: true},
		"MAINPID=4711":                       {mainPID: 4711},
		"MAINPID=1":                          {},
		"MAINPID=-5":                         {},
		"MAINPID=99999999999999999999":       {},
		"EXTEND_TIMEOUT_USEC=5000000":        {extend: 5e9},
		"EXTEND_TIMEOUT_USEC=-1":             {},
		"EXTEND_TIMEOUT_USEC=99999999999999": {},
		"FDSTORE=1\nready=1\n=\n\x00":        {},
	} {
		require.Equal(t, want, parseNotice(text), "%q", text)
	}
}
