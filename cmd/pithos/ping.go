package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/transport"
)

// pinger is what ping is asked to do.
type pinger struct {
	count    int
	interval time.Duration
	timeout  time.Duration
	json     bool
	out      *bufio.Writer // flushed after each line; keeps its first error
}

func newPing(s *socketFlag) *cobra.Command {
	var p pinger
	cmd := &cobra.Command{
		Use:   "ping",
		Short: "See whether a server answers, and how fast",
		Long: `Connects to the socket, sends pings one after the other, and prints the time until
each was answered. The answer comes from the loop of the connection, not from a handler. The
exit code is 1 when the server cannot be reached, or when an answer is missing.`,
		Example: `  pithos ping
  pithos ping -c 1000 --interval 0 --json
  pithos ping --socket /run/user/1000/pithos/hub.sock -c 1 --timeout 200ms`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.check(); err != nil {
				return err
			}
			address, err := s.address()
			if err != nil {
				return err
			}
			p.out = bufio.NewWriter(cmd.OutOrStdout())
			return interruptible(cmd, func(ctx context.Context) error {
				return p.run(ctx, address)
			})
		},
	}
	cmd.Flags().BoolVar(&p.json, "json", false, "each ping, and the summary, as an object of JSON")
	cmd.Flags().IntVarP(&p.count, "count", "c", 4, "how many pings; 0: until interrupted")
	cmd.Flags().DurationVar(&p.interval, "interval", time.Second, "time between two pings")
	cmd.Flags().DurationVar(&p.timeout, "timeout", 5*time.Second, "longest time to connect, and "+
		"to wait for each answer")
	return cmd
}

func (p *pinger) check() error {
	switch {
	case p.count < 0:
		return fmt.Errorf("--count %d: want 0 or more", p.count)
	case p.interval < 0:
		return fmt.Errorf("--interval %s: want 0 or more", p.interval)
	case p.timeout <= 0:
		return fmt.Errorf("--timeout %s: want more than 0", p.timeout)
	}
	return nil
}

// run pings the server at address until the count is reached or ctx ends.
func (p *pinger) run(ctx context.Context, address string) (err error) {
	dialCtx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	c, err := transport.Dial(dialCtx, address, transport.Options{})
	if err != nil {
		return explainDial(address, p.timeout, err)
	}
	defer c.Close(ctx)
	if !p.json {
		fmt.Fprintf(p.out, "ping %s, %s\n", address, c.Peer())
	}

	var times []time.Duration
	sent := 0
	for ctx.Err() == nil && (p.count == 0 || sent < p.count) {
		if err := p.out.Flush(); err != nil {
			return err
		}
		if sent > 0 && !pause(ctx, p.interval) {
			break
		}
		took, err := p.once(ctx, c)
		if err != nil && ctx.Err() != nil {
			break // interrupted: this one does not count
		}
		sent++
		switch {
		case err == nil:
			times = append(times, took)
			p.say(pong{Ping: sent, TookUs: inMicros(took)}, "%d: %s\n", sent, took)
		case errors.Is(err, context.DeadlineExceeded) && c.Err() == nil:
			text := fmt.Sprintf("no answer within %s", p.timeout)
			p.say(pong{Ping: sent, Error: text}, "%d: %s\n", sent, text)
		default:
			return errors.Join(p.summary(sent, times), fmt.Errorf("ping %d: %w", sent, err))
		}
	}
	if err := p.summary(sent, times); err != nil {
		return err
	}
	if missing := sent - len(times); missing > 0 {
		return fmt.Errorf("%d of %d pings had no answer", missing, sent)
	}
	return nil
}

// once sends one ping and says how long its answer took.
func (p *pinger) once(ctx context.Context, c *transport.Conn) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	begun := time.Now()
	err := c.Ping(ctx)
	return time.Since(begun), err
}

// pong is what --json prints of a ping.
type pong struct {
	Ping   int     `json:"ping"`
	TookUs float64 `json:"took_us,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// pings are what --json prints of all of them.
type pings struct {
	Sent     int     `json:"sent"`
	Answered int     `json:"answered"`
	MinUs    float64 `json:"min_us,omitempty"`
	MedianUs float64 `json:"median_us,omitempty"`
	MaxUs    float64 `json:"max_us,omitempty"`
}

func inMicros(d time.Duration) float64 { return float64(d) / 1e3 }

// say prints v as JSON, or else the text. What fails shows at the next Flush.
func (p *pinger) say(v any, format string, args ...any) {
	if p.json {
		_ = json.NewEncoder(p.out).Encode(v)
		return
	}
	fmt.Fprintf(p.out, format, args...)
}

// summary prints what came back, and how fast.
func (p *pinger) summary(sent int, times []time.Duration) error {
	all, text := pings{Sent: sent, Answered: len(times)}, ""
	if n := len(times); n > 0 {
		slices.Sort(times)
		least, median, most := times[0], times[n/2], times[n-1]
		all.MinUs, all.MedianUs, all.MaxUs = inMicros(least), inMicros(median), inMicros(most)
		text = fmt.Sprintf(", min %s, median %s, max %s", least, median, most)
	}
	p.say(all, "%d sent, %d answered%s\n", sent, len(times), text)
	return p.out.Flush()
}

// pause waits for d and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// explainDial says in words why nobody could be reached at address within timeout, or what package
// transport takes for it.
func explainDial(address string, timeout time.Duration, err error) error {
	timeout = min(timeout, transport.DefaultHelloTimeout)
	var call *os.SyscallError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("nobody listens at %s: there is no such socket", address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("not allowed to connect to %s: %w", address, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no server answered at %s within %s: %w", address, timeout, err)
	case errors.As(err, &call) && call.Syscall == "connect" && !isSocket(address):
		return fmt.Errorf("nobody listens at %s: it is no socket", address)
	case errors.As(err, &call) && call.Syscall == "connect":
		return fmt.Errorf("nobody listens at %s: %w", address, call.Err)
	}
	return err
}

// isSocket says whether address may be a socket; an abstract one always.
func isSocket(address string) bool {
	about, err := os.Stat(address)
	return strings.HasPrefix(address, "@") || err != nil || about.Mode()&fs.ModeSocket != 0
}
