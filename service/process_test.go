package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/service"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// patience bounds what takes no time, on a machine that does much else.
const patience = time.Minute

// child is the environment variable that makes a child of the test binary, with its kind.
const child = "PITHOS_SERVICE_TEST_CHILD"

func TestMain(m *testing.M) {
	if kind := os.Getenv(child); kind != "" {
		service.Main(printer("base", kind), printer("web", kind, "base"))
	}
	transporttest.VerifyNoLeaks(m)
}

// printer is a service of a child; by its kind it is "broken", hangs on "hang", or works.
func printer(name, kind string, needs ...string) service.Definition {
	return service.Definition{Name: name, DependsOn: needs,
		New: func(*service.Env) (service.Service, error) {
			return said{name: name, kind: kind}, nil
		}}
}

type said struct{ name, kind string }

func (s said) Start(context.Context) error {
	fmt.Println("start", s.name)
	if s.kind == "broken" && s.name == "web" {
		return errors.New("it broke")
	}
	return nil
}

func (s said) Stop(ctx context.Context) error {
	fmt.Println("stop", s.name)
	if s.kind == "hang" && s.name == "web" {
		<-make(chan struct{})
	}
	return nil
}

// run runs a child and calls each for every line that it prints.
func runChild(t *testing.T, kind string, each func(c *exec.Cmd, line string)) (out []string,
	code int, errs string) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), child+"="+kind, service.Variable+"=")
	var stderr strings.Builder
	c.Stderr = &stderr
	pipe, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	kill := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		out = append(out, lines.Text())
		each(c, lines.Text())
	}
	_ = c.Wait()
	return out, c.ProcessState.ExitCode(), stderr.String()
}

func TestR24Signals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		out, code, _ := runChild(t, "works", func(c *exec.Cmd, line string) {
			if line == "start web" {
				require.NoError(t, c.Process.Signal(s))
			}
		})
		require.Equal(t, []string{"start base", "start web", "stop web", "stop base"}, out)
		require.Zero(t, code)
	}
}

func TestR24SecondSignalForces(t *testing.T) {
	out, code, errs := runChild(t, "hang", func(c *exec.Cmd, line string) {
		switch line {
		case "start web":
			require.NoError(t, c.Process.Signal(syscall.SIGTERM))
		case "stop web":
			require.NoError(t, c.Process.Signal(syscall.SIGINT))
		}
	})
	require.Equal(t, []string{"start base", "start web", "stop web"}, out)
	require.Equal(t, 128+int(syscall.SIGINT), code)
	require.Contains(t, errs, service.ErrForced.Error())
}

func TestProcessThatFails(t *testing.T) {
	out, code, errs := runChild(t, "broken", func(*exec.Cmd, string) {})
	require.Equal(t, []string{"start base", "start web", "stop base"}, out)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "service: start web: it broke\n")
}

// checked is a service that is well, or not.
type checked struct {
	fake
	ill atomic.Bool
}

func (c *checked) Check(context.Context) error {
	if c.ill.Load() {
		return errBroken
	}
	return nil
}

// TestNotify listens as systemd does.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify.sock")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer socket.Close()
	require.NoError(t, socket.SetDeadline(time.Now().Add(patience)))
	hear := func() string {
		b := make([]byte, 100)
		n, err := socket.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	const twice = 100 * time.Millisecond
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt((2*twice).Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &checked{fake: fake{name: "web", diary: newDiary()}}
	ended := make(chan error)
	go func() {
		ended <- service.Run(ctx, service.Options{Assignment: &service.Assignment{All: true},
			Logger: slog.New(slog.DiscardHandler)},
			service.Definition{Name: "web",
				New: func(*service.Env) (service.Service, error) { return c, nil }})
	}()
	require.Equal(t, "READY=1", hear())
	require.Len(t, c.diary.read(), 1, "ready means started")
	for range 3 {
		require.Equal(t, "WATCHDOG=1", hear())
	}
	c.ill.Store(true)
	for quiet := false; !quiet; { // at most one may be under way
		require.NoError(t, socket.SetReadDeadline(time.Now().Add(5*twice)))
		_, err := socket.Read(make([]byte, 100))
		quiet = errors.Is(err, os.ErrDeadlineExceeded)
	}
	require.NoError(t, socket.SetDeadline(time.Now().Add(patience)))
	c.ill.Store(false)
	require.Equal(t, "WATCHDOG=1", hear())
	cancel()
	said := hear()
	for said == "WATCHDOG=1" {
		said = hear()
	}
	require.Equal(t, "STOPPING=1", said)
	require.NoError(t, <-ended)
}
