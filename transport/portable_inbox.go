package transport

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pithos-ipc/pithos/wire"
)

// The sizes of an inbox, in bytes.
const (
	inboxMin  = 4 << 10  // what a connection starts with
	inboxMax  = 64 << 10 // what it grows to under load
	growFirst = 64 << 10 // memory of a larger body at first, from where it doubles
)

// portInbox cuts the stream into frames. A frame that fits lies in buf and is lent until the next
// one; a larger one gets memory of its own, which grows with the bytes that arrive.
//
//	buf  [ .. taken .. | r  bytes not yet parsed  w | free ]
type portInbox struct {
	e     *portable
	buf   []byte
	r, w  int
	at    uint64 // of buf[r] in the stream
	files bool   // read with room for descriptors
	oob   []byte
	fds   []fdBatch
}

// fdBatch are descriptors that came with bytes of the stream; their frame begins among those.
type fdBatch struct {
	files []*os.File
	from  uint64
	to    uint64
}

// frame is one frame of the stream.
type frame struct {
	wire.Frame
	owned bool   // Body has memory of its own, charged to the connection
	at    uint64 // of its first byte in the stream
}

func newInbox(e *portable) portInbox { return portInbox{e: e, buf: make([]byte, inboxMin)} }

// next returns the next frame. It is lent until release.
func (b *portInbox) next() (frame, error) {
	if err := b.fill(wire.HeaderSize); err != nil {
		return frame{}, err
	}
	h, _ := wire.ParseHeader(b.buf[b.r:b.w])
	if err := b.e.headerError(h); err != nil {
		return frame{}, err
	}
	f := frame{Frame: wire.Frame{Header: h}, at: b.at}
	if err := b.lateFiles(); err != nil {
		return frame{}, err
	}
	size := wire.HeaderSize + int(h.Length)
	if size > inboxMax {
		b.advance(wire.HeaderSize)
		body, err := b.grow(int(h.Length))
		f.Body, f.owned = body, true
		return f, err
	}
	if err := b.fill(size); err != nil {
		return frame{}, err
	}
	f.Body = b.buf[b.r+wire.HeaderSize : b.r+size : b.r+size]
	b.advance(size)
	return f, nil
}

// release ends the loan of f.
func (b *portInbox) release(f frame) {
	if f.owned {
		b.e.refund(int64(cap(f.Body)))
	} else if raceEnabled {
		spoil(f.Body)
	}
}

func (b *portInbox) advance(n int) {
	b.r += n
	b.at += uint64(n)
	if b.r == b.w {
		b.r, b.w = 0, 0
	}
}

// fill reads until n bytes are there, n at most inboxMax.
func (b *portInbox) fill(n int) error {
	for b.w-b.r < n {
		if b.r > 0 && b.r+n > len(b.buf) || len(b.buf) < n {
			b.makeRoom(n)
		}
		b.e.conn.stamp = 0
		m, err := b.read(b.buf[b.w:])
		if err != nil {
			if err == io.EOF && b.w > b.r {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		full := b.w+m == len(b.buf)
		b.w += m
		if full && len(b.buf) < inboxMax {
			b.makeRoom(2 * len(b.buf))
		}
	}
	return nil
}

// makeRoom moves what is not parsed to the start of a buffer of at least n bytes.
func (b *portInbox) makeRoom(n int) {
	buf := b.buf
	if len(buf) < n {
		size := len(buf)
		for size < n {
			size *= 2
		}
		buf = make([]byte, size)
	}
	b.w = copy(buf, b.buf[b.r:b.w])
	b.r, b.buf = 0, buf
}

// grow reads a body of n bytes into memory of its own. The claim costs nothing: the memory doubles
// as the bytes come, and is charged as it grows.
func (b *portInbox) grow(n int) ([]byte, error) {
	body := make([]byte, 0, min(n, growFirst))
	if err := b.e.charge(int64(cap(body))); err != nil {
		return nil, err
	}
	k := copy(body[:cap(body)], b.buf[b.r:b.w])
	b.advance(k)
	body = body[:k]
	for len(body) < n {
		if len(body) == cap(body) {
			more := min(2*cap(body), n) - cap(body)
			if err := b.e.charge(int64(more)); err != nil {
				return body, err
			}
			body = append(make([]byte, 0, cap(body)+more), body...)
		}
		b.e.conn.stamp = 0
		k, err := b.read(body[len(body):cap(body)])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return body, err
		}
		b.at += uint64(k)
		body = body[:len(body)+k]
	}
	return body, nil
}

// read reads once, and runs what was posted to the loop while it waits.
func (b *portInbox) read(p []byte) (int, error) {
	for {
		n, err := b.readSome(p)
		b.e.count.reads.Add(1)
		if n > 0 {
			b.e.count.bytesIn.Add(uint64(n))
			return n, nil
		}
		if err == nil || err == io.EOF {
			return 0, io.EOF
		}
		if !timedOut(err) {
			return 0, readError(err)
		}
		if err := b.e.woken(); err != nil {
			return 0, err
		}
	}
}

// readError is how err ends the connection: with its own words if it has some, as a lost one else.
func readError(err error) error {
	var p *ProtocolError
	if errors.As(err, &p) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrConnLost, err)
}

// readSome is one read, with the descriptors that come along where they were negotiated.
func (b *portInbox) readSome(p []byte) (int, error) {
	if !b.files {
		return b.e.nc.Read(p)
	}
	if b.oob == nil {
		b.oob = make([]byte, filesSpace(b.e.set.Limits.MaxFiles))
	}
	from := b.at + uint64(b.w-b.r)
	n, files, err := readFiles(b.e.nc, p, b.oob)
	if len(files) > 0 {
		b.fds = append(b.fds, fdBatch{files, from, from + uint64(max(n, 0))})
	}
	if len(b.fds) > fdBatches {
		return 0, &ProtocolError{&LimitError{What: "frames with descriptors ahead of their bytes",
			Value: int64(len(b.fds)), Limit: fdBatches}}
	}
	return n, err
}

// fdBatches is how many frames with descriptors one read can touch: the end of one and the start of
// the next, because the kernel ends a read where descriptors were attached.
const fdBatches = 2

// lateFiles reports descriptors which no frame has taken and none can take any more.
func (b *portInbox) lateFiles() error {
	if len(b.fds) > 0 && b.fds[0].to <= b.at {
		return &ProtocolError{&LimitError{What: "descriptors that no frame announced",
			Value: int64(len(b.fds[0].files)), Limit: 0}}
	}
	return nil
}

// takeFiles returns the n descriptors that came with f.
func (b *portInbox) takeFiles(f frame, n int) ([]*os.File, error) {
	if n == 0 {
		return nil, nil
	}
	got := 0
	if len(b.fds) > 0 && b.fds[0].from <= f.at && f.at < b.fds[0].to {
		got = len(b.fds[0].files)
	}
	if got != n || n > b.e.set.Limits.MaxFiles {
		return nil, &ProtocolError{&LimitError{What: "descriptors announced by a frame",
			Value: int64(n), Limit: int64(min(got, b.e.set.Limits.MaxFiles))}}
	}
	files := b.fds[0].files
	b.fds = b.fds[1:]
	return files, nil
}

// close closes the descriptors that nobody took.
func (b *portInbox) close() {
	for _, d := range b.fds {
		closeFiles(d.files)
	}
	b.fds = nil
}
