package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/pithos-ipc/pithos/hub"
)

// terminal is the terminal that the command was started from, for as long as top has it.
type terminal struct {
	tty   *os.File
	state *term.State
	keys  chan []byte
	over  chan struct{} // closed when nothing is read any more
}

// openTerminal takes the terminal over: keys come at once and are not shown. out must be it.
func openTerminal(out io.Writer) (*terminal, error) {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, errNoTerminal
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	t := &terminal{tty: tty, keys: make(chan []byte), over: make(chan struct{})}
	if t.state, err = term.MakeRaw(t.fd()); err != nil {
		tty.Close()
		return nil, err
	}
	go t.read()
	if _, err := io.WriteString(tty, enterScreen); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// fd is the descriptor, without the blocking mode that File.Fd would set.
func (t *terminal) fd() (fd int) {
	c, err := t.tty.SyscallConn()
	if err == nil {
		err = c.Control(func(n uintptr) { fd = int(n) })
	}
	if err != nil {
		return -1
	}
	return fd
}

// read hands on what is typed until the terminal is closed.
func (t *terminal) read() {
	defer close(t.over)
	defer close(t.keys)
	for {
		b := make([]byte, 64)
		n, err := t.tty.Read(b)
		if err != nil {
			return
		}
		t.keys <- b[:n]
	}
}

// size is the terminal's width and height in characters.
func (t *terminal) size() (width, height int) {
	width, height, err := term.GetSize(t.fd())
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// close gives the terminal back as it was.
func (t *terminal) close() {
	_, _ = io.WriteString(t.tty, leaveScreen)
	_ = term.Restore(t.fd(), t.state)
	ends := t.tty.SetReadDeadline(time.Unix(1, 0)) == nil // else a read goes on until the next key
	if ends {
		for range t.keys { // what was typed last
		}
		<-t.over
	}
	t.tty.Close()
}

// looked is what a looker has come to.
type looked struct {
	in  *hub.Inspection
	err error
}

// live shows the screen on t until somebody quits. A hub that does not answer holds up no key.
func (s *topScreen) live(ctx context.Context, t *terminal, look looker) error {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel()
	answers := make(chan looked, 1)
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	timer := time.NewTimer(0)
	defer timer.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	var asked time.Time // zero: the answer is there
	var out []byte
	for {
		select {
		case <-ctx.Done():
			return nil
		case b, ok := <-t.keys:
			if !ok {
				return errors.New("the terminal is gone")
			}
			for _, k := range keys(b) {
				if !s.key(k) {
					return nil
				}
			}
		case <-resized:
		case <-second.C:
			if asked.IsZero() || time.Since(asked) < time.Second {
				continue
			}
			s.late = time.Since(asked).Truncate(time.Second)
		case <-timer.C:
			asked = time.Now()
			looking.Go(func() {
				in, err := look(ctx)
				answers <- looked{in, err}
			})
			continue
		case a := <-answers:
			s.update(a.in, a.err)
			asked = time.Time{}
			timer.Reset(s.every)
		}
		width, height := t.size()
		out = paint(out[:0], s.frame(width, height))
		if _, err := t.tty.Write(out); err != nil {
			return fmt.Errorf("write to the terminal: %w", err)
		}
	}
}
