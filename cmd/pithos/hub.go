package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// hubFlags are the flags of hub.
type hubFlags struct {
	pandora  bool
	busyPoll time.Duration
	limits   hub.Limits
	policy   string
	balancer string
	maxConns int
	logs     string
	verbose  bool
	grace    time.Duration
	metrics  string
	pprof    bool
}

func newHub(s *socketFlag) *cobra.Command {
	var f hubFlags
	cmd := &cobra.Command{
		Use:   "hub",
		Short: "Run a hub, which the other processes call each other through",
		Long: `Runs a hub until it is told to stop, and prints where it listens. With --pandora it
listens where Pandora's Node clients look for their hub, too: at
pandorajs_pandora_msg_hub.sock in $PANDORA_TMP_DIR, else in the system's temporary folder.

--metrics serves what the hub counts to Prometheus, over HTTP: at the path of a socket, or at a
loopback address and a port (0: any that is free). There are /metrics, /healthz, and with
--pprof Go's profiles at /debug/pprof/.

SIGTERM, SIGINT and SIGHUP close it in good order: calls under way get an answer, and everything
is sent that was queued. A second signal ends it at once.`,
		Example: `  pithos hub
  pithos hub --pandora
  pithos hub --socket /run/shop/hub.sock --log json
  pithos hub --policy drop-oldest --max-queue 4194304 --balancer least-pending
  pithos hub --metrics 127.0.0.1:9464
  pithos hub --metrics /run/shop/metrics.sock --pprof
  PANDORA_TMP_DIR=/run/shop pithos hub --pandora --busy-poll 0 --max-body 1048576`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			outlivePipes()
			signals := make(chan os.Signal, 2)
			signal.Notify(signals, endings()...)
			defer signal.Stop(signals)
			return f.run(s, cmd.OutOrStdout(), cmd.ErrOrStderr(), signals)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.pandora, "pandora", false, "listen where Pandora's clients look, too")
	flags.DurationVar(&f.busyPoll, "busy-poll", transport.DefaultBusyPoll, "longest time to poll "+
		"before blocking; 0: never poll")
	for _, l := range f.counts() {
		flags.IntVar(l.value, l.flag, l.usual, l.help)
	}
	flags.Int64Var(&f.limits.MaxTotal, "max-total", hub.DefaultMaxTotal, "bytes of them for all "+
		"native peers")
	flags.StringVar(&f.policy, "policy", hub.Block.String(), "for a native peer whose queue is "+
		"full: block, drop-oldest, drop-newest, disconnect")
	flags.StringVar(&f.balancer, "balancer", "round-robin", "who of several gets a call: "+
		strings.Join(balancer.Names(), ", "))
	flags.StringVar(&f.logs, "log", "text", "form of the log on standard error: text, json")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log who comes and goes")
	flags.DurationVar(&f.grace, "grace", 2*time.Second, "time to close in good order")
	flags.StringVar(&f.metrics, "metrics", "", "serve metrics and health over HTTP at this address")
	flags.BoolVar(&f.pprof, "pprof", false, "and Go's profiles")
	return cmd
}

// count is a limit that a flag sets: more than 0, and at most what it says.
type count struct {
	flag  string
	value *int
	usual int
	most  int64
	help  string
}

func (f *hubFlags) counts() []count {
	l := &f.limits
	const free = math.MaxInt64
	return []count{
		{"max-body", &l.MaxBody, hub.DefaultMaxBody, hub.MaxFrame, "largest body of a frame, in " +
			"bytes"},
		{"max-batch", &l.MaxBatch, hub.DefaultMaxBatch, hub.MaxFrame, "largest reply with the " +
			"answers of many, in bytes"},
		{"max-outbox", &l.MaxOutbox, hub.DefaultMaxOutbox, free, "bytes that may wait for a peer " +
			"before it is disconnected; 4 times that for one that reads"},
		{"max-pending", &l.MaxPending, hub.DefaultMaxPending, free, "calls of one peer without " +
			"an answer"},
		{"max-publishing", &l.MaxPublishing, hub.DefaultMaxPublishing, free, "bytes that the " +
			"selectors of one peer take"},
		{"max-queue", &l.MaxQueue, hub.DefaultMaxQueue, free, "bytes of calls and oneways that " +
			"wait for a native peer that takes no more"},
		{"max-routes", &l.MaxRoutes, hub.DefaultMaxRoutes, free, "selectors that one native peer " +
			"has resolved"},
		{"max-watches", &l.MaxWatches, hub.DefaultMaxWatches, free, "watches of one native peer"},
		{"max-conns", &f.maxConns, transport.DefaultMaxConns, free, "connections of each socket"},
	}
}

