package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/daemon"
	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// serveHub runs a hub in a process of its own and returns its socket.
func serveHub(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hub.sock")
	startHub(t, nil, []string{path}, append([]string{"--socket", path}, args...)...)
	t.Setenv(socketVariable, path)
	return path
}

// serveMath serves an object by that name, as a process called calc/server.
func serveMath(t *testing.T, path string) *hub.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := hub.Join(ctx, path, hub.JoinOptions{
		Location: hub.Location{AppName: "calc", ProcessName: "server"}})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = c.Close(ctx) // the hub may have been stopped before
	})
	_, err = c.Publish(ctx, hub.Object{Name: "math", Handler: transport.HandlerFunc(mathMethods)})
	require.NoError(t, err)
	return c
}

// mathMethods is the object: what the tests call.
func mathMethods(r *transport.Request) {
	if string(r.Action()) == hub.ActionIntrospect {
		_ = r.Reply([]byte(`{"properties":[],"methods":[{"name":"abs","length":1},` +
			`{"name":"wild","length":0},{"name":"wait","length":0}]}`))
		return
	}
	var args []any
	err := json.Unmarshal(r.Body(), &args)
	switch string(r.Method()) {
	case "abs":
		if n, ok := first(args).(float64); err == nil && ok {
			reply, _ := json.Marshal(max(n, -n))
			_ = r.Reply(reply)
			return
		}
		_ = r.Fail(wire.CodeInvalid, "abs wants a number")
	case "args":
		_ = r.Reply(r.Body())
	case "nothing":
		_ = r.Reply(nil)
	case "text":
		_ = r.Reply([]byte("no JSON"))
	case "bytes":
		_ = r.Reply([]byte("a\xff\x00"))
	case "quoted":
		_ = r.Reply([]byte("\"\xff\""))
	case "wild":
		_ = r.Fail(wire.CodeFailed, "\x1b]0;mine\a\n\tred")
	case "wait":
		<-r.Context().Done()
		_ = r.Fail(wire.CodeDeadline, "")
	default:
		_ = r.Fail(wire.CodeNoMethod, "")
	}
}

func first(args []any) any {
	if len(args) == 0 {
		return nil
	}
	return args[0]
}

func TestCall(t *testing.T) {
	serveMath(t, serveHub(t))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"math.abs", "--", "-1234"}, "1234\n"},
		{[]string{"math.args"}, "[]\n"},
		{[]string{"math.args", "--", "5", `"5"`, "five", " {\"a\" : 1}", "", "--x"},
			`[5,"5","five",{"a":1},"","--x"]` + "\n"},
		{[]string{"math.nothing"}, ""},
		{[]string{"math.text"}, "no JSON\n"},
		{[]string{"math.abs", "--selector", "appName=calc,processName=server", "--", "-1"}, "1\n"},
		{[]string{"abs", "--selector", `{"objectName":"math"}`, "--", "-2"}, "2\n"},
		{[]string{"math.abs", "--all", "--", "-3"}, "3\n"},
	} {
		r := pithos("", append([]string{"call"}, c.args...)...)
		require.Equal(t, result{stdout: c.want}, r, c.args)
	}
	for _, c := range []struct {
		method, want string
	}{
		{"math.text", `"result":"no JSON"`}, {"math.nothing", `"result":null`},
		{"math.args", `"result":[]`},
		{"math.bytes", `{"result_base64":"Yf8A",`}, {"math.quoted", `{"result_base64":"Iv8i",`},
	} {
		r := pithos("", "call", c.method, "--json")
		require.Zero(t, r.code, r.stderr)
		require.Contains(t, r.stdout, c.want)
		require.Contains(t, r.stdout, `"took_us":`)
		require.True(t, json.Valid([]byte(r.stdout)))
		require.True(t, utf8.ValidString(r.stdout))
	}
}

// TestLsNoMatch wants to hear that the name fits nothing, not that nothing is there.
func TestLsNoMatch(t *testing.T) {
	serveMath(t, serveHub(t))
	for _, list := range []string{"peers", "objects", "routes", "methods"} {
		require.Equal(t, result{stdout: "  nothing is called \"nosuch*\"\n"},
			pithos("", "ls", list, "nosuch*"), list)
	}
}

