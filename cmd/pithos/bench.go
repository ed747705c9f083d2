package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/bench"
)

// bencher is what bench is asked to do.
type bencher struct {
	options  bench.Options
	jsonPath string
	svgPath  string
	add      bool
	list     bool
	quiet    bool
	out      io.Writer
}

func newBench() *cobra.Command {
	var b bencher
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the transport and the hub beside plain Go, raw sockets and bare rings",
		Long: `Starts server processes of its own and measures, side by side and in turns: this
transport through shared memory and over sockets, its portable loop, a plain net.UnixConn
multiplexer, a caller that reads its own answer, the raw socket and bare rings in shared memory; the
hub beside a plain one; and Pandora's clients in Node, where there is Node. Every row does the
same work. Prints a table with the medians of the rounds, their spread, and the ratios to rows of
the same run. Whatever else the machine does shows in the figures; the ratios suffer least. A full
run takes about ten minutes.`,
		Example: `  pithos bench
  pithos bench --rounds 3 --duration 200ms --scenario latency
  pithos bench --row pithos --row plain --scenario 'callers-*'
  pithos bench --json bench.json --svg bench.svg
  pithos bench --json bench.json --add --scenario hub
  pithos bench --list`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.check(); err != nil {
				return err
			}
			b.out = cmd.OutOrStdout()
			if !b.quiet {
				b.options.Progress = cmd.ErrOrStderr()
			}
			if b.list {
				return b.writeList()
			}
			return interruptible(cmd, b.run)
		},
	}
	f := cmd.Flags()
	f.IntVar(&b.options.Rounds, "rounds", 5, "rounds, in each of which everything is measured once")
	f.DurationVar(&b.options.Duration, "duration", 500*time.Millisecond, "of one measurement")
	f.StringArrayVar(&b.options.Rows, "row", nil, "only this row, or those that match a pattern "+
		"such as 'raw-*'; may be repeated")
	f.StringArrayVar(&b.options.Scenarios, "scenario", nil, "only this scenario, those of a "+
		"group, or those that match a pattern; may be repeated")
	f.DurationVar(&b.options.BusyPoll, "busy-poll", 0, "how long the row pithos spins before it "+
		"blocks (default that of the transport)")
	f.IntVar(&b.options.Peers, "peers", 10_000, "that join the hub in the scenario hub-scale")
	f.StringVar(&b.jsonPath, "json", "", "write every figure to this `file`")
	f.BoolVar(&b.add, "add", false, "keep what the file of --json has of other scenarios, and "+
		"show both")
	f.StringVar(&b.svgPath, "svg", "", "draw the medians into this `file`")
	f.StringVar(&b.options.Profiles, "profiles", "", "write a CPU profile of each process and "+
		"measurement into this `folder`")
	f.BoolVar(&b.list, "list", false, "say which rows and scenarios there are, and end")
	f.BoolVarP(&b.quiet, "quiet", "q", false, "no progress on stderr")
	return cmd
}

func (b *bencher) check() error {
	o := b.options
	switch {
	case o.Rounds < 1:
		return fmt.Errorf("--rounds %d: want 1 or more", o.Rounds)
	case o.Duration <= 0:
		return fmt.Errorf("--duration %s: want more than 0", o.Duration)
	case o.Peers < 1:
		return fmt.Errorf("--peers %d: want 1 or more", o.Peers)
	case o.BusyPoll < 0:
		return fmt.Errorf("--busy-poll %s: want 0 or more", o.BusyPoll)
	}
	if b.add && b.jsonPath == "" {
		return errors.New("--add: to what? want --json, too")
	}
	if o.Profiles == "" {
		return nil
	}
	info, err := os.Stat(o.Profiles)
	if err != nil {
		return fmt.Errorf("--profiles: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("--profiles %s: not a folder", o.Profiles)
	}
	return nil
}

// run measures and writes. The files are opened first: a bad path should not cost a run, and a run
// that comes to nothing should not cost what they hold.
func (b *bencher) run(ctx context.Context) (err error) {
	var earlier *bench.Report
	if b.add {
		if earlier, err = readReport(b.jsonPath); err != nil {
			return err
		}
	}
	outputs := []struct {
		path  string
		write func(*bench.Report, io.Writer) error
		file  *os.File
	}{
		{path: b.jsonPath, write: (*bench.Report).WriteJSON},
		{path: b.svgPath, write: (*bench.Report).WriteSVG},
	}
	for i, o := range outputs {
		if o.path == "" {
			continue
		}
		if outputs[i].file, err = os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE, 0o666); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, outputs[i].file.Close()) }()
	}
	report, err := bench.Run(ctx, b.options)
	if report == nil && earlier != nil { // what there was is not lost
		report, earlier = earlier, nil
	}
	if report == nil {
		return err
	}
	if earlier != nil {
		report.Include(earlier)
	}
	err = errors.Join(err, report.WriteTable(b.out))
	for _, o := range outputs {
		if o.file != nil {
			err = errors.Join(err, empty(o.file), o.write(report, o.file))
		}
	}
	return errors.Join(err, report.Err())
}

// empty removes what f holds, if it is a file that can hold something.
func empty(f *os.File) error {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return err
	}
	return f.Truncate(0)
}

// readReport reads the report of an earlier run; nil: there is none yet.
func readReport(path string) (*bench.Report, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	report, err := bench.ReadReport(file)
	if err != nil {
		return nil, fmt.Errorf("--add: %s: %w", path, err)
	}
	return report, nil
}

func (b *bencher) writeList() error {
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "rows:")
	for _, r := range bench.Rows() {
		fmt.Fprintf(w, "  %s\t%s\n", r.Name, r.About)
	}
	fmt.Fprintln(w, "scenarios:")
	group := ""
	for _, s := range bench.Scenarios() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(w, " %s:\n", group)
		}
		fmt.Fprintf(w, "  %s\t%s\n", s.Name, s.About)
	}
	return w.Flush()
}

// benchChild is the work of a server process that bench has started, if this is one. Its exit code
// counts then.
func benchChild(stderr io.Writer) (code int, child bool) {
	child, err := bench.Child()
	if err != nil {
		fmt.Fprintln(stderr, "pithos: "+strings.TrimSpace(err.Error()))
		return 1, child
	}
	return 0, child
}
