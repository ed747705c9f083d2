package supervisor

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/DeRuina/timberjack"
)

// A journal takes the log of one process: it reads the pipes of its instances, tells the lines to
// the subscribers, and writes them to the file and the sink.
//
//	pipe ── reader ── split ─┬─> tail
//	                         ├─> subscribers
//	                         └─> queue ── writer ─┬─> file, rotated
//	                                              └─> sink
//
// When the file or the sink fails, the writer says so once and tries again until it succeeds; what
// it has taken is not lost, and what comes meanwhile is up to the FullPolicy. Subscribers do not
// wait for it.
type journal struct {
	process string
	policy  LogPolicy
	sink    func([]Line) error
	subs    *subscriptions
	warn    func(string)
	queue   *queue

	readers sync.WaitGroup
	writer  sync.WaitGroup
	closing chan struct{} // closed when the writer shall try once and then give up

	mu    sync.Mutex
	tails map[int]*tail // guarded by mu

	// Of the writer:
	file    *timberjack.Logger // nil if it is not open
	buf     []byte             // what is next written to the file
	lines   []Line
	batch   []byte
	failing bool
	lost    uint64 // lines given up at the end
	lastErr error
}

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second

	fileChunk = 128 << 10 // bytes written to the file at a time, about
	firstRead = 4 << 10   // bytes of a reader's buffer, until it is needed larger
	maxRead   = 64 << 10
)

// openJournal starts the writer. warn must not block for ever.
func openJournal(process string, p LogPolicy, sink func([]Line) error, subs *subscriptions,
	warn func(string)) *journal {
	j := &journal{
		process: process, policy: p, sink: sink, subs: subs, warn: warn,
		queue:   newQueue(p.Queue, p.Full == Block),
		closing: make(chan struct{}),
		tails:   make(map[int]*tail),
	}
	j.writer.Go(j.write)
	return j
}

// close writes what was read, and ends the writer. What cannot be written then is lost, and the
// error says how much.
func (j *journal) close() error {
	close(j.closing)
	j.queue.unblock()
	j.readers.Wait()
	j.queue.close()
	j.writer.Wait()
	if j.lost > 0 {
		return fmt.Errorf("supervisor: log of %s: %d lines lost: %w", j.process, j.lost, j.lastErr)
	}
	return nil
}

func (j *journal) tail(index int) *tail {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.tails[index]
	if t == nil {
		t = &tail{limit: j.policy.Tail}
		j.tails[index] = t
	}
	return t
}

// last returns up to n of the last lines of an instance.
func (j *journal) last(index, n int) []Line { return j.tail(index).last(j.process, index, n) }

// read takes lines from r until it ends. It returns at once; done is called at the end.
func (j *journal) read(r io.ReadCloser, index int, stream Stream, done func()) {
	t := j.tail(index)
	j.readers.Go(func() {
		defer done()
		defer r.Close()
		buf, held := make([]byte, firstRead), 0
		var now int64
		emit := func(line []byte, part bool) {
			rec := record{now, index, stream, part, line}
			t.put(rec)
			j.subs.line(j.line(rec), rec.text)
			j.queue.put(rec)
		}
		for {
			n, err := r.Read(buf[held:])
			now = time.Now().UnixNano()
			rest := split(buf[:held+n], j.policy.MaxLine, emit)
			if err != nil {
				if len(rest) > 0 {
					emit(rest, false)
				}
				return
			}
			full := held+n == len(buf)
			held = copy(buf, rest)
			if full && (len(buf) < maxRead || held == len(buf)) {
				buf = slices.Concat(buf, make([]byte, len(buf)))
			}
		}
	})
}

