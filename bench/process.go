package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

const (
	startTimeout = 30 * time.Second
	askTimeout   = 30 * time.Second
	stopTimeout  = 20 * time.Second
)

// process is a child, seen from the run.
type process struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *os.File
	replies *json.Decoder
	said    bytes.Buffer // its standard error; read after Wait
}

// start starts a child and waits until it is ready.
func start(ctx context.Context, j job) (*process, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	command := exec.CommandContext(ctx, path)
	command.Env = append(os.Environ(), childEnv+"="+string(text))
	return startCommand(command)
}

// startCommand starts any program that answers as a child does.
func startCommand(command *exec.Cmd) (*process, error) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	p := &process{command: command, out: ours}
	p.replies = json.NewDecoder(ours)
	p.command.Stdout = theirs
	p.command.Stderr = &p.said
	if p.in, err = p.command.StdinPipe(); err == nil {
		err = p.command.Start()
	}
	_ = theirs.Close() // the child has its own, and its end must show
	if err != nil {
		return nil, fmt.Errorf("bench: %w", errors.Join(err, ours.Close()))
	}
	if err = p.read(new(struct{}), startTimeout); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// ask sends a request and puts the answer into v.
func (p *process) ask(word string, v any) error { return p.askWithin(askTimeout, word, v) }

func (p *process) askWithin(limit time.Duration, word string, v any) error {
	if _, err := io.WriteString(p.in, word+"\n"); err != nil {
		return fmt.Errorf("bench: child: %w", err)
	}
	return p.read(v, limit)
}

func (p *process) read(v any, limit time.Duration) error {
	if err := p.out.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return fmt.Errorf("bench: child: %w", err)
	}
	if err := p.replies.Decode(v); err != nil {
		return fmt.Errorf("bench: child: %w", err)
	}
	return nil
}

// stop ends the child and waits for it, and kills it if it does not end by itself.
func (p *process) stop() error {
	_ = p.in.Close()
	kill := time.AfterFunc(stopTimeout, func() { _ = p.command.Process.Kill() })
	defer kill.Stop()
	err := p.command.Wait()
	_ = p.out.Close()
	if err != nil {
		return fmt.Errorf("bench: child: %w %s", err, bytes.TrimSpace(p.said.Bytes()))
	}
	return nil
}

// startHogs starts a CPU-bound process on each processor and returns what ends them.
func startHogs(ctx context.Context) (stop func(), err error) {
	var hogs []*process
	stop = func() {
		for _, h := range hogs {
			_ = h.stop()
		}
	}
	for _, cpu := range processors() {
		h, err := start(ctx, job{Hog: true, CPU: cpu})
		if err != nil {
			stop()
			return nil, err
		}
		hogs = append(hogs, h)
	}
	return stop, nil
}
