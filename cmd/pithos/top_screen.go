package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

// topPages are what the tables of top's screen are about, by the key that chooses them.
var topPages = []struct {
	key  byte
	name string
	grid func(view) *grid
}{
	{'m', "methods", view.methods},
	{'p', "peers", view.peers},
	{'o', "objects", view.objects},
	{'r', "routes", view.routes},
}

// topScreen is what top shows, and what keys do to it. It knows no terminal.
type topScreen struct {
	view   view
	page   int
	first  int // row that is shown first
	paused bool
	err    error         // why there is nothing new
	late   time.Duration // for which an answer of the hub is missing
	every  time.Duration
}

// key does what a key asks for. It says false when that is to quit.
func (s *topScreen) key(k byte) bool {
	switch k {
	case 'q', 'Q', 3, 4: // and Ctrl-C, Ctrl-D
		return false
	case ' ':
		s.paused = !s.paused
	case '\t':
		s.page, s.first = (s.page+1)%len(topPages), 0
	case 'j':
		s.first++
	case 'k':
		s.first = max(0, s.first-1)
	case '+':
		s.every = min(2*s.every, time.Minute)
	case '-':
		s.every = max(s.every/2, minWatch)
	}
	for i, p := range topPages {
		if p.key == k {
			s.page, s.first = i, 0
		}
	}
	return true
}

// keys splits what a terminal has sent into keys, of which those with arrows are j and k.
func keys(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\x1b[A"), []byte("k"))
	b = bytes.ReplaceAll(b, []byte("\x1b[B"), []byte("j"))
	for {
		at := bytes.Index(b, []byte("\x1b["))
		if at < 0 {
			return bytes.ReplaceAll(b, []byte("\x1b"), nil)
		}
		end := at + 2
		for end < len(b) && (b[end] < 0x40 || b[end] > 0x7e) { // parameters of the sequence
			end++
		}
		b = append(b[:at:at], b[min(end+1, len(b)):]...)
	}
}

// update takes the next inspection, or why there is none.
func (s *topScreen) update(in *hub.Inspection, err error) {
	s.err, s.late = err, 0
	if err != nil || s.paused {
		return
	}
	s.view = view{now: in, before: s.view.now}
}

// frame is the screen: at most height lines of at most width characters.
func (s *topScreen) frame(width, height int) []string {
	var lines []string
	if s.view.now != nil {
		lines = append(lines, s.view.headline()...)
	}
	if s.late > 0 {
		lines = append(lines, fmt.Sprintf("no answer of the hub for %s", s.late))
	} else if s.err != nil {
		lines = append(lines, plainText(strings.TrimPrefix(s.err.Error(), "hub: ")))
	}
	var bar strings.Builder
	for i, p := range topPages {
		name := p.name
		if i == s.page {
			name = strings.ToUpper(name)
		}
		fmt.Fprintf(&bar, "%c %s  ", p.key, name)
	}
	pause := "pause"
	if s.paused {
		pause = "PAUSED"
	}
	fmt.Fprintf(&bar, "q quit  space %s  j k scroll  + - %s", pause, s.every)
	lines = append(lines, bar.String(), "")
	if s.view.now != nil {
		g := topPages[s.page].grid(s.view)
		g.title = ""
		table := g.lines(width)
		if len(g.rows) > 0 {
			room := max(1, height-len(lines)-1)
			s.first = max(0, min(s.first, len(g.rows)-room))
			table = append(table[:1:1], table[1+s.first:]...)
		}
		lines = append(lines, table...)
	}
	lines = lines[:min(len(lines), height)]
	for i, line := range lines {
		lines[i] = clip(line, width)
	}
	return lines
}

// paint writes lines over what is on the screen, without clearing it first, so that nothing
// flickers. (ECMA-48: CUP, EL, ED.)
func paint(dst []byte, lines []string) []byte {
	dst = append(dst, "\x1b[H"...)
	for i, line := range lines {
		if i > 0 {
			dst = append(dst, "\r\n"...)
		}
		dst = append(dst, line...)
		dst = append(dst, "\x1b[K"...)
	}
	return append(dst, "\x1b[J"...)
}

const (
	// enterScreen chooses the alternate screen, hides the cursor and turns wrapping off, as xterm
	// does, and leaveScreen undoes it.
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	// minWatch is the shortest time between two looks.
	minWatch = 100 * time.Millisecond
)

var errNoTerminal = errors.New("not a terminal")
