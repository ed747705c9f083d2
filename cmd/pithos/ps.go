package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/daemon"
)

// psWindow is the time over which the use of processors is measured.
const psWindow = 200 * time.Millisecond

func newPs(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	cmd := &cobra.Command{
		Use:   "ps [APP | APP/PROCESS]...",
		Short: "Show the processes of applications",
		Long: `Shows applications as trees of processes: the state of each instance, its pid, how
often it was started again, for how long it has been running, what it uses (processors over a
fifth of a second, and memory, with its children), and how it ended last. Of one that crashes
again and again the last lines that it wrote are shown.`,
		Example: `  pithos ps
  pithos ps shop
  pithos ps shop/api --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.ask(func(ctx context.Context, c *daemon.Client) error {
				before, err := c.Status(ctx, args...)
				if err != nil {
					return err
				}
				if d.json {
					return d.print(cmd.OutOrStdout(), before, "")
				}
				first := time.Now()
				pause(ctx, psWindow)
				apps, err := c.Status(ctx, args...)
				if err != nil {
					return err
				}
				now := time.Now()
				p := tree{cpu: usage(before, apps, now.Sub(first)), now: now}
				return p.print(cmd.OutOrStdout(), apps)
			})
		},
	}
	d.registerJSON(cmd)
	return cmd
}

// usage is what instances used of processors between two looks at them, in percent of one, by pid.
func usage(before, after []daemon.App, passed time.Duration) map[int]float64 {
	seconds := make(map[int]float64)
	each(before, func(i daemon.Instance) { seconds[i.PID] = i.CPU })
	percent := make(map[int]float64)
	each(after, func(i daemon.Instance) {
		if was, ok := seconds[i.PID]; ok && i.PID > 0 {
			percent[i.PID] = max(0, 100*(i.CPU-was)/passed.Seconds())
		}
	})
	return percent
}

func each(apps []daemon.App, f func(daemon.Instance)) {
	for _, a := range apps {
		for _, p := range a.Processes {
			for _, i := range p.Instances {
				f(i)
			}
		}
	}
}

// tree prints applications.
type tree struct {
	cpu map[int]float64
	now time.Time
}

func (p *tree) print(w io.Writer, apps []daemon.App) error {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tPID\tRESTARTS\tUPTIME\tCPU\tMEMORY\tLAST EXIT")
	var notes []string
	for _, a := range apps {
		fmt.Fprintf(t, "%s\t%s, %d/%d\t\t\t%s\t\t\t\n", a.Name, a.State, a.Ready, a.Total,
			uptime(a.Started, p.now))
		for i, proc := range a.Processes {
			branch, stem := "├─ ", "│  "
			if i == len(a.Processes)-1 {
				branch, stem = "└─ ", "   "
			}
			notes = append(notes, p.process(t, proc, branch, stem)...)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	for _, n := range notes {
		if _, err := fmt.Fprintln(w, harmless(n)); err != nil {
			return err
		}
	}
	return nil
}

// process prints a line for each instance, under one of its own if there are several. It returns
// what there is to say below the table.
func (p *tree) process(w io.Writer, proc daemon.Process, branch, stem string) (notes []string) {
	many := len(proc.Instances) != 1
	if many {
		fmt.Fprintf(w, "%s%s\t%s\t\t\t\t\t\t\n", branch, proc.Name, proc.State)
	}
	for k, i := range proc.Instances {
		label, name := branch+proc.Name, proc.Name
		if many {
			name = fmt.Sprintf("%s#%d", proc.Name, i.Index)
			label = stem + "├─ " + name
			if k == len(proc.Instances)-1 {
				label = stem + "└─ " + name
			}
		}
		p.instance(w, label, i)
		if i.State != "ready" && i.State != "stopped" && i.Reason != "" {
			notes = append(notes, fmt.Sprintf("\n%s: %s: %s", name, i.State, i.Reason))
		}
		if len(i.Tail) > 0 {
			notes = append(notes, fmt.Sprintf("\n%s wrote last:", name),
				"  "+strings.Join(lastLines(i.Tail, 10), "\n  "))
		}
	}
	return notes
}

func (p *tree) instance(w io.Writer, label string, i daemon.Instance) {
	pid, up, cpu := "-", "-", "-"
	if i.PID > 0 {
		pid, up = fmt.Sprint(i.PID), uptime(i.Started, p.now)
		if percent, ok := p.cpu[i.PID]; ok {
			cpu = fmt.Sprintf("%.1f%%", percent)
		}
	}
	exit := "-"
	if i.LastExit != "" {
		exit = fmt.Sprintf("%s, %s ago", i.LastExit, uptime(i.ExitTime, p.now))
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", label, i.State, pid, i.Restarts, up, cpu,
		memory(i.Memory), exit)
}

func lastLines(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }
