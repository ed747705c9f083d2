package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

const helloHex = "28 00000000 0000001a 01 504954484f53 0201 0401 0600 0880808008 0a8020 0c80808010"

const helloLine = "0: native control, id 0, 26 bytes: hello, version 1, capabilities none, " +
	"body 16777216, calls 4096, bytes 33554432\n"

// TestDump decodes good streams.
func TestDump(t *testing.T) {
	for _, c := range []struct {
		name string
		hex  string
		want string
	}{
		{"nothing", "", ""},
		{"call", "60 00000001 00000005 00 70696e67",
			"0: request native, id 1, 5 bytes: payload 4 bytes: ping\n"},
		{"hello and call", helloHex + "60 00010007 0000000f 09 0303616464 0490a10f 5b312c325d",
			helloLine + "35: request native, id 65543, 15 bytes: method \"add\", timeout 250ms, " +
				"payload 5 bytes: [1,2]\n"},
		{"everything in meta", "60 00000001 00000016 15 03016d 0480808080808080808001 070174 " +
			"0805 0c02",
			"0: request native, id 1, 22 bytes: method \"m\", timeout 9223372036854775808 us, " +
				"trace \"t\", route 5, 2 descriptors, payload 0 bytes\n"},
		{"parts", "64 00000009 00000004 00 616263 60 00000002 00000001 00 60 00000009 00000003 " +
			"646566",
			"0: request native part, id 9, 4 bytes: payload 3 bytes: abc\n" +
				"13: request native, id 2, 1 byte: payload 0 bytes\n" +
				"23: request native, id 9, 3 bytes: continued, payload 3 bytes: def\n"},
		{"oneway", "a0 00000000 00000003 00 6869",
			"0: oneway native, id 0, 3 bytes: payload 2 bytes: hi\n"},
		{"error", "30 00000007 00000007 02 0a04 62757379",
			"0: native error, id 7, 7 bytes: code 4 (overloaded), text 4 bytes: busy\n"},
		{"error without a code", "30 00000007 00000001 00",
			"0: native error, id 7, 1 byte: code 0 (ok), text 0 bytes\n"},
		{"control", "28 0000002a 00000001 02 28 0000002a 00000001 03 28 00010007 00000001 04 " +
			"28 00000000 00000005 05 02c0843d 28 00000000 00000001 06",
			"0: native control, id 42, 1 byte: ping\n10: native control, id 42, 1 byte: pong\n" +
				"20: native control, id 65543, 1 byte: cancel\n" +
				"30: native control, id 0, 5 bytes: credit, bytes 1000000\n" +
				"44: native control, id 0, 1 byte: drain\n"},
		{"lane", "28 00000000 00000007 07 0201 04808040 28 00000000 00000005 08 0201 0400",
			"0: native control, id 0, 7 bytes: lane-offer, version 1, ring 1048576\n" +
				"16: native control, id 0, 5 bytes: lane-accept, version 1, ring 0\n"},
		{"control of the future", "28 00000000 00000003 63 0201",
			"0: native control, id 0, 3 bytes: control-99, 2 bytes of fields\n"},
		{"hello of the future", "28 00000000 0000000e 01 504954484f53 0201 0403 068302",
			"0: native control, id 0, 14 bytes: hello, version 1 to 3, capabilities " +
				"files+lane+0x100, body 0, calls 0, bytes 0\n"},
		{"Pandora", "00 00000001 0000000e 7b22616374696f6e223a2278227d 00 00000009 00000000 " +
			"80 00000002 00000002 5b5d",
			"0: no flags, id 1, 14 bytes: {\"action\":\"x\"}\n23: no flags, id 9, 0 bytes\n" +
				"32: oneway, id 2, 2 bytes: []\n"},
		{"a broadcast before the hello", "00 00000001 00000002 7b7d" + helloHex,
			"0: no flags, id 1, 2 bytes: {}\n11" + helloLine[1:]},
		{"payload that is no text", "20 00000001 00000005 00 ff00fe01",
			"0: native, id 1, 5 bytes: payload 4 bytes: 0xff00fe01\n"},
		{"payload for the terminal", "20 00000001 00000008 00 1b5b324a e280ae",
			"0: native, id 1, 8 bytes: payload 7 bytes: \\x1b[2J\\u202e\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, result{0, c.want, ""}, pithos("", "dump", "--hex", c.hex))
		})
	}
}

