package transport_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// Tests with real child processes run the test binary once more: childRole says which of the roles
// it plays, childOrder what exactly.
const (
	childRole  = "PITHOS_TEST_CHILD"
	childOrder = "PITHOS_TEST_ORDER"
)

// order is what a child is told.
type order struct {
	Engine  int // index into engines
	Address string
	Ending  string
	Count   int
	Size    int
}

func (o order) of(p transport.Options) transport.Options { return engines[o.Engine].of(p) }

// roles are what children can be. What a role returns is printed, and the child fails.
var roles = map[string]func(order) error{
	"serve":     childServes,
	"endless":   childCallsForEver,
	"sends":     childSends,
	"floods":    childFloods,
	"counts":    childCounts,
	"idle":      func(order) error { fmt.Println("ready"); select {} },
	"dials":     childDials,
	"listens":   childListens,
	"overflow":  childIsOverflow,
	"activated": childIsActivated,
	"beside":    childBeside,
}

// runChild plays a role and ends the process.
func runChild(role string) {
	var o order
	err := json.Unmarshal([]byte(os.Getenv(childOrder)), &o)
	if err == nil {
		if play := roles[role]; play != nil {
			err = play(o)
		} else {
			err = fmt.Errorf("no role %q", role)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a process that plays a role.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	out *bufio.Reader
}

// newChild prepares a child; start starts it.
func newChild(t testing.TB, role string, o order) *child {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childRole+"="+role, childOrder+"="+string(text),
		"GORACE=atexit_sleep_ms=0") // or each child takes a second to end under the race detector
	cmd.Stderr = os.Stderr
	return &child{t: t, cmd: cmd}
}

// start starts the child; it is killed at the end of the test at the latest.
func (c *child) start() *child {
	c.t.Helper()
	out, err := c.cmd.StdoutPipe()
	require.NoError(c.t, err)
	c.out = bufio.NewReader(out)
	require.NoError(c.t, c.cmd.Start())
	c.t.Cleanup(c.kill)
	return c
}

// startChild starts a child in a role.
func startChild(t testing.TB, role string, o order) *child {
	t.Helper()
	return newChild(t, role, o).start()
}

// line returns the next line that the child prints.
func (c *child) line() string {
	c.t.Helper()
	lines := make(chan string, 1)
	go func() {
		s, _ := c.out.ReadString('\n')
		lines <- s
	}()
	s := receive(c.t, lines, "a line of the child")
	if s == "" {
		return ""
	}
	return s[:len(s)-1]
}

// stop stops the child with SIGSTOP, and returns when it is stopped.
func (c *child) stop() {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(syscall.SIGSTOP))
	stat := fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid)
	if _, err := os.Stat(stat); err != nil {
		time.Sleep(100 * time.Millisecond)
		return
	}
	eventually(c.t, func() bool {
		b, err := os.ReadFile(stat)
		return err == nil && bytes.Contains(b, []byte(") T "))
	}, "the child is stopped")
}

// kill ends the child with SIGKILL and reaps it.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// wait reaps a child that ends by itself, and returns what it printed.
func (c *child) wait() string {
	c.t.Helper()
	timer := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	b, _ := io.ReadAll(c.out)
	_ = c.cmd.Wait()
	return string(b)
}

// childServes echoes, and is "ready" when it listens. A Count is one of loops.
func childServes(o order) error {
	p := handler(echo)
	if o.Count > 0 {
		var err error
		if p.Group, err = transport.NewGroup(o.Count, 0); err != nil {
			return err
		}
	}
	if _, err := transport.Listen(o.Address, o.of(p)); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// childCallsForEver calls its parent and is called by it, until it is killed.
func childCallsForEver(o order) error {
	c, err := transport.Dial(background, o.Address, o.of(handler(echo)))
	if err != nil {
		return err
	}
	for i := uint64(0); ; i++ {
		if _, err := c.Call(background, body(i, 1000), nil); err != nil {
			return err
		}
		if i == 0 {
			fmt.Println("ready")
		}
	}
}

// childSends sends oneways and ends as it is told, right after the last one is written.
func childSends(o order) error {
	c, err := transport.Dial(background, o.Address, o.of(transport.Options{}))
	if err != nil {
		return err
	}
	for i := range o.Count {
		if err := c.Send(background, body(uint64(i), o.Size)); err != nil {
			return err
		}
	}
	if o.Ending == "close" {
		return c.Close(background)
	}
	for c.Stats().OutboxFrames > 0 {
		time.Sleep(10 * time.Microsecond)
	}
	if o.Ending == "exit" {
		os.Exit(0)
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		return err
	}
	select {}
}

// childCounts counts the oneways that its parent sends, answers "count" with their number and
// everything else with the same, until it is killed.
func childCounts(o order) error {
	var n atomic.Int64
	c, err := transport.Dial(background, o.Address, o.of(handler(func(r *transport.Request) {
		switch {
		case r.Oneway():
			n.Add(1)
		case string(r.Method()) == "count":
			_ = r.Reply([]byte(strconv.FormatInt(n.Load(), 10)))
		default:
			echo(r)
		}
	})))
	if err != nil {
		return err
	}
	if err := c.Ping(background); err != nil {
		return err
	}
	fmt.Println("ready")
	<-c.Done()
	return nil
}

// childFloods sends oneways without a pause, is "ready" after the first Count of them, and prints
// how many there have been since when it is told to stop.
func childFloods(o order) error {
	c, err := transport.Dial(background, o.Address, o.of(transport.Options{}))
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	b := body(1, o.Size)
	for i := 0; ; i++ {
		if err := c.Send(background, b); err != nil {
			return err
		}
		if i == o.Count {
			fmt.Println("ready")
		}
		if len(stop) > 0 && i >= o.Count {
			fmt.Println(i - o.Count)
			return nil
		}
	}
}

// childDials prints how its Dial went.
func childDials(o order) error {
	c, err := transport.Dial(background, o.Address, o.of(transport.Options{}))
	if err != nil {
		return err
	}
	b, err := c.Call(background, []byte("hi"), nil)
	if err != nil {
		return err
	}
	fmt.Println(string(b))
	return nil
}

// childListens prints how its Listen went.
func childListens(o order) error {
	l, err := transport.Listen(o.Address, o.of(transport.Options{}))
	if err != nil {
		return err
	}
	return l.Close(background)
}

// childIsOverflow is run with the uid that stands for every uid without a number.
func childIsOverflow(order) error {
	return transport.SameUser(transport.Credentials{Known: true, UID: uint32(os.Geteuid())})
}

// childIsActivated serves what it was started with. The pid that LISTEN_PID has to name is known
// only to the child itself.
func childIsActivated(o order) error {
	if os.Getenv("LISTEN_PID") == "self" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	listeners, err := transport.Activated(o.of(handler(echo)))
	if err != nil {
		return err
	}
	again, err := transport.Activated(o.of(handler(echo)))
	fmt.Printf("%d, then %d %v", len(listeners), len(again), err)
	for _, l := range listeners {
		fmt.Printf(" %s", l.Address())
	}
	fmt.Printf(" %q\n", os.Getenv("LISTEN_FDS"))
	var b [1]byte
	_, _ = os.Stdin.Read(b[:])
	for _, l := range listeners {
		if err := l.Close(background); err != nil {
			return err
		}
	}
	return nil
}