// TestHarmless has others send what a terminal would obey, in an error and in the last words of a
// process.
func TestHarmless(t *testing.T) {
	serveMath(t, serveHub(t))
	pithos("", "call", "math.wild").requireFails(t, "", "pithos: math.wild: "+
		`\x1b]0;mine\a`+"\n\tred\n")

	var out strings.Builder
	i := daemon.Instance{State: "crash-loop", Reason: "\x1b[2J", Tail: []string{"a\x1b[31m", "b"}}
	p := tree{now: time.Now()}
	require.NoError(t, p.print(&out, []daemon.App{{Processes: []daemon.Process{
		{Name: "x", Instances: []daemon.Instance{i}}}}}))
	require.NotContains(t, out.String(), "\x1b")
	require.Contains(t, out.String(), `x: crash-loop: \x1b[2J`)
	require.Contains(t, out.String(), "x wrote last:\n"+`  a\x1b[31m`+"\n  b\n")
}

// TestFull writes what was asked for to a full disk.
func TestFull(t *testing.T) {
	serveMath(t, serveHub(t))
	for _, line := range []string{"version", "ls", "ls all --json", "top", "ping -c 1",
		"call math.args", "call math.args --json", "call math.args --all", "bench --list",
		"config --schema", "dump --hex 28000000020000000102"} {
		requireHeard(t, strings.Fields(line)...)
	}
}

// TestInterrupted ends verbs by a signal while they wait for somebody.
func TestInterrupted(t *testing.T) {
	serveMath(t, serveHub(t))
	for _, line := range []string{"call math.wait", "top --interval 1m"} {
		cmd := process(t, strings.Fields(line)...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		require.NoError(t, cmd.Start())
		name := "pithos/" + strings.Fields(line)[0]
		await(t, func() bool { return strings.Contains(pithos("", "ls", "peers").stdout, name) })
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.Error(t, cmd.Wait())
		require.Equal(t, result{130, "", "pithos: interrupted\n"},
			result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, line)
	}
}

// TestWatchInterrupted ends a list that is watched while the hub is asked: it was to go on until
// then.
func TestWatchInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	looks := 0
	look := func(ctx context.Context) (*hub.Inspection, error) {
		if looks++; looks == 2 {
			interrupt()
			return nil, ctx.Err()
		}
		return &hub.Inspection{}, nil
	}
	l := lister{watch: minWatch, out: io.Discard}
	require.NoError(t, l.run(ctx, look))
	require.Equal(t, 2, looks)
}

// Trouble in a list that is watched is said, and leaves the JSON what it is.
func TestR31WatchTrouble(t *testing.T) {
	for _, json := range []bool{false, true} {
		ctx, interrupt := context.WithCancel(t.Context())
		looks := 0
		look := func(ctx context.Context) (*hub.Inspection, error) {
			switch looks++; looks {
			case 2:
				return nil, errors.New("the hub is away")
			case 4:
				interrupt()
			}
			return &hub.Inspection{}, nil
		}
		var out, err strings.Builder
		l := lister{what: "methods", json: json, watch: minWatch, out: &out, err: &err}
		require.NoError(t, l.run(ctx, look))
		require.Equal(t, 4, looks)
		if json {
			require.Equal(t, "[]\n[]\n[]\n", out.String())
			require.Equal(t, "the hub is away\n", err.String())
		} else {
			require.Contains(t, out.String(), "\nthe hub is away\n")
			require.Empty(t, err.String())
		}
	}
}

// Till is an object with all that an object may have.
type Till struct{ Currency string }

func (*Till) Add(_ context.Context, sku string, count int) (int, error) { return count, nil }
func (*Till) Reset()                                                    {}

