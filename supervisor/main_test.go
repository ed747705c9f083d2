package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/pithos-ipc/pithos/supervisor"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// roleEnv names what the test binary is instead of a test.
const roleEnv = "PITHOS_TEST_ROLE"

var roles = map[string]func(args []string){
	"supervise": supervise,
	"flood":     flood,
	"notify":    notify,
	"stubborn":  stubborn,
}

// TestMain lets the test binary be the warden, and the programs that tests need.
func TestMain(m *testing.M) {
	supervisor.Warden()
	if role, ok := roles[os.Getenv(roleEnv)]; ok {
		role(os.Args[1:])
		os.Exit(0)
	}
	transporttest.VerifyNoLeaks(m)
}

// as is a Spec of the test binary in a role.
func as(name, role string, args ...string) supervisor.Spec {
	exe, err := os.Executable()
	must(err)
	env := []string{roleEnv + "=" + role}
	return supervisor.Spec{Name: name, Command: exe, Args: args, Env: env}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// supervise runs the processes in the environment variable SPECS until SIGTERM; a second one kills.
// It prints what Start returned, that it was told to end, and the end.
func supervise([]string) {
	var specs []supervisor.Spec
	must(json.Unmarshal([]byte(os.Getenv("SPECS")), &specs))
	s, err := supervisor.New(supervisor.Options{Cgroup: os.Getenv("CGROUP")}, specs...)
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		fmt.Println("interrupted")
		cancel()
		<-signals
		s.Kill()
	}()
	go func() { fmt.Println("started", s.Start(context.Background())) }()
	fmt.Println("ended", s.Run(ctx))
}

// flood writes 1 KiB lines without end, or as many as its argument says.
func flood(args []string) {
	line := bytes.Repeat([]byte("y"), 1024)
	line[1023] = '\n'
	chunk := bytes.Repeat(line, 64)
	n := -1
	if len(args) > 0 {
		_, err := fmt.Sscan(args[0], &n)
		must(err)
	}
	for ; n != 0; n-- {
		if _, err := os.Stdout.Write(chunk); err != nil {
			return
		}
	}
}

// notify sends its arguments by sd_notify, each as one message; "wait" waits for SIGUSR1 instead.
func notify(args []string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	name := os.Getenv("NOTIFY_SOCKET")
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: name})
	must(err)
	for _, a := range args {
		if a == "wait" {
			<-signals
			continue
		}
		_, err := conn.Write([]byte(strings.ReplaceAll(a, "ITSELF", fmt.Sprint(os.Getpid()))))
		must(err)
	}
	select {}
}

// stubborn ignores what asks it to end, and is ready when it does.
func stubborn([]string) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	notify([]string{"READY=1"})
}