// run serves until the first of signals, closes in good order, and gives that up at the second.
func (f *hubFlags) run(s *socketFlag, stdout, stderr io.Writer, signals <-chan os.Signal) error {
	log, err := f.logger(stderr)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return err
	}
	o := hub.Options{Limits: f.limits, Logger: log}
	if o.Policy, err = hub.ParsePolicy(f.policy); err != nil {
		return fmt.Errorf("--policy: %w", err)
	}
	if o.Picker, err = balancer.Parse(f.balancer); err != nil {
		return fmt.Errorf("--balancer: %w", err)
	}
	o.Transport.BusyPoll = &f.busyPoll
	o.Transport.Authorize = transport.SameUser // abstract sockets have no other guard
	o.Transport.Limits.MaxConns = f.maxConns
	h := hub.New(o)
	if err := f.listen(h, s, stdout, log); err != nil {
		return errors.Join(err, f.close(h, log, signals))
	}
	numbers, err := f.serveMetrics(h, stdout, log)
	if err != nil {
		return errors.Join(err, f.close(h, log, signals))
	}
	signal := <-signals
	numbers.leave()
	defer numbers.close()
	log.Info("stopping", "signal", signal.String())
	return f.close(h, log, signals)
}

// serveMetrics serves the numbers where that was asked for, and prints where.
func (f *hubFlags) serveMetrics(h *hub.Hub, stdout io.Writer, log *slog.Logger) (*metricsServer,
	error) {
	if f.metrics == "" {
		return nil, nil
	}
	m, err := serveMetrics(h, f.metrics, f.pprof, log)
	if err == nil {
		fmt.Fprintf(stdout, "metrics at %s\n", m.address())
	}
	return m, err
}

func (f *hubFlags) check() error {
	for _, l := range f.counts() {
		if *l.value <= 0 {
			return fmt.Errorf("--%s %d: want more than 0", l.flag, *l.value)
		}
		if int64(*l.value) > l.most {
			return fmt.Errorf("--%s %d: want at most %d", l.flag, *l.value, l.most)
		}
	}
	if f.limits.MaxTotal <= 0 {
		return fmt.Errorf("--max-total %d: want more than 0", f.limits.MaxTotal)
	}
	if f.metrics != "" {
		if _, _, err := metricsAddress(f.metrics); err != nil {
			return err
		}
	} else if f.pprof {
		return errors.New("--pprof: where? want --metrics with an address")
	}
	if f.busyPoll < 0 {
		return fmt.Errorf("--busy-poll %s: want 0 or more", f.busyPoll)
	}
	if f.grace < 0 {
		return fmt.Errorf("--grace %s: want 0 or more", f.grace)
	}
	return nil
}

func (f *hubFlags) logger(w io.Writer) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if f.verbose {
		o.Level = slog.LevelDebug
	}
	switch f.logs {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log %q: want text or json", f.logs)
}

// listen binds the sockets and prints them. With --pandora, that the hub's usual place cannot be
// had is no reason to fail: another hub may have it, since there may be one for each folder of
// Pandora's, and Pandora's clients do not need it.
func (f *hubFlags) listen(h *hub.Hub, s *socketFlag, stdout io.Writer, log *slog.Logger) error {
	var addresses []string
	if f.pandora {
		addresses = append(addresses, hub.PandoraPath())
		clearFile(addresses[0], log)
	}
	own, err := s.address()
	if err == nil && (!f.pandora || own != addresses[0]) {
		addresses = append(addresses, own)
	}
	spare := f.pandora && !s.chosen()
	if err != nil && !spare {
		return err
	}
	for i, a := range addresses {
		failed := h.Listen(a)
		for began := time.Now(); f.pandora && i == 0 && errors.Is(failed, transport.ErrInUse) &&
			time.Since(began) < dying; failed = h.Listen(a) {
			time.Sleep(dying / 100)
		}
		if failed != nil && i > 0 && spare {
			err = failed
			continue
		}
		if failed != nil {
			return failed
		}
		fmt.Fprintf(stdout, "listening at %s\n", a)
	}
	if errors.Is(err, transport.ErrInUse) {
		log.Warn("another hub is at the usual socket", "socket", own)
	} else if err != nil {
		log.Warn("the usual socket cannot be had", "cause", err)
	}
	return nil
}

// dying is how long a hub at Pandora's path may still take to end: Pandora's own takes its place at
// once, and whoever starts the next one may not wait for the last.
const dying = 2 * time.Second

// clearFile removes a regular file from Pandora's path, or a link that leads to no socket, as
// Pandora's hub does: its name says that it is for the hub's socket. A socket is left to Listen,
// which finds out whether somebody is there.
func clearFile(path string, log *slog.Logger) {
	const link = fs.ModeSymlink
	if st, err := os.Lstat(path); err != nil || st.Mode().Type()&^link != 0 {
		return
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return
	}
	if err := os.Remove(path); err != nil {
		log.Warn("a file is where the socket has to be", "path", path, "cause", err)
		return
	}
	log.Warn("removed a file from where the socket has to be", "path", path)
}

// close ends h in good order, within the time there is and until the next signal.
func (f *hubFlags) close(h *hub.Hub, log *slog.Logger, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), f.grace)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- h.Close(ctx) }() // ends with the process at the latest
	for began := time.Now(); ; {
		select {
		case err := <-closed:
			if err != nil {
				log.Warn("closed, not everything was finished", "lost", err)
			}
			return nil
		case s := <-signals:
			if time.Since(began) > oneSignal {
				return fmt.Errorf("forced to stop by a second signal: %s", s)
			}
		}
	}
}

// oneSignal is how long after a signal the next ones are taken for the same: timeout(1) sends one
// to the process and one to its group.
const oneSignal = 250 * time.Millisecond