// R31: what can be called, and read, is found out from the command line.
func TestR31Members(t *testing.T) {
	c := serveMath(t, serveHub(t))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := object.Publish(ctx, c, "till", &Till{Currency: "EUR"}, object.Options{})
	require.NoError(t, err)
	_, err = c.Publish(ctx, hub.Object{Name: "mute", Handler: transport.HandlerFunc(
		func(r *transport.Request) { _ = r.Fail(wire.CodeNoMethod, "mute") })})
	require.NoError(t, err)
	r := pithos("", "ls", "objects", "--members")
	require.Zero(t, r.code, r.stderr)
	require.True(t, strings.HasPrefix(r.stdout, "OBJECTS\n  OBJECT  TAG "))
	_, have, _ := strings.Cut(r.stdout, "MEMBERS\n")
	require.Equal(t, `  MEMBER         TAG  KIND      TYPE
  math.abs            method    (any)
  math.wild           method    ()
  math.wait           method    ()
  mute                -         mute
  till.add            method    (string, int) int
  till.reset          method    ()
  till.currency       property  string
`, have)
	r = pithos("", "ls", "objects", "till", "--members", "--json")
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, `[{"name":"till","peers":[2],"calls":1,"methods":[{"name":"add",`)
	require.Contains(t, r.stdout, `"properties":[{"name":"currency","type":"string"}]`)
	pithos("", "ls", "peers", "--members").requireFails(t, "",
		"pithos: --members: only for ls objects\n")

	require.Equal(t, result{stdout: `"EUR"` + "\n"},
		pithos("", "call", "till.currency", "--property"))
	for line, want := range map[string]string{
		"till.currency": "till.currency is a property, which call --property reads; methods of " +
			"till are reset, add",
		"till.add --property": `object till has no property "add": there are currency`,
		"till.ad":             `object till has no method "ad": there are add, reset`,
		"till":                `"till" names no method: object till has add, reset`,
	} {
		pithos("", append([]string{"call"}, strings.Fields(line)...)...).requireFails(t, "",
			"pithos: "+want+"\n")
	}
}

// What is wrong is said, with what would be right.
func TestCallErrors(t *testing.T) {
	serveMath(t, serveHub(t))
	for _, c := range []struct{ args, want string }{
		{"", "what is to be called? want object.method, as in pithos call math.abs -- -1"},
		{"math", `"math" names no method: object math has abs, wait, wild`},
		{"math.", `"math." names no method: object math has abs, wait, wild`},
		{"mat", `"mat" names no object: want object.method, or a --selector`},
		{"math.abs --property -- 5", "--property: 1 arguments, a property takes none"},
		{".abs", `".abs": want object.method`},
		{"math.abs 5", "arguments of the method go behind --, as in pithos call math.abs -- 5"},
		{"math.abs -1", "unknown shorthand flag: '1' in -1; arguments of the method go behind --"},
		{"mat.abs", `no object "mat": there are math`},
		{"math.bas", `object math has no method "bas": there are abs, wait, wild`},
		{"math.abs", "math.abs: abs wants a number"},
		{"math.wait --timeout 1s", "math.wait: no result within 1s"},
		{"math.abs --timeout 0s", "--timeout 0s: want more than 0"},
		{"math.abs --selector appName=other", `object "math" is there, but nobody provides it ` +
			`who is {"appName":"other"}`},
		{"math.abs --selector name=other", `--selector name=other: "name=other": want key=value, ` +
			"the keys are appName, clientId, objectName, objectTag, pid, processName"},
		{"math.abs --selector objectName=mat", "--selector objectName=mat: it is about mat, but " +
			"math.abs about math"},
		{"math.abs --selector {", "--selector {: unexpected end of JSON input"},
		{`math.abs --selector {"pid":5}`, `--selector {"pid":5}: pid: want a string`},
		{`math.abs --selector {"tag":"x"}`, `--selector {"tag":"x"}: unknown key "tag", there ` +
			"are appName, clientId, objectName, objectTag, pid, processName"},
		{"abs --all --selector appName=other", `nobody is found by the selector ` +
			`{"appName":"other"}`},
		{"math.abs --all -- x", "1 of 1 failed: peer 2: abs wants a number"},
	} {
		r := pithos("", append([]string{"call"}, strings.Fields(c.args)...)...)
		require.Equal(t, result{1, "", "pithos: " + c.want + "\n"}, r, c.args)
	}
	r := pithos("", "call", "math.abs", "--json")
	require.Equal(t, 1, r.code)
	require.Empty(t, r.stderr)
	require.Contains(t, r.stdout, `{"error":{"code":12,"message":"math.abs: abs wants a number"}`)
}

