package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// tapper is what tap is asked to do.
type tapper struct {
	options hub.TapOptions
	kinds   []string
	file    string
	count   int
	length  time.Duration
	timeout time.Duration
	printer recordPrinter
	seen    int
	lost    uint64
}

func newTap(s *socketFlag) *cobra.Command {
	var t tapper
	cmd := &cobra.Command{
		Use:   "tap",
		Short: "Record the frames that pass the hub",
		Long: `Records calls, replies and oneways as they pass a hub that is running, with the names
of who sends and who gets them, the object and the method, and how long each call took. It
prints a line for each, or with -o writes them to a file that "pithos dump" reads. They come in
batches, ten times a second.

The hub never waits for whoever taps it, and spends little on it; the tap itself runs only when
the processors have nothing else to do. What is over --rate, or finds --buffer full, is not
recorded but counted. How many those were stands where they are missing,
and in all at the end, on standard error. A tenth of the rate may come in a row, so that calls
stand beside their replies. To see all of what is of interest, choose rather than raise the
rate: --peer, --object and --method choose by name, in which * stands for any text; --kind by
call, reply, error, oneway, control.`,
		Example: `  pithos tap
  pithos tap --object math --kind call,reply
  pithos tap --peer 'web*' --body 4096 --json
  pithos tap -o frames.tap --for 10s; pithos dump frames.tap`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.check(); err != nil {
				return err
			}
			address, err := s.address()
			if err != nil {
				return err
			}
			return interruptible(cmd, func(ctx context.Context) error {
				return t.run(ctx, address, cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&t.options.Peer, "peer", "", "only frames from or to the peers of this name")
	flags.StringVar(&t.options.Object, "object", "", "only those about this object")
	flags.StringVar(&t.options.Method, "method", "", "only those of this method")
	flags.StringSliceVar(&t.kinds, "kind", nil, "only these kinds: call, reply, error, oneway, "+
		"control")
	flags.StringVarP(&t.file, "output", "o", "", "write the records to this file")
	flags.IntVarP(&t.count, "count", "c", 0, "end after so many frames; 0: when interrupted")
	flags.DurationVar(&t.length, "for", 0, "end after so long; 0: when interrupted")
	flags.IntVar(&t.options.Body, "body", hub.DefaultTapBody, "bytes that are kept of each payload")
	flags.IntVar(&t.options.Rate, "rate", hub.DefaultTapRate, "frames a second that are recorded "+
		"at most; 0: all of them")
	flags.IntVar(&t.options.Buffer, "buffer", hub.DefaultTapBuffer, "bytes that wait at the hub")
	flags.IntVar(&t.printer.width, "width", 60, "how much of a payload is shown, in characters")
	flags.BoolVar(&t.printer.json, "json", false, "each frame as an object of JSON")
	registerTimeout(cmd, &t.timeout)
	return cmd
}

// check judges the flags, and says them as the hub wants them.
func (t *tapper) check() error {
	for _, n := range [...]struct {
		flag  string
		value int
	}{
		{"body", t.options.Body}, {"rate", t.options.Rate}, {"count", t.count},
		{"width", t.printer.width},
	} {
		if n.value < 0 {
			return fmt.Errorf("--%s %d: want 0 or more", n.flag, n.value)
		}
	}
	if t.options.Buffer <= 0 {
		return fmt.Errorf("--buffer %d: want more than 0", t.options.Buffer)
	}
	if t.length < 0 || t.timeout <= 0 {
		return fmt.Errorf("--for %s, --timeout %s: want more than 0", t.length, t.timeout)
	}
	if t.file != "" && t.printer.json {
		return errors.New("--json and --output: the file has a form of its own, which " +
			"dump --json reads")
	}
	for _, name := range t.kinds {
		k, ok := wire.ParseTapKind(name)
		if !ok || k == wire.TapNote {
			return fmt.Errorf("--kind %q: want call, reply, error, oneway or control", name)
		}
		t.options.Kinds = append(t.options.Kinds, k)
	}
	if t.options.Body == 0 {
		t.options.Body = -1
	}
	if t.options.Rate == 0 {
		t.options.Rate = -1
	}
	t.printer.width = min(t.printer.width, maxWidth)
	t.printer.zone = time.Local
	return nil
}

// run records until it is enough, or ctx ends.
func (t *tapper) run(ctx context.Context, address string, stdout, stderr io.Writer) (err error) {
	if stdout == os.Stdout { // the process is for the tap alone
		stepBack()
	}
	var file *os.File
	if t.file != "" { // what it holds stays until there is something to write
		if file, err = os.OpenFile(t.file, os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
	}
	// Who interrupts it may know that the hub records already: it gets the time to say what.
	dialCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(leaveTime, cancel) })()
	tap, err := hub.OpenTap(dialCtx, address, hub.Location{AppName: "pithos", ProcessName: "tap"},
		t.options)
	if err != nil {
		return explainDial(address, t.timeout, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
		defer cancel()
		_ = tap.Close(ctx) // what it had is here
	}()
	out := stdout
	if file != nil {
		if err := empty(file); err != nil {
			return err
		}
		if _, err := io.WriteString(file, wire.TapMagic); err != nil {
			return err
		}
		out = file
	}
	if t.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.length)
		defer cancel()
	}
	t.printer.out = bufio.NewWriterSize(out, 64<<10)
	err = t.record(ctx, tap)
	if errors.Is(err, transport.ErrConnLost) {
		err = fmt.Errorf("the hub at %s is gone: %w", address, err)
	}
	if e := t.printer.out.Flush(); err == nil {
		err = e
	}
	if t.file != "" || t.lost > 0 {
		fmt.Fprintf(stderr, "%d frames recorded, %d were not: --rate, --buffer\n", t.seen, t.lost)
	}
	return err
}

// record takes what the tap has, until it is enough. When ctx ends, what was recorded until then
// still comes.
func (t *tapper) record(ctx context.Context, tap *hub.RemoteTap) error {
	rest, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(leaveTime, cancel)
		if tap.Stop(rest) != nil {
			cancel()
		}
	})()
	for {
		b, err := tap.Next(rest)
		if err != nil && ctx.Err() != nil {
			return nil // it was to end
		}
		if err != nil {
			return err
		}
		for len(b) > 0 {
			r, n, err := wire.ParseTapRecord(b)
			if err != nil {
				return fmt.Errorf("from the hub: %w", err)
			}
			t.lost += r.Lost
			if t.file == "" {
				err = t.printer.print(&r)
			} else {
				_, err = t.printer.out.Write(b[:n])
			}
			if err != nil {
				return err
			}
			if b = b[n:]; r.Kind == wire.TapNote {
				continue
			}
			if t.seen++; t.seen == t.count {
				return nil
			}
		}
		if err := t.printer.out.Flush(); err != nil {
			return err
		}
	}
}