// TestDumpBroken decodes streams up to where they go wrong, and says where that is.
func TestDumpBroken(t *testing.T) {
	const callHex, callLine = "60 00000001 00000001 00",
		"0: request native, id 1, 1 byte: payload 0 bytes\n"
	for _, c := range []struct {
		name   string
		hex    string
		stdout string
		stderr string
	}{
		{"header cut", callHex + "60 0000", callLine,
			"frame at byte 10: 3 of 9 bytes of its header: the stream ends there"},
		{"body cut", callHex + "60 00000002 00000004 00 6869", callLine,
			"frame at byte 10: request native: 3 of 4 bytes of its body: the stream ends there"},
		{"Pandora's body cut", "00 00000002 00000004 7b", "",
			"frame at byte 0: no flags: 1 of 4 bytes of its body: the stream ends there"},
		{"too long", callHex + "60 00000002 ffffffff 00", callLine,
			"frame at byte 10: request native: body of 4294967295 bytes, limit 16781315"},
		{"Pandora's too long", "00 00000001 00000002 7b7d 00 00000002 01000200",
			"0: no flags, id 1, 2 bytes: {}\n",
			"frame at byte 11: no flags: body of 16777728 bytes, limit 16777216"},
		{"illegal flags", callHex + "2c 00000002 00000001 02", callLine,
			"frame at byte 10: illegal flags 0x2c"},
		{"reserved bits", callHex + "63 00000002 00000000", callLine,
			"frame at byte 10: illegal flags 0x63"},
		{"illegal flags at first", "2c 00000002 00000001 02", "", "frame at byte 0: illegal " +
			"flags 0x2c"},
		{"Pandora's flags on a native stream", callHex + "00 00000002 00000002 7b7d", callLine,
			"frame at byte 10: illegal flags 0x00"},
		{"no meta", callHex + "60 00000002 00000000", callLine,
			"byte 19: malformed meta length, in the frame at byte 10"},
		{"meta too long", "60 00000002 00000003 04 0401", "",
			"frame at byte 0: meta bytes: 4, limit 2"},
		{"fields out of order", "60 00000002 00000005 04 0801 0401", "",
			"byte 12: malformed field order, in the frame at byte 0"},
		{"control without a kind", "28 00000000 00000000 28 00000000 00000000",
			"0: native control, " +
				"id 0, 0 bytes\n9: native control, id 0, 0 bytes\n", ""},
		{"control without a kind, later", callHex + "28 00000000 00000000", callLine,
			"byte 19: malformed control kind, in the frame at byte 10"},
		{"hello without versions", "28 00000000 00000007 01504954484f53", "",
			"byte 16: malformed hello version range 0 to 0, in the frame at byte 0"},
		{"control too long", "28 00000000 00000401 02" + strings.Repeat("00", 1024), "",
			"frame at byte 0: control bytes: 1025, limit 1024"},
		{"not JSON", "00 00000001 00000002 7b7d 00 00000002 00000003 7b787d", "0: no flags, id " +
			"1, 2 " +
			"bytes: {}\n", "byte 21: not JSON: invalid character 'x' looking for beginning of " +
			"object " +
			"key string, in the frame at byte 11"},
		{"JSON that ends early", "00 00000001 00000001 7b", "",
			"byte 9: not JSON: unexpected end of JSON input, in the frame at byte 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := pithos("", "dump", "--hex", c.hex)
			if c.stderr == "" {
				require.Equal(t, result{0, c.stdout, ""}, r)
				return
			}
			r.requireFails(t, c.stdout, "pithos: "+c.stderr+"\n")
		})
	}
}

// TestDumpInput reads from everywhere it can be told to.
func TestDumpInput(t *testing.T) {
	frame := string(wire.AppendControl(nil, wire.KindPing, 42))
	const line = "0: native control, id 42, 1 byte: ping\n"
	path := filepath.Join(t.TempDir(), "capture")
	require.NoError(t, os.WriteFile(path, []byte(frame), 0o600))
	good := result{0, line, ""}
	require.Equal(t, good, pithos("", "dump", path), "file")
	require.Equal(t, good, pithos(frame, "dump"), "standard input")
	require.Equal(t, good, pithos(frame, "dump", "-"), "standard input by name")
	require.Equal(t, good, pithos("28 0000 002A # ping\n\t00000001 02", "dump", "--hex", "-"))
	require.Equal(t, result{}, pithos("", "dump"), "nothing")

	pithos("", "dump", filepath.Dir(path)).requireFails(t, "",
		"pithos: read "+filepath.Dir(path)+": is a directory\n")
	pithos("", "dump", "--hex", "28", path).requireFails(t, "",
		"pithos: --hex and the file "+path+": only one can be read\n")
	pithos("", "dump", "--hex", "28 0000002a 0000000102 0").requireFails(t, line,
		"pithos: hexadecimal text ends within a byte, at character 24\n")
	pithos("", "dump", "--hex", "28 zz").requireFails(t, "",
		"pithos: character 4 of the hexadecimal text is 'z'\n")
	pithos("", "dump", "--as", "json").requireFails(t, "",
		"pithos: --as \"json\": want auto, native or pandora\n")
	pithos("", "dump", "--width", "-1").requireFails(t, "", "pithos: --width -1: want 0 or more\n")
	pithos("garbage, not frames", "dump").requireFails(t, "", "pithos: frame at byte 0: request "+
		"native part 0x02 0x01: body of 1734683680 bytes, limit 16777216\n")
}