// Every verb that needs a hub says where there is none.
func TestNoHub(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nosuch.sock")
	for _, verb := range []string{"ls", "top", "tap", "call a.b", "send a.b"} {
		args := append(strings.Fields(verb), "--socket", path)
		pithos("", args...).requireFails(t, "",
			"pithos: nobody listens at "+path+": there is no such socket\n")
	}
}

func TestSend(t *testing.T) {
	path := serveHub(t)
	got := make(chan string, 10)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	note := transport.HandlerFunc(func(r *transport.Request) {
		got <- string(r.Action()) + " " + string(r.Method()) + " " + string(r.Body())
	})
	c, err := hub.Join(ctx, path, hub.JoinOptions{Handler: note,
		Location: hub.Location{AppName: "shop"}})
	require.NoError(t, err)
	defer c.Close(ctx)
	_, err = c.Publish(ctx, hub.Object{Name: "counter", Handler: note})
	require.NoError(t, err)
	for _, s := range []struct {
		args []string
		want string
	}{
		{[]string{"counter.add", "--", "5", "x"}, ` add [5,"x"]`},
		{[]string{"counter.add", "--all"}, " add []"},
		{[]string{"--event", "reload", "--selector", "appName=shop", "--", `{"a":1}`},
			`reload  {"a":1}`},
		{[]string{"--event", "level", "--selector", "appName=shop", "--", "5"}, "level  5"},
		{[]string{"--event", "level", "--selector", "appName=shop", "high"}, `level  "high"`},
		{[]string{"--event", "stop", "--broadcast"}, "stop  "},
	} {
		r := pithos("", append([]string{"send"}, s.args...)...)
		require.Equal(t, result{}, r, s.args)
		require.Equal(t, s.want, <-got, s.args)
	}
	for _, s := range []struct{ args, want string }{
		{"nosuch.add", `no object "nosuch": there are counter`},
		{"--event x", "--event: to whom? want --selector, or --broadcast"},
		{"--event x --broadcast --selector appName=a", "--broadcast and --selector: only one can " +
			"be meant"},
		{"--event x --broadcast a b", "--event x: 2 arguments, at most one"},
		{"--event x --selector appName=other", `nobody is found by the selector ` +
			`{"appName":"other"}`},
		{"counter.add --broadcast", "--broadcast: only with --event"},
	} {
		r := pithos("", append([]string{"send"}, strings.Fields(s.args)...)...)
		require.Equal(t, result{1, "", "pithos: " + s.want + "\n"}, r, s.args)
	}
}

// TestSendEventToPandora sends events to a peer of Pandora's: any JSON is the data of the message.
func TestSendEventToPandora(t *testing.T) {
	require.NotContains(t, pithos("", "send", "--help").stdout, "an object, is its data")
	conn, err := net.Dial("unix", serveHub(t))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	online := `{"action":"PANDORA_HUB_ACTION_ONLINE_UP","data":{"host":{"appName":"old"}}}`
	head := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0, 1}, uint32(len(online)))
	_, err = conn.Write(append(head, online...))
	require.NoError(t, err)
	for argument, want := range map[string]string{
		"5": "5", "high": `"high"`, "[1]": "[1]", "null": "null", `{"a":1}`: `{"a":1}`,
	} {
		r := pithos("", "send", "--event", "level", "--broadcast", "--", argument)
		require.Equal(t, result{}, r, argument)
		var body struct {
			Action string
			Data   struct {
				Action string
				Data   json.RawMessage
			}
		}
		for body.Action != "PANDORA_HUB_ACTION_MSG_DOWN" { // the first is the answer to online
			head := make([]byte, 9)
			_, err = io.ReadFull(conn, head)
			require.NoError(t, err)
			text := make([]byte, binary.BigEndian.Uint32(head[5:]))
			_, err = io.ReadFull(conn, text)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &body), "%s", text)
		}
		require.Equal(t, "level", body.Data.Action)
		require.JSONEq(t, want, string(body.Data.Data))
	}
}
