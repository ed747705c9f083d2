package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

// tapFile is what a tap has written of a call and what came of it.
func tapFile() []byte {
	at := uint64(time.Date(2026, 11, 27, 1, 0, 0, 0, time.UTC).UnixNano())
	b := []byte(wire.TapMagic)
	for _, r := range []wire.TapRecord{
		{Time: at, Kind: wire.TapControl, ID: 1, Size: 2, From: []byte("web"),
			Method: []byte("publish"), Body: []byte("{}")},
		{Time: at + 1000, Kind: wire.TapCall, ID: 7, Size: 7, From: []byte("web"),
			To: []byte("calculator"), Object: []byte("math"), Method: []byte("abs"), Sent: 562,
			Copies: 1, Lost: 2, Body: []byte("[-1234]")},
		{Time: at + 19_345, Kind: wire.TapReply, ID: 562, Size: 4, From: []byte("calculator"),
			To: []byte("web"), Object: []byte("math"), Method: []byte("abs"), Sent: 9, Copies: 1,
			Took: 18_345, Body: []byte("12")},
		{Time: at + 20_000, Kind: wire.TapOneway, Size: 3, From: []byte("we\x1bb"), Copies: 3,
			Body: []byte{0xff, 1, 2}},
		{Time: at + 30_000, Kind: wire.TapError, From: []byte("calculator"), To: []byte("web"),
			Code: wire.CodePeerLost, Took: 1_234_567, Copies: 1},
		{Time: at + 40_000, Kind: wire.TapCall, ID: 8, From: []byte("web"), Object: []byte("x")},
		{Time: at + 50_000, Lost: 5},
	} {
		b = r.AppendTo(b)
	}
	return b
}

func TestDumpTap(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	r := pithos(string(tapFile()), "dump")
	require.Equal(t, result{stdout: `01:00:00.000000 control web -> hub  publish  id 1, 2 bytes: {}
(2 frames not recorded)
01:00:00.000001 call    web -> calculator  math.abs  id 7>562, 7 bytes: [-1234]
01:00:00.000019 reply   calculator -> web  math.abs  id 562>9, 4 bytes, took 18.3µs: 12...
01:00:00.000020 oneway  we\x1bb -> 3 peers  id 0, 3 bytes: 0xff0102
01:00:00.000030 error   calculator -> web  id 0, 0 bytes, took 1.23ms, code 14 (peer lost)
01:00:00.000040 call    web -> nobody  x  id 8, 0 bytes
(5 frames not recorded)
`}, r)
	path := filepath.Join(t.TempDir(), "frames.tap")
	require.NoError(t, os.WriteFile(path, tapFile(), 0o600))
	require.Equal(t, r, pithos("", "dump", path))
}

func TestDumpTapJSON(t *testing.T) {
	r := pithos(string(tapFile()), "dump", "--json")
	require.Zero(t, r.code, r.stderr)
	lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	require.Len(t, lines, 7)
	for _, line := range lines {
		require.True(t, json.Valid([]byte(line)), line)
	}
	require.JSONEq(t, `{"time":"2026-11-27T01:00:00.000001Z","kind":"call","id":7,"sent":562,
		"size":7,"from":"web","to":"calculator","copies":1,"object":"math","method":"abs",
		"lost":2,"body":[-1234]}`, lines[1])
	require.Contains(t, lines[2], `"took_us":18.345`)
	require.Contains(t, lines[2], `"text":"12"`, "a payload that is cut is no value")
	require.Contains(t, lines[3], `"bytes":"/wEC"`)
	require.Contains(t, lines[4], `"code":14,"error":"peer lost"`)
	pithos("", "dump", "--json").requireFails(t, "",
		"pithos: --json: only for what a tap has written\n")
}

func TestDumpTapMalformed(t *testing.T) {
	whole := string(tapFile())
	first := len(wire.TapMagic) + 4 + int(whole[len(wire.TapMagic)+3])
	for name, c := range map[string]struct{ in, want string }{
		"length cut": {whole[:first+2], "record at byte 46: 2 of 4 bytes of its length: the " +
			"stream ends there"},
		"record cut": {whole[:first+10], "record at byte 46: 6 of 60 bytes: the stream ends there"},
		"too long": {wire.TapMagic + "\x00\x10\x00\x01", "record at byte 8: tap record bytes: " +
			"1048577, limit 1048576"},
		"version": {"PITHTAP\x02\x00", "a file of pithos tap in version 2 of its form; this " +
			"reads version 1"},
		"garbage": {wire.TapMagic + "\x00\x00\x00\x02\x00\x00", "record at byte 8: field number: " +
			"0, limit 1048576"},
	} {
		r := pithos(c.in, "dump")
		require.Equal(t, 1, r.code, name)
		require.Equal(t, "pithos: "+c.want+"\n", r.stderr, name)
	}
}
