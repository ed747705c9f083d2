package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
	"github.com/pithos-ipc/pithos/wire"
)

const pingLine = `\d+: \d+(\.\d+)?(ns|µs|ms|s)\n`

func TestPing(t *testing.T) {
	l := transporttest.Listen(t, transport.Options{})
	r := pithos("", "ping", "--socket", l.Address(), "-c", "3", "--interval", "1ms")
	require.Zero(t, r.code, r.stderr)
	require.Regexp(t, `^ping \S+, (uid \d+ gid \d+ pid \d+|unknown peer)\n(`+pingLine+`){3}`+
		`3 sent, 3 answered, min \S+, median \S+, max \S+\n$`, r.stdout)

	t.Setenv(socketVariable, l.Address())
	r = pithos("", "ping", "-c", "1", "--interval", "0")
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, "1 sent, 1 answered")
}

func TestPingJSON(t *testing.T) {
	serveHub(t)
	r := pithos("", "ping", "-c", "2", "--interval", "0", "--json")
	require.Zero(t, r.code, r.stderr)
	require.Regexp(t, `^\{"ping":1,"took_us":[\d.]+\}
\{"ping":2,"took_us":[\d.]+\}
\{"sent":2,"answered":2,"min_us":[\d.]+,"median_us":[\d.]+,"max_us":[\d.]+\}
$`, r.stdout)
}

// TestPingNobody meets sockets at which nobody listens.
func TestPingNobody(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	pithos("", "ping", "--socket", missing).requireFails(t, "",
		"pithos: nobody listens at "+missing+": there is no such socket\n")

	left := filepath.Join(dir, "left")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	l.Close()
	pithos("", "ping", "--socket", left).requireFails(t, "",
		"pithos: nobody listens at "+left+": connection refused\n")

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	pithos("", "ping", "--socket", file).requireFails(t, "",
		"pithos: nobody listens at "+file+": it is no socket\n")

	t.Setenv(socketVariable, missing)
	pithos("", "ping").requireFails(t, "",
		"pithos: nobody listens at "+missing+": there is no such socket\n")
}

// fake is a server that does with each connection what a test says.
func fake(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			do(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

// silence reads and says nothing until the other side leaves.
func silence(c net.Conn) {
	for b := make([]byte, 1024); ; {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// TestPingBadServer meets servers that do not answer as they should.
func TestPingBadServer(t *testing.T) {
	hello := wire.Hello{MinVersion: 1, MaxVersion: 1}
	refusal := wire.Meta{Code: wire.CodeVersion}
	for _, c := range []struct {
		name    string
		timeout string // long where there is an answer, which may take its time
		do      func(net.Conn)
		stdout  string
		stderr  string // what it contains
	}{
		{"says nothing", "50ms", silence, `^$`, "no server answered at "},
		{"hangs up", "1m", func(net.Conn) {}, `^$`, "connection lost"},
		{"another protocol", "1m", func(c net.Conn) {
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			silence(c)
		}, `^$`, "protocol violation"},
		{"another version", "1m", func(c net.Conn) {
			c.Read(make([]byte, 1024))
			c.Write(wire.Frame{Header: wire.Header{Flags: wire.FlagsError},
				Body: append(refusal.AppendTo(nil), "server speaks 7"...)}.AppendTo(nil))
		}, `^$`, "no version in common: server speaks 7"},
		{"no pong", "1s", func(c net.Conn) {
			c.Write(hello.AppendTo(nil))
			silence(c)
		}, `^ping .*\n1: no answer within 1s\n2: no answer within 1s\n2 sent, 0 answered\n$`,
			"2 of 2 pings had no answer"},
		{"hangs up later", "1m", func(c net.Conn) {
			b := make([]byte, 1024)
			c.Read(b)
			c.Write(hello.AppendTo(nil))
			c.Read(b)
		}, `^ping .*\n1 sent, 0 answered\n$`, "ping 1: transport: connection lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			begun := time.Now()
			r := pithos("", "ping", "--socket", fake(t, c.do), "-c", "2", "--timeout",
				c.timeout, "--interval", "0")
			require.Equal(t, 1, r.code)
			require.Regexp(t, c.stdout, r.stdout)
			require.Contains(t, r.stderr, c.stderr)
			require.Regexp(t, `^pithos: [^\n]*\n$`, r.stderr)
			require.Less(t, time.Since(begun), 10*time.Second)
		})
	}
}

func TestPingFlags(t *testing.T) {
	for _, c := range []struct{ flag, value, want string }{
		{"-c", "-1", "--count -1: want 0 or more"},
		{"--interval", "-1s", "--interval -1s: want 0 or more"},
		{"--timeout", "0", "--timeout 0s: want more than 0"},
	} {
		pithos("", "ping", c.flag, c.value).requireFails(t, "", "pithos: "+c.want+"\n")
	}
}
