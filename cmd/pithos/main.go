// Command pithos is the kernel from the command line: it runs a hub, measures, and looks inside.
// Each verb is in the file of its name.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/supervisor"
	"github.com/pithos-ipc/pithos/transport"
)

func main() {
	supervisor.Warden()
	if code, child := benchChild(os.Stderr); child {
		os.Exit(code)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code. Errors go to stderr.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return 0
	}
	if !errors.Is(err, errQuiet) {
		fmt.Fprintf(stderr, "pithos: %s\n", harmless(err.Error()))
	}
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, errInterrupted):
		return 128 + int(syscall.SIGINT)
	}
	return 1
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// errInterrupted is what a signal has made of a verb that was not over.
var errInterrupted = errors.New("interrupted")

// endTime is how long a verb may take to end after a signal.
const endTime = 5 * leaveTime

// endings are the signals that end a process in good order. SIGHUP, which comes when a terminal is
// closed, is one unless it is ignored, as it is under nohup(1).
func endings() []os.Signal {
	s := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		s = append(s, syscall.SIGHUP)
	}
	return s
}

// interruptible runs f with a context that endings end. If f does not return then, since
// nobody reads what it writes, it is left behind, and at a second signal the process ends at once.
func interruptible(cmd *cobra.Command, f func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), endings()...)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	select {
	case err := <-ended:
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return errInterrupted
		}
		return err
	case <-ctx.Done():
	}
	stop()
	select {
	case err := <-ended:
		if errors.Is(err, context.Canceled) {
			return errInterrupted
		}
		return err
	case <-time.After(endTime):
		return fmt.Errorf("%w, and what is written is not read", errInterrupted)
	}
}

// outlivePipes has a write to a pipe that nobody reads any more fail, which ends the process else:
// what has to be stopped in order must not be, by the Ctrl-C that ended the reader, say. It holds
// to the end of the process, which may have an error to tell.
func outlivePipes() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // the write says it, too
}

// socketFlag is the flag that chooses the socket, the same on every verb.
type socketFlag struct {
	path string
}

// socketVariable is the variable of the environment that stands in for the flag.
const socketVariable = "PITHOS_SOCKET"

func (s *socketFlag) register(root *cobra.Command) {
	root.PersistentFlags().StringVar(&s.path, "socket", "", "the socket: a path, or an abstract "+
		"name after '@' (default $"+socketVariable+", else the hub's own)")
}

// address is the socket to use: that of the flag, or of the environment.
func (s *socketFlag) address() (string, error) {
	if s.path != "" {
		return s.path, nil
	}
	if path := os.Getenv(socketVariable); path != "" {
		return path, nil
	}
	return transport.SocketPath("hub")
}

// chosen says whether somebody has named a socket.
func (s *socketFlag) chosen() bool { return s.path != "" || os.Getenv(socketVariable) != "" }

// newRoot makes the command with all its verbs.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "pithos",
		Short: "An IPC kernel for Linux: frames, calls and a hub over Unix sockets",
		Long: `Pithos connects the processes of one machine: over Unix sockets they call each other,
by way of a hub that knows who offers what. It keeps the processes of an application running, as
its process file says.`,
		Example: `  pithos init                   write a process file, pithos.yaml
  pithos dev                    run its processes, with everything visible
  pithos start                  run them in the background; then ps, log, reload, stop
  pithos hub --pandora          run a hub that Pandora's clients find, too
  pithos ping -c 3              see whether it answers, and how fast
  pithos ls                     who is there, and what is published
  pithos call math.abs -- -1    call a method of an object
  pithos top                    watch the hub live
  pithos tap                    see the frames that pass
  pithos bench                  measure the transport beside plain Go
  pithos dump capture.bin       read frames that were written to a file`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	s := &socketFlag{}
	s.register(root)
	root.AddCommand(
		newBench(),
		newCall(s),
		newConfig(),
		newDaemon(s),
		newDev(s),
		newDump(),
		newExit(s),
		newHub(s),
		newInit(),
		newList(s),
		newLog(s),
		newLs(s),
		newPing(s),
		newPs(s),
		newReload(s),
		newRestart(s),
		newScale(s),
		newSend(s),
		newStart(s),
		newStop(s),
		newTap(s),
		newTop(s),
		newVersion(),
	)
	return root
}
