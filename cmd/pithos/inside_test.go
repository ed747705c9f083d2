package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/internal/npmtest"
)

// serveNode starts testdata/provider.js, with Pandora's own client, at the hub for that folder.
func serveNode(t *testing.T, dir string) {
	t.Helper()
	packages := npmtest.Install(t, filepath.Join("..", "..", "bench", "pandora"))
	node := exec.Command("node", filepath.Join("testdata", "provider.js"))
	node.Env = append(os.Environ(), "PANDORA_TMP_DIR="+dir, "PACKAGES="+packages)
	node.Stderr = os.Stderr
	stdin, err := node.StdinPipe()
	require.NoError(t, err)
	out, err := node.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, node.Start())
	t.Cleanup(func() {
		stdin.Close() // which ends it
		node.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
}

// R31: objects, methods, peers, calls in flight, queue depths and histograms for each method, of Go
// and of Node processes, from the command line alone.
func TestR31Inside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "own.sock")
	t.Setenv("PANDORA_TMP_DIR", dir)
	startHub(t, nil, []string{hub.PandoraPath(), path}, "--pandora", "--socket", path)
	t.Setenv(socketVariable, path)
	serveMath(t, path)
	serveNode(t, dir)

	for range 3 {
		r := pithos("", "call", "math.abs", "--", "-1")
		require.Equal(t, result{stdout: "1\n"}, r)
	}
	r := pithos("", "call", "shouter.shout", "--", "hello")
	require.Equal(t, result{stdout: `"HELLO!"` + "\n"}, r)
	r = pithos("", "call", "shouter.fail")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "pithos: shouter.fail: not today\n")
	r = pithos("", "call", "shouter.shuot", "--", "x")
	require.Equal(t, result{1, "", "pithos: object shouter has no method \"shuot\": there are " +
		"shout, silent, fail\n"}, r)

	waiting := make(chan result, 2)
	for _, method := range []string{"math.wait", "shouter.silent"} {
		go func() { waiting <- pithos("", "call", method, "--timeout", "8s") }()
	}
	var in hub.Inspection
	await(t, func() bool {
		in = hub.Inspection{}
		r := pithos("", "ls", "all", "--json")
		require.Zero(t, r.code, r.stderr)
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &in))
		inside := 0
		for _, m := range in.Methods {
			inside += int(m.Inside)
		}
		for _, p := range in.Peers { // they are read before, perhaps without the last call
			inside += p.Inside
		}
		return inside == 4
	})
	requireInside(t, &in)
	requireTables(t)
	for range 2 {
		r := <-waiting
		require.Contains(t, r.stderr, ": no result within 8s\n")
	}
}

// requireInside wants what TestR31Inside has made in what the hub says.
func requireInside(t *testing.T, in *hub.Inspection) {
	t.Helper()
	peers := make(map[string]hub.PeerInfo)
	for _, p := range in.Peers {
		peers[p.Name] = p
	}
	require.Equal(t, "native", peers["calc/server"].Kind)
	require.Equal(t, os.Getpid(), peers["calc/server"].PID)
	require.Equal(t, 1, peers["calc/server"].Inside)
	require.Equal(t, "pandora", peers["node-app/worker"].Kind)
	require.Equal(t, 1, peers["node-app/worker"].Inside)
	require.Positive(t, peers["node-app/worker"].BytesOut)
	require.Equal(t, 1, peers["pithos/call"].Asking)

	providers := make(map[string]uint64)
	for _, o := range in.Objects {
		require.Len(t, o.Peers, 1)
		providers[o.Name] = o.Peers[0]
	}
	require.Equal(t, peers["calc/server"].ID, providers["math"])
	require.Equal(t, peers["node-app/worker"].ID, providers["shouter"])

	methods := make(map[string]hub.MethodInfo)
	for _, m := range in.Methods {
		methods[methodName(m)] = m
	}
	abs := methods["math.abs"]
	require.EqualValues(t, 3, abs.Calls)
	require.Zero(t, abs.Inside)
	require.Positive(t, abs.P50Us)
	require.LessOrEqual(t, abs.P50Us, abs.P99Us)
	require.LessOrEqual(t, abs.P99Us, abs.P999Us)
	require.LessOrEqual(t, abs.P999Us, abs.MaxUs*1.01)
	require.EqualValues(t, 1, methods["math.wait"].Inside)
	require.EqualValues(t, 1, methods["shouter.silent"].Inside)
	require.Positive(t, methods["shouter.shout"].P50Us)
	require.NotEmpty(t, in.Routes)
}