// write is the writer.
func (j *journal) write() {
	for {
		j.batch = j.queue.take(j.batch)
		if len(j.batch) == 0 {
			break
		}
		if first, _ := cutRecord(j.batch); first.stream == Own { // the others, readers have told
			j.subs.line(j.line(first), first.text)
		}
		if j.policy.File != "" {
			j.writeFile(j.batch)
		}
		if j.sink != nil {
			j.writeSink(j.batch)
		}
		if cap(j.buf) > minQueue && len(j.batch) < minQueue/2 {
			j.buf, j.lines = nil, nil // a burst is over
		}
	}
	if j.file != nil {
		_ = j.file.Close() // what was written has been written; nothing is buffered
	}
}

// line returns r without its text.
func (j *journal) line(r record) Line {
	return Line{Time: time.Unix(0, r.time), Process: j.process, Index: r.index, Stream: r.stream,
		Part: r.part}
}

func (j *journal) writeFile(batch []byte) {
	var second, stamp = int64(-1), make([]byte, 0, 32)
	lines := uint64(0)
	j.buf = j.buf[:0]
	for len(batch) > 0 {
		var r record
		r, batch = cutRecord(batch)
		if r.time != second { // the lines of one read have one time
			second = r.time
			stamp = time.Unix(0, r.time).UTC().AppendFormat(stamp[:0], stampLayout)
		}
		j.buf = append(j.buf, stamp...)
		j.buf = append(j.buf, ' ')
		j.buf = appendOrigin(j.buf, j.process, r.index, r.stream, r.part)
		j.buf = append(j.buf, r.text...)
		j.buf = append(j.buf, '\n')
		lines++
		if len(j.buf) >= fileChunk || len(batch) == 0 {
			rest := j.buf
			j.insist(lines, func() error {
				n, err := j.append(rest)
				rest = rest[n:]
				return err
			})
			j.buf, lines = j.buf[:0], 0
		}
	}
}

// append writes to the file, which it opens again after an error.
func (j *journal) append(b []byte) (int, error) {
	if j.file == nil {
		j.file = j.policy.open()
	}
	n, err := j.file.Write(b)
	if err != nil {
		_ = j.file.Close() // the error is that of the write
		j.file = nil
	}
	return n, err
}

// Open returns a writer to the file of p, which it rotates as that of a process. It opens the file
// with the first write.
func (p LogPolicy) Open() io.WriteCloser {
	return p.whole(func(string, ...any) {}).open()
}

func (p LogPolicy) open() *timberjack.Logger {
	return &timberjack.Logger{
		Filename: p.File, MaxSize: int(p.MaxSize / mebi), MaxBackups: p.MaxFiles,
		Compression: map[bool]string{false: "none", true: "gzip"}[p.Compress],
	}
}

func (j *journal) writeSink(batch []byte) {
	text := string(batch) // one allocation for all
	j.lines = j.lines[:0]
	for b := batch; len(b) > 0; {
		var r record
		r, b = cutRecord(b)
		l := j.line(r)
		end := len(text) - len(b)
		l.Text = text[end-len(r.text) : end]
		j.lines = append(j.lines, l)
	}
	j.insist(uint64(len(j.lines)), func() error { return j.sink(j.lines) })
	clear(j.lines)
}

// insist calls f until it succeeds, ever more seldom. While the journal closes it gives up and
// counts the lines as lost.
func (j *journal) insist(lines uint64, f func() error) {
	for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
		err := f()
		if err == nil {
			if j.failing {
				j.failing = false
				j.warn("log is written again")
			}
			return
		}
		if !j.failing {
			j.failing = true
			j.warn(fmt.Sprintf("log cannot be written, lines wait: %v", err))
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-j.closing:
			timer.Stop()
			if err = f(); err != nil {
				j.lost += lines
				j.lastErr = err
			}
			return
		}
	}
}

const stampLayout = "2006-01-02T15:04:05.000Z"

// appendOrigin appends the process, the instance and the stream of a line, and a space.
func appendOrigin(b []byte, process string, index int, s Stream, part bool) []byte {
	b = append(b, process...)
	b = append(b, '#')
	b = strconv.AppendInt(b, int64(index), 10)
	b = append(b, ' ')
	b = append(b, s.String()...)
	if part {
		b = append(b, '+')
	}
	return append(b, ' ')
}
