package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/daemon"
	"github.com/pithos-ipc/pithos/transport"
)

// daemonVariable is the variable of the environment that stands in for --daemon.
const daemonVariable = "PITHOS_DAEMON"

// daemonFlag is the flag that chooses the daemon, the same on every verb that talks to it.
type daemonFlag struct {
	path   string
	json   bool
	socket *socketFlag
}

func (d *daemonFlag) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.path, "daemon", "", "the daemon's socket: a path (default $"+
		daemonVariable+", else the user's own)")
}

// registerJSON is register for a verb that has a result.
func (d *daemonFlag) registerJSON(cmd *cobra.Command) {
	d.register(cmd)
	cmd.Flags().BoolVar(&d.json, "json", false, "print the result as JSON")
}

// address is the daemon's socket, and folder that of its state. A daemon with a socket of its own
// has a folder of its own, beside it.
func (d *daemonFlag) address() (address, folder string, err error) {
	address = d.path
	if address == "" {
		address = os.Getenv(daemonVariable)
	}
	if strings.HasPrefix(address, "@") {
		return "", "", fmt.Errorf("--daemon %s: want a path, beside which its state is kept",
			address)
	}
	if address != "" {
		address, err = filepath.Abs(address)
		return address, address + ".state", err
	}
	if address, err = transport.SocketPath("daemon"); err != nil {
		return "", "", err
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", "", fmt.Errorf("no place for the daemon's state, set XDG_STATE_HOME: %w",
				err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return address, filepath.Join(state, "pithos"), nil
}

// errNoDaemon says that there is none to ask.
var errNoDaemon = errors.New("no daemon is running; \"pithos start\" starts one")

// connect connects to the daemon that is there.
func (d *daemonFlag) connect(ctx context.Context) (*daemon.Client, error) {
	address, _, err := d.address()
	if err != nil {
		return nil, err
	}
	if d.socket.path != "" {
		return nil, errors.New("--socket is the hub's; the daemon's is chosen by --daemon")
	}
	if !daemon.Alive(address) {
		return nil, fmt.Errorf("%w (nobody listens at %s)", errNoDaemon, address)
	}
	c, err := daemon.Dial(ctx, address)
	if err != nil {
		return nil, explainDial(address, transport.DefaultHelloTimeout, err)
	}
	return c, nil
}

// ask connects to the daemon, until a signal comes; a second one ends the process.
func (d *daemonFlag) ask(f func(ctx context.Context, c *daemon.Client) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	c, err := d.connect(ctx)
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	err = f(ctx, c)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w; the daemon goes on with what it was asked for", errInterrupted)
	}
	return errors.Join(err, c.Close())
}

// print prints v as JSON, or else the text.
func (d *daemonFlag) print(w io.Writer, v any, format string, args ...any) error {
	if !d.json {
		_, err := fmt.Fprintf(w, format, args...)
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// done is the result of a command that has none of its own.
type done struct {
	Done    string   `json:"done"`
	Targets []string `json:"targets,omitempty"`
}

func newDaemon(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	var logs, file string
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "Be the daemon, in the foreground",
		Long: `Runs the daemon that start, stop, ps and others talk to, until it gets SIGTERM,
SIGINT or SIGHUP, or exit is called; a second signal kills what is left. There is no need to call
it: start starts one in the background. It is for those who want their system to keep it running.
One daemon listens at one socket; a second one refuses.`,
		Example: `  pithos daemon
  pithos daemon --daemon /run/shop/daemon.sock --log json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			outlivePipes()
			signals := make(chan os.Signal, 2)
			signal.Notify(signals, endings()...)
			defer signal.Stop(signals)
			out := cmd.ErrOrStderr()
			if file != "" {
				to := openDaemonLog(file, os.Stderr)
				defer to.Close()
				out = to
			}
			log, err := (&hubFlags{logs: logs}).logger(out)
			if err != nil {
				return err
			}
			return d.serve(log, signals)
		},
	}
	d.register(cmd)
	cmd.Flags().StringVar(&logs, "log", "text", "form of the log: text, json")
	cmd.Flags().StringVar(&file, "log-file", "", "write the log to this file, of which 5 old ones "+
		"of 10 MiB are kept, and not to standard error")
	return cmd
}

// serve is the daemon.
func (d *daemonFlag) serve(log *slog.Logger, signals <-chan os.Signal) error {
	address, folder, err := d.address()
	if err != nil {
		return err
	}
	o, err := appOptions(d.socket.path)
	if err != nil {
		return err
	}
	if runtime.GOOS == "linux" { // the file may be replaced or removed while the daemon runs
		o.Hub[0] = "/proc/self/exe"
	}
	s, err := daemon.Listen(address, daemon.Options{App: o, Check: hubFree, Folder: folder,
		Logger: log})
	if errors.Is(err, transport.ErrInUse) {
		return fmt.Errorf("a daemon is running already, at %s", address)
	}
	if err != nil {
		return err
	}
	log.Info("listening", "socket", address, "state", folder)
	select {
	case <-s.Exit():
	case sig := <-signals:
		log.Info("stopping", "signal", sig.String())
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }() // waited for below
	for {
		select {
		case err := <-closed:
			return err
		case <-signals:
			log.Warn("killing what is left")
			s.Kill()
		}
	}
}

// kept are the variables that a daemon in the background takes over from who started it; those of
// an application come with its start.
var kept = [...]string{"HOME", "PATH", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR",
	"XDG_STATE_HOME", "PANDORA_TMP_DIR"}

// spawn starts a daemon in the background and waits until it answers. Its log is in the folder of
// its state.
func (d *daemonFlag) spawn(ctx context.Context) error {
	address, folder, err := d.address()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	if err != nil {
		return err
	}
	path := filepath.Join(folder, "daemon.log")
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "daemon", "--log-file", path)
	if d.path != "" || os.Getenv(daemonVariable) != "" {
		cmd.Args = append(cmd.Args, "--daemon", address)
	}
	cmd.Env = []string{}
	for _, name := range kept {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Dir, cmd.Stderr = folder, log
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the daemon, or with this process
	over := false
	for end := time.Now().Add(20 * time.Second); !daemon.Alive(address); {
		select {
		case <-ended: // perhaps because another one was faster, which is about to listen
			over, end = true, time.Now().Add(time.Second)
		default:
		}
		if !pause(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
		switch {
		case time.Now().Before(end):
		case over:
			return fmt.Errorf("the daemon has ended at once: %s", logSince(path, begin))
		default:
			return fmt.Errorf("the daemon does not listen at %s; its log is %s", address, path)
		}
	}
	return nil
}

// logSince returns what was written to a log from that place on.
func logSince(path string, begin int64) string {
	b, err := os.ReadFile(path)
	if int64(len(b)) < begin { // it was rotated
		begin = 0
	}
	if err != nil || int64(len(b)) == begin {
		return "its log is " + path
	}
	return strings.TrimPrefix(strings.TrimSpace(string(b[begin:])), "pithos: ")
}
