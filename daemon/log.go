package daemon

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/supervisor"
)

const (
	logChunk = 64 << 10
	maxLine  = 1 << 20 // a line that is longer is cut
)

// A Log reads the log file of a process, as package supervisor writes it, and follows it through
// its rotations. It belongs to one goroutine.
type Log struct {
	path string
	file *os.File // nil while there is none
	rest []byte   // the beginning of a line whose end is not there yet
}

// OpenLog opens the log at path and returns up to n of its last lines. A file that is not there yet
// is waited for by Next.
func OpenLog(path string, n int) (*Log, []supervisor.Line, error) {
	l := &Log{path: path}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	l.file = f
	text, err := lastOf(f, n)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return l, l.lines(text), nil
}

// Close closes the file.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// lastOf returns the end of f that holds its last n lines, and leaves f at its end.
func lastOf(f *os.File, n int) ([]byte, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n <= 0 {
		return nil, err
	}
	var text []byte
	for at := end; at > 0 && bytes.Count(text, []byte("\n")) <= n; {
		size := min(logChunk, at)
		at -= size
		chunk := make([]byte, size, int(size)+len(text))
		if _, err := f.ReadAt(chunk, at); err != nil {
			return nil, err
		}
		text = append(chunk, text...)
	}
	for bytes.Count(text, []byte("\n")) > n {
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return text, nil
}

// Next returns the lines that have come since the last call; none if there are none. A file that
// was rotated away before it was found to be at its end is at its end for good.
func (l *Log) Next() ([]supervisor.Line, error) {
	if l.file == nil {
		f, err := os.Open(l.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		l.file = f
	}
	is, err := l.file.Stat()
	if err != nil {
		return nil, err
	}
	now, gone := os.Stat(l.path)
	text := make([]byte, logChunk)
	n, err := l.file.Read(text)
	if n > 0 || err != nil && err != io.EOF {
		return l.lines(text[:n]), err
	}
	if gone == nil && os.SameFile(is, now) {
		return nil, l.truncated(now)
	}
	err = l.file.Close()
	l.file = nil
	return nil, err
}

// truncated goes back to the beginning of a file that has become shorter.
func (l *Log) truncated(now fs.FileInfo) error {
	at, err := l.file.Seek(0, io.SeekCurrent)
	if err == nil && now.Size() < at {
		l.rest = nil
		_, err = l.file.Seek(0, io.SeekStart)
	}
	return err
}

// lines cuts text into lines, and keeps what has no end.
func (l *Log) lines(text []byte) []supervisor.Line {
	l.rest = append(l.rest, text...)
	var all []supervisor.Line
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			if len(l.rest) < maxLine {
				return all
			}
			line, rest = l.rest, nil
		}
		all = append(all, ParseLine(string(line)))
		l.rest = rest
	}
}

// ParseLine reads a line of a log file (supervisor.Line.AppendTo). What has another form becomes a
// line without time and process.
func ParseLine(s string) supervisor.Line {
	other := supervisor.Line{Text: s}
	stamp, rest, ok1 := strings.Cut(s, " ")
	who, rest, ok2 := strings.Cut(rest, " ")
	stream, text, ok3 := strings.Cut(rest, " ")
	name, number, ok4 := strings.Cut(who, "#")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return other
	}
	t, err := time.Parse(time.RFC3339Nano, stamp)
	index, err2 := strconv.Atoi(number)
	if err != nil || err2 != nil {
		return other
	}
	stream, part := strings.CutSuffix(stream, "+")
	for _, known := range [...]supervisor.Stream{supervisor.Stdout, supervisor.Stderr,
		supervisor.Own} {
		if known.String() == stream {
			return supervisor.Line{Time: t, Process: name, Index: index, Stream: known, Part: part,
				Text: text}
		}
	}
	return other
}
