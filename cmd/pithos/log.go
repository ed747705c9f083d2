package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/console"
	"github.com/pithos-ipc/pithos/daemon"
	"github.com/pithos-ipc/pithos/supervisor"
)

func newLog(s *socketFlag) *cobra.Command {
	d := &daemonFlag{socket: s}
	v := logViewer{daemonFlag: d}
	var times bool
	cmd := &cobra.Command{
		Use:   "log APP | APP/PROCESS ...",
		Short: "Show what processes have written",
		Long: `Shows the last lines that the processes of an application, or one of them, have
written, by time, and with -f those that come, until it is interrupted. It reads the log files,
old ones too; of an application that is not running any more, those that it has left.`,
		Example: `  pithos log shop
  pithos log -f -n 100 shop/api
  pithos log --json shop`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if v.count < 0 {
				return fmt.Errorf("-n %d: want 0 or more", v.count)
			}
			look := (&devFlags{times: times, json: d.json}).look(cmd.OutOrStdout())
			v.out = console.New(cmd.OutOrStdout(), look)
			return interruptible(cmd, func(ctx context.Context) error { return v.run(ctx, args) })
		},
	}
	cmd.Flags().BoolVarP(&v.follow, "follow", "f", false, "show the lines that come, too")
	cmd.Flags().IntVarP(&v.count, "lines", "n", 50, "how many last lines of each process")
	cmd.Flags().BoolVarP(&times, "timestamps", "t", false, "begin each line with the time")
	d.registerJSON(cmd)
	return cmd
}

// logViewer shows log files.
type logViewer struct {
	*daemonFlag
	follow bool
	count  int
	out    *console.Console
}

func (v *logViewer) run(ctx context.Context, targets []string) error {
	files, err := v.files(ctx, targets)
	if err != nil {
		return err
	}
	var logs []*daemon.Log
	defer func() {
		for _, l := range logs {
			l.Close()
		}
	}()
	var lines []supervisor.Line
	for _, path := range files {
		l, last, err := daemon.OpenLog(path, v.count)
		if err != nil {
			return err
		}
		logs = append(logs, l)
		lines = append(lines, last...)
	}
	slices.SortStableFunc(lines, func(a, b supervisor.Line) int { return a.Time.Compare(b.Time) })
	v.show(lines)
	for v.follow && v.out.Err() == nil {
		more := false
		for _, l := range logs {
			lines, err := l.Next()
			if err != nil {
				return err
			}
			v.show(lines)
			more = more || len(lines) > 0
		}
		if !more && !pause(ctx, 100*time.Millisecond) || ctx.Err() != nil {
			return nil
		}
	}
	return v.out.Err()
}

func (v *logViewer) show(lines []supervisor.Line) {
	for _, l := range lines {
		v.out.Line(l)
	}
}

// files returns the log files of targets: as the daemon knows them, else those that are there.
func (v *logViewer) files(ctx context.Context, targets []string) ([]string, error) {
	var files []string
	c, err := v.connect(ctx)
	if err != nil && !errors.Is(err, errNoDaemon) {
		return nil, err
	}
	if err == nil {
		defer c.Close()
	}
	for _, t := range targets {
		var found []string
		if c != nil {
			found, err = v.known(ctx, c, t)
		}
		if len(found) == 0 {
			var left error
			if found, left = v.left(t); left != nil {
				return nil, errors.Join(err, left)
			}
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// known asks the daemon for the log files of a target.
func (v *logViewer) known(ctx context.Context, c *daemon.Client, target string) ([]string, error) {
	apps, err := c.Status(ctx, target)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, p := range apps[0].Processes {
		v.out.Know([]supervisor.Process{{Name: p.Name, Scale: p.Scale}})
		if p.LogFile != "" {
			files = append(files, p.LogFile)
		}
	}
	return files, nil
}

// left returns the log files that an application has left at the usual place.
func (v *logViewer) left(target string) ([]string, error) {
	_, state, err := v.address()
	if err != nil {
		return nil, err
	}
	name, process, one := strings.Cut(target, "/")
	folder := daemon.LogFolder(state, name)
	if one {
		path := filepath.Join(folder, process+".log")
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("no log of %s: there is no %s", target, path)
		}
		return []string{path}, err
	}
	all, err := filepath.Glob(filepath.Join(folder, "*.log"))
	files := slices.DeleteFunc(all, daemon.Rotated)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no log of %s: there is none in %s", target, folder)
	}
	return files, err
}