// requireTables wants the same in the tables.
func requireTables(t *testing.T) {
	t.Helper()
	list := func(args ...string) string {
		r := pithos("", append([]string{"ls"}, args...)...)
		require.Zero(t, r.code, r.stderr)
		return r.stdout
	}
	require.Regexp(t, `(?m)^ +\d+ +native +calc/server +\d+ `, list("peers"))
	require.Regexp(t, `(?m)^ +math +\d+ +1 +\d+ calc/server$`, list("objects"))
	require.Regexp(t, `(?m)^ +math\.abs +3 +0 +0 +\S+s +\S+s +\S+s +\S+s +\S+s$`, list("methods"))
	require.Contains(t, list("routes"), `{"objectName":"math"}`)
	require.Regexp(t, `^hub \d+, up \S+, \d+ peers, `, list("hub"))
	all := list()
	require.Contains(t, all, "PEERS\n")
	require.Contains(t, all, "OBJECTS\n")
	require.NotContains(t, list("methods", "shouter.*"), "math")
	require.Regexp(t, `(?m)^math\.abs\n +UP TO +CALLS +SHARE\n( +\S+s +\d+ +\S+ % +#+\n?)+`,
		list("methods", "math.abs", "--histogram"))
	require.NotContains(t, list("peers", "node*"), "calc")
}

func TestLsJSON(t *testing.T) {
	serveHub(t)
	for _, what := range []string{"peers", "objects", "routes", "methods"} {
		r := pithos("", "ls", what, "--json")
		require.Zero(t, r.code, r.stderr)
		var list []json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &list))
		require.NotNil(t, list)
	}
	var whole struct {
		Hub   hub.HubInfo
		Stats hub.Stats
	}
	r := pithos("", "ls", "hub", "--json")
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &whole))
	require.Positive(t, whole.Hub.PID)
	require.NotEmpty(t, whole.Hub.Addresses)
}

func TestLsFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"nosuch", `no list "nosuch": there are hub, peers, objects, routes, methods, all`},
		{"--watch 500ms", "--watch 500ms: want --watch=500ms"},
		{"peers --watch 1s", "--watch 1s: want --watch=1s"},
		{"hub x", "ls hub x: there is one hub only"},
		{"peers --histogram", "--histogram: only for ls methods"},
		{"--limit 0", "--limit 0: want more than 0"},
		{"--watch=1ms", "--watch 1ms: want 100ms or more"},
		{"--timeout -1s", "--timeout -1s: want more than 0"},
		{"a b c", "accepts at most 2 arg(s), received 3"},
	} {
		r := pithos("", append([]string{"ls"}, strings.Fields(c.args)...)...)
		require.Equal(t, result{1, "", "pithos: " + c.want + "\n"}, r, c.args)
	}
}

// A list that is not whole says so, also where what was looked for may be in the rest.
func TestLsLimit(t *testing.T) {
	serveMath(t, serveHub(t))
	const more = "  of the first 1; --limit shows more\n"
	require.Regexp(t, `(?s)^PEERS\n  ID .*\n`+more+`\nOBJECTS\n  OBJECT .*\n`+more+"$",
		strings.SplitN(pithos("", "ls", "--limit", "1").stdout, "\n\n", 2)[1])
	require.Equal(t, result{stdout: "  nothing is called \"x\"\n" + more},
		pithos("", "ls", "peers", "x", "--limit", "1"))
	require.NotContains(t, pithos("", "ls").stdout, "--limit")
}

// With --watch it lists again and again, until it is interrupted.
func TestLsWatch(t *testing.T) {
	serveHub(t)
	cmd := process(t, "ls", "hub", "--watch=100ms")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for headlines := 0; headlines < 3; {
		require.True(t, lines.Scan())
		if strings.HasPrefix(lines.Text(), "hub ") {
			headlines++
		}
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
}

// top without a terminal looks twice, and prints a table.
func TestTopOnce(t *testing.T) {
	serveMath(t, serveHub(t))
	require.Zero(t, pithos("", "call", "math.abs", "--", "1").code)
	r := pithos("", "top", "--interval", "100ms")
	require.Zero(t, r.code, r.stderr)
	require.Regexp(t, `^hub \d+, up `, r.stdout)
	require.Regexp(t, `(?m)^ +METHOD +CALLS +CALLS/S +FAILED +INSIDE +MEAN +P50 +P99 +P99\.9 +MAX$`,
		r.stdout)
	require.NotContains(t, r.stdout, "\x1b")
	for _, c := range []struct{ args, want string }{
		{"nosuch", `no page "nosuch": there are methods, peers, objects, routes`},
		{"--interval 1ms", "--interval 1ms: want 100ms or more"},
	} {
		r := pithos("", append([]string{"top"}, strings.Fields(c.args)...)...)
		require.Equal(t, result{1, "", "pithos: " + c.want + "\n"}, r)
	}
}

// What a tap writes to a file is what dump reads; and it prints the same.
func TestTap(t *testing.T) {
	path := serveHub(t)
	serveMath(t, path)
	file := filepath.Join(t.TempDir(), "frames.tap")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := hub.Join(ctx, path, hub.JoinOptions{Location: hub.Location{AppName: "seen"}})
	require.NoError(t, err)
	defer c.Close(ctx)
	done := make(chan result, 2)
	go func() { done <- pithos("", "tap", "-o", file, "--object", "math", "-c", "4") }()
	go func() {
		done <- pithos("", "tap", "--peer", "seen", "--kind", "call,error", "-c", "2", "--json")
	}()
	await(t, func() bool {
		in, err := c.Inspect(ctx, hub.InspectOptions{})
		require.NoError(t, err)
		return in.Hub.Taps == 2
	})
	_, err = c.Object("math").Call(ctx, "abs", []byte("[-5]"), nil)
	require.NoError(t, err)
	_, err = c.Object("math").Call(ctx, "abs", []byte(`["x"]`), nil)
	require.Error(t, err)
	var printed string
	for range 2 {
		r := <-done
		require.Zero(t, r.code, r.stderr)
		printed += r.stdout
	}
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], `"kind":"call"`)
	require.Contains(t, lines[0], `"object":"math","method":"abs"`)

	r := pithos("", "dump", file)
	require.Zero(t, r.code, r.stderr)
	require.Regexp(t, `^\S+ call    seen#\d+ -> calc/server#\d+  math\.abs  id \d+, 4 bytes: \[-5\]
\S+ reply   calc/server#\d+ -> seen#\d+  math\.abs  id \d+>\d+, 1 byte, took \S+s: 5
\S+ call    seen#\d+ -> calc/server#\d+  math\.abs  id \d+, 5 bytes: \["x"\]
\S+ error   calc/server#\d+ -> seen#\d+  math\.abs  id \d+>\d+, 0 bytes, took \S+s, code 12 .*
$`, r.stdout)
}

// A tap that does not come about costs no earlier one.
func TestTapLeavesFile(t *testing.T) {
	dir := t.TempDir()
	putFile(t, "precious", dir, "frames.tap")
	file := filepath.Join(dir, "frames.tap")
	pithos("", "tap", "-o", file, "--socket", filepath.Join(dir, "none")).requireFails(t, "",
		"pithos: nobody listens at "+filepath.Join(dir, "none")+": there is no such socket\n")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
}

// When a tap is interrupted, every frame until then is in its file or counted.
func TestTapInterrupted(t *testing.T) {
	path := serveHub(t)
	serveMath(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := hub.Join(ctx, path, hub.JoinOptions{})
	require.NoError(t, err)
	defer c.Close(ctx)
	for rate, want := range map[string]string{
		"1000": "100 frames recorded, 0 were not: --rate, --buffer\n",
		"10":   "1 frames recorded, 99 were not: --rate, --buffer\n",
	} {
		tap := process(t, "tap", "--socket", path, "-o", filepath.Join(t.TempDir(), "frames.tap"),
			"--object", "math", "--rate", rate)
		var stderr bytes.Buffer
		tap.Stderr = &stderr
		require.NoError(t, tap.Start())
		await(t, func() bool {
			in, err := c.Inspect(ctx, hub.InspectOptions{})
			require.NoError(t, err)
			return in.Hub.Taps == 1
		})
		for range 50 {
			_, err = c.Object("math").Call(ctx, "abs", []byte("[-5]"), nil)
			require.NoError(t, err)
		}
		require.NoError(t, tap.Process.Signal(os.Interrupt))
		require.NoError(t, tap.Wait())
		require.Equal(t, want, stderr.String())
		await(t, func() bool {
			in, err := c.Inspect(ctx, hub.InspectOptions{})
			require.NoError(t, err)
			return in.Hub.Taps == 0
		})
	}
}

func TestTapFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--kind no", `--kind "no": want call, reply, error, oneway or control`},
		{"--kind note", `--kind "note": want call, reply, error, oneway or control`},
		{"--body -1", "--body -1: want 0 or more"},
		{"--rate -1", "--rate -1: want 0 or more"},
		{"--buffer 0", "--buffer 0: want more than 0"},
		{"--json -o x", "--json and --output: the file has a form of its own, which dump --json " +
			"reads"},
		{"x", `unknown command "x" for "pithos tap"`},
		{"-o /nosuch/file", "open /nosuch/file: no such file or directory"},
	} {
		r := pithos("", append([]string{"tap"}, strings.Fields(c.args)...)...)
		require.Equal(t, result{1, "", "pithos: " + c.want + "\n"}, r, c.args)
	}
	serveHub(t)
	pithos("", "tap", "--buffer", "999999999").requireFails(t, "",
		"pithos: hub: remote: pithos.tap: hub: tap: bytes of the buffer: 999999999, "+
			"limit 12582912\n")
}
