package daemon

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// OpenLog opens the log at path and returns up to n of its last lines, those of files that were
// rotated away among them. A file that is not there yet is waited for by Next.
func OpenLog(path string, n int) (*Log, []supervisor.Line, error) {
	l := &Log{path: path}
	before := older(path) // before the file itself, so that no line comes twice
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
	lines := l.lines(text)
	for _, old := range before {
		if len(lines) >= n {
			break
		}
		text, err := lastOfOld(old, n-len(lines))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was the oldest
		}
		if err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
		lines = append(new(Log).lines(text), lines...)
	}
	return l, lines, nil
}

// The name of an old file has the time of its rotation, and an ending of its own where it is
// compressed: <name>-<time>-<why>.log.gz
const (
	stampLayout = "2006-01-02T15-04-05.000"
	packedExt   = ".gz"
)

// Rotated says whether path is that of an old log file.
func Rotated(path string) bool {
	base := filepath.Base(path)
	for i := range base {
		if base[i] == '-' && stamped(base[i+1:]) {
			return true
		}
	}
	return false
}

// stamped says whether s begins with the time of a rotation.
func stamped(s string) bool {
	_, err := time.Parse(stampLayout, s[:min(len(s), len(stampLayout))])
	return err == nil
}

// older returns the files that were rotated away from path, the latest first. One that is just
// being compressed is there twice, and counts as it was.
func older(path string) []string {
	folder, name := filepath.Split(path)
	ext := filepath.Ext(name)
	prefix := strings.TrimSuffix(name, ext) + "-"
	files, _ := os.ReadDir(folder) // in the order of their names, and so of their times
	var found []string
	for _, f := range files {
		rest, ok := strings.CutPrefix(f.Name(), prefix)
		plain, packed := strings.CutSuffix(rest, packedExt)
		if !ok || !stamped(rest) || filepath.Ext(plain) != ext {
			continue
		}
		if file := filepath.Join(folder, prefix+plain); !packed || !slices.Contains(found, file) {
			found = append(found, filepath.Join(folder, f.Name()))
		}
	}
	slices.Reverse(found)
	return found
}

// lastOfOld returns the last n lines of an old file.
func lastOfOld(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if filepath.Ext(path) != packedExt {
		return lastOf(f, n)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return lastLines(text, n), nil
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
	return lastLines(text, n), nil
}

// lastLines is the end of text that holds its last n lines.
func lastLines(text []byte, n int) []byte {
	for more := bytes.Count(text, []byte("\n")) - n; more > 0; more-- {
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return text
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