// TestDumpOptions changes how much is shown, how much is taken, and what a stream is taken for.
func TestDumpOptions(t *testing.T) {
	const hex = "20 00000001 00000007 00 68c3a9c3a96c"
	dump := func(args ...string) string {
		r := pithos("", append([]string{"dump", "--hex", hex}, args...)...)
		require.Equal(t, result{0, r.stdout, ""}, r)
		return strings.TrimPrefix(r.stdout, "0: native, id 1, 7 bytes: payload 6 bytes")
	}
	require.Equal(t, ": h\u00e9\u00e9l\n", dump())
	require.Equal(t, ": h\u00e9\u00e9l\n", dump("--width", "4"))
	require.Equal(t, ": h\u00e9...\n", dump("--width", "2"))
	require.Equal(t, "\n", dump("--width", "0"))

	pithos("", "dump", "--max-body", "10", "--as", "pandora", "--hex", "00 00000001 0000000b 00").
		requireFails(t, "", "pithos: frame at byte 0: no flags: body of 11 bytes, limit 10\n")
	r := pithos("", "dump", "--as", "pandora", "--hex", "ff 00000001 00000002 7b7d")
	require.Equal(t, "0: oneway request native error control part 0x02 0x01, id 1, 2 bytes: {}\n",
		r.stdout)
	pithos("", "dump", "--as", "native", "--hex", "00 00000001 00000002 7b7d").
		requireFails(t, "", "pithos: frame at byte 0: illegal flags 0x00\n")
}

// zeros is a stream without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestDumpMemory reads a body of 256 MiB that comes, and meets a claim of 4 GiB that does not.
func TestDumpMemory(t *testing.T) {
	const size = 256 << 20
	head := func(n uint32) io.Reader {
		return bytes.NewReader(wire.Header{Flags: wire.FlagsReply, ID: 1, Length: n}.AppendTo(nil))
	}
	in := io.MultiReader(head(size), io.LimitReader(zeros{}, size), head(1<<32-1))
	var stdout, stderr bytes.Buffer
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	code := run([]string{"dump", "--max-body", "4294967295"}, in, &stdout, &stderr)
	runtime.ReadMemStats(&after)
	require.Equal(t, 1, code)
	require.Contains(t, stdout.String(), "0: native, id 1, 268435456 bytes: payload 268435455 "+
		"bytes")
	require.Equal(t, "pithos: frame at byte 268435465: native: 0 of 4294967295 bytes of its body: "+
		"the stream ends there\n", stderr.String())
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
}

// TestDumpFollows prints a frame when it has come, not when the stream ends.
func TestDumpFollows(t *testing.T) {
	in, feed := io.Pipe()
	out, sink := io.Pipe()
	done := make(chan int)
	go func() {
		code := run([]string{"dump"}, in, sink, io.Discard)
		sink.Close()
		done <- code
	}()
	for i := range uint32(3) {
		_, err := feed.Write(wire.AppendControl(nil, wire.KindPing, i))
		require.NoError(t, err)
		line := make([]byte, len("0: native control, id 0, 1 byte: ping\n"))
		n, err := out.Read(line)
		require.NoError(t, err)
		require.Contains(t, string(line[:n]), ": native control, id ")
		if i > 0 { // the offset is a digit longer
			_, err = io.ReadFull(out, line[:1])
			require.NoError(t, err)
		}
	}
	feed.Close()
	require.Zero(t, <-done)
}

// TestDumpGolden decodes every golden file of package wire.
func TestDumpGolden(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "..", "wire", "testdata", "golden", "*.hex"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		r := pithos(string(text), "dump", "--hex", "-")
		require.Zero(t, r.code, "%s: %s", path, r.stderr)
		require.NotEmpty(t, r.stdout, path)
	}
}

// FuzzDump gives any bytes to dump: it ends, never panics, and its lines are as many as frames fit.
func FuzzDump(f *testing.F) {
	f.Add([]byte("garbage"), "auto")
	f.Add(wire.AppendControl(nil, wire.KindPing, 42), "native")
	f.Add(wire.Frame{Body: []byte(`{"action":"x"}`)}.AppendTo(nil), "pandora")
	f.Fuzz(func(t *testing.T, b []byte, as string) {
		r := pithos(string(b), "dump", "--as", as)
		lines := strings.Count(r.stdout, "\n")
		frames, rest := 0, b
		for len(rest) >= wire.HeaderSize {
			n := uint64(binary.BigEndian.Uint32(rest[5:9])) + wire.HeaderSize
			if n > uint64(len(rest)) {
				break
			}
			frames, rest = frames+1, rest[n:]
		}
		require.LessOrEqual(t, lines, frames)
		if r.code == 0 {
			require.Equal(t, frames, lines)
			require.Empty(t, rest)
			require.Empty(t, r.stderr)
			return
		}
		require.True(t, strings.HasPrefix(r.stderr, "pithos: "), r.stderr)
	})
}
