package transport

import (
	"net"
	"sync"
	"time"

	"github.com/valyala/bytebufferpool"

	"github.com/pithos-ipc/pithos/wire"
)

// The sizes of what is written at once.
const (
	batchBytes   = 64 << 10 // small frames are gathered up to this
	batchCopy    = 4 << 10  // a piece up to this is copied to the others, a larger one is not
	urgentRun    = 64       // urgent pieces in a row before a waiting call or oneway gets its turn
	messageExtra = 128      // what a message costs beyond its bytes
	maxPongs     = 1024     // pongs that wait for a peer that does not read them
	brokenGrace  = time.Second
)

// class says what a message is, and so in which queue it waits.
type class uint8

const (
	classControl class = iota // urgent
	classPong                 // urgent, and few
	classReply                // urgent
	classBulk                 // calls, oneways, frames of the user
)

// message is one body on its way out: a frame, or as many as it takes. It owns its bytes.
type message struct {
	class  class
	header wire.Header // of the first frame
	rest   []byte      // what is not taken yet; begins with the first header
	first  int         // bytes of the first frame
	total  int         // bytes of the whole body
	begun  bool        // some of it is taken
	gone   bool        // taken back before it was begun
	cancel bool        // send a cancel behind the last piece
	call   *call       // nil unless it is a call
	cost   int64       // bytes of credit that a call or oneway uses
	room   int64       // bytes of the outbox that it takes
	fds    []int       // to send with the first frame
	buf    *bytebufferpool.ByteBuffer
}

// portOutbox is what waits to be written.
//
//	urgent  control, replies  --+--> batch --> writev
//	bulk    calls, oneways    --+
//
// A message that has more pieces goes back to the end of its queue after each.
type portOutbox struct {
	urgent, bulk fifo
	wake         sync.Cond // of portable.mu: something to write, or the end
	frames       int       // messages not written, without control
	bytes        int64     // of them
	control      int       // control messages not written
	replies      int       // replies not taken
	pongs        int       // pongs not taken
	room         int64     // bytes of bulk, reserved ones included
	run          int       // urgent pieces since the last of bulk
	err          error     // why nothing is written any more
	seen         progress  // of a peer for which much waits
}

// fifo is a queue of messages.
type fifo struct {
	items []*message
	head  int
}

func (q *fifo) push(m *message) { q.items = append(q.items, m) }

// peek returns the first message that was not taken back, or nil.
func (q *fifo) peek() *message {
	for q.head < len(q.items) {
		if m := q.items[q.head]; !m.gone {
			return m
		}
		q.drop()
	}
	return nil
}

// drop removes the first one.
func (q *fifo) drop() {
	q.items[q.head] = nil
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head >= 1024 && 2*q.head >= len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}

// controlMessage wraps a control frame that is encoded already.
func controlMessage(frame []byte) *message {
	h, _ := wire.ParseHeader(frame)
	return &message{class: classControl, header: h, rest: frame, first: len(frame),
		total: len(frame) - wire.HeaderSize}
}

// replyMessage encodes a reply.
func replyMessage(id uint32, f *replyFrame) *message {
	meta := f.meta()
	m := newMessage(wire.Header{Flags: f.flags(), ID: id}, &meta, f.size())
	m.class = classReply
	m.add(f.body, f.gather)
	return m
}

// newMessage begins a native message of n payload bytes, which add brings.
func newMessage(h wire.Header, meta *wire.Meta, n int) *message {
	head := meta.Size()
	m := &message{class: classBulk, header: h, total: head + n, cost: wireSize(head, n)}
	m.first = wire.HeaderSize + head + min(n, wire.PartSize)
	m.header.Length = uint32(m.first - wire.HeaderSize)
	if n > wire.PartSize {
		m.header.Flags |= wire.Part
	}
	m.alloc(wire.HeaderSize + m.total)
	m.rest = m.header.AppendTo(m.rest)
	m.rest = meta.AppendTo(m.rest)
	return m
}

// rawMessage encodes a frame of a connection that is not native.
func rawMessage(h wire.Header, n int) *message {
	h.Length = uint32(n)
	m := &message{class: classBulk, header: h, total: n, first: wire.HeaderSize + n}
	m.alloc(m.first)
	m.rest = h.AppendTo(m.rest)
	return m
}

// alloc makes room for n bytes: from the pool for small ones.
func (m *message) alloc(n int) {
	if n > maxPooledScratch {
		m.rest = make([]byte, 0, n)
		return
	}
	m.buf = bytebufferpool.Get()
	m.rest = m.buf.B[:0]
}

func (m *message) add(body []byte, gather [][]byte) {
	m.rest = append(m.rest, body...)
	for _, p := range gather {
		m.rest = append(m.rest, p...)
	}
	if m.buf != nil {
		m.buf.B = m.rest
	}
}

// free gives the memory back, and closes the descriptors that were to travel with it.
func (m *message) free() {
	closeCopies(m.fds)
	if m.buf != nil {
		bytebufferpool.Put(m.buf)
	}
	m.buf, m.rest, m.fds = nil, nil, nil
}

// size is what the message holds, in bytes.
func (m *message) size() int64 { return int64(wire.HeaderSize + m.total) }

// wireSize is the number of bytes that a native body takes on the wire, headers included.
func wireSize(head, payload int) int64 {
	frames := max(1, (payload+wire.PartSize-1)/wire.PartSize)
	return int64(head+payload) + int64(frames)*wire.HeaderSize
}

// pushLocked queues m. Where there is no memory for it the connection ends.
func (e *portable) pushLocked(m *message) error {
	if err := e.out.err; err != nil || e.life.over {
		m.free()
		return err
	}
	if err := e.chargeLocked(m.size() + messageExtra); err != nil {
		m.free()
		if e.life.err == nil {
			e.life.err = err
			e.hangUp()
		}
		return err
	}
	e.enqueueLocked(m)
	return nil
}

// enqueueLocked queues m, which is charged for.
func (e *portable) enqueueLocked(m *message) {
	o := &e.out
	switch m.class {
	case classControl:
		o.control++
		o.urgent.push(m)
	case classPong:
		o.control++
		o.pongs++
		o.urgent.push(m)
	case classReply:
		o.replies++
		o.urgent.push(m)
	case classBulk:
		o.bulk.push(m)
	}
	if m.class == classReply || m.class == classBulk {
		o.frames++
		o.bytes += m.size()
	}
	o.wake.Signal()
}

// doneLocked is called for a message that is written, or taken back.
func (e *portable) doneLocked(m *message) {
	o := &e.out
	switch {
	case e.life.over:
	case m.class == classReply, m.class == classBulk:
		o.frames--
		o.bytes -= m.size()
	default:
		o.control--
	}
	e.refundLocked(m.size() + messageExtra)
	m.free()
}

// piece is what is taken of a message at once: one frame.
type piece struct {
	header wire.Header
	data   []byte
	size   int // of data, and of the header where that is not in it
	last   bool
	msg    *message
}

// portBatch is what one system call writes.
type portBatch struct {
	scratch []byte
	bufs    net.Buffers
	flat    int // bytes of scratch that are in bufs already
	pieces  []piece
	bytes   int
}

// write is the writer: it takes batches and writes them until the end.
func (e *portable) write() {
	b := &portBatch{scratch: make([]byte, 0, batchBytes+batchCopy+wire.HeaderSize)}
	for e.take(b) {
		for _, p := range b.pieces {
			size := 0
			if p.last {
				size = p.msg.total
			}
			e.trace(true, p.header, size)
		}
		e.count.writes.Add(1)
		e.count.bytesOut.Add(uint64(b.bytes))
		e.count.framesOut.Add(uint64(len(b.pieces)))
		e.written(b, b.write(e.nc))
	}
}

// take waits for something to write and fills b; false at the end.
func (e *portable) take(b *portBatch) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		if e.life.over || e.out.err != nil {
			return false
		}
		if e.fillLocked(b); len(b.pieces) > 0 {
			return true
		}
		e.out.wake.Wait()
	}
}

func (e *portable) fillLocked(b *portBatch) {
	for b.bytes < batchBytes {
		q := e.out.queue()
		if q == nil {
			break
		}
		m := q.peek()
		if len(m.fds) > 0 && len(b.pieces) > 0 {
			break // a frame with descriptors is a message of its own
		}
		q.drop()
		p := e.cutLocked(m, q, b)
		b.pieces = append(b.pieces, p)
		b.bytes += p.size
		if m.fds != nil {
			break
		}
	}
	b.flush()
}

// queue is where the next piece comes from: urgent first, but not without end.
func (o *portOutbox) queue() *fifo {
	urgent, bulk := o.urgent.peek(), o.bulk.peek()
	switch {
	case urgent != nil && (bulk == nil || o.run < urgentRun):
		o.run++
		return &o.urgent
	case bulk != nil:
		o.run = 0
		return &o.bulk
	}
	return nil
}

// cutLocked takes one frame of m, the first of q, and puts its bytes into b.
func (e *portable) cutLocked(m *message, q *fifo, b *portBatch) piece {
	n, h := m.first, m.header
	if m.begun {
		n = min(len(m.rest), wire.PartSize)
		h.Length = uint32(n)
		if h.Flags &^= wire.Part; n < len(m.rest) {
			h.Flags |= wire.Part
		}
		b.scratch = h.AppendTo(b.scratch)
	}
	data := m.rest[:n]
	m.rest = m.rest[n:]
	b.add(data)
	if !m.begun && m.call != nil {
		m.call.state, _ = m.call.state.next(eventBegin)
	}
	p := piece{header: h, data: data, size: wire.HeaderSize + int(h.Length), msg: m}
	m.begun, p.last = true, len(m.rest) == 0
	if !p.last {
		q.push(m)
		return p
	}
	switch m.class {
	case classReply:
		e.out.replies--
	case classPong:
		e.out.pongs--
	}
	if m.cancel {
		_ = e.pushLocked(controlMessage(wire.AppendControl(nil, wire.KindCancel, m.header.ID)))
	}
	return p
}

func (b *portBatch) add(p []byte) {
	if len(p) <= batchCopy {
		b.scratch = append(b.scratch, p...)
		return
	}
	b.flush()
	b.bufs = append(b.bufs, p)
}

// flush puts the copied bytes into bufs.
func (b *portBatch) flush() {
	if b.flat < len(b.scratch) {
		b.bufs = append(b.bufs, b.scratch[b.flat:len(b.scratch):len(b.scratch)])
		b.flat = len(b.scratch)
	}
}

// write writes the batch.
func (b *portBatch) write(nc *net.UnixConn) error {
	if fds := b.pieces[0].msg.fds; len(fds) > 0 {
		p := b.pieces[0]
		defer func() {
			closeCopies(p.msg.fds)
			p.msg.fds = nil
		}()
		return writeFiles(nc, p.data, fds)
	}
	if len(b.bufs) == 1 {
		_, err := nc.Write(b.bufs[0])
		return err
	}
	v := b.bufs
	_, err := v.WriteTo(nc)
	return err
}

// written settles a batch: memory, room for those who wait, a Close that waits for the last byte.
func (e *portable) written(b *portBatch, err error) {
	e.mu.Lock()
	for _, p := range b.pieces {
		switch {
		case !p.last:
		case err != nil:
			p.msg.free() // and it stays counted, as not written
		default:
			e.out.room -= p.msg.room
			e.doneLocked(p.msg)
		}
	}
	if err != nil {
		e.brokenLocked(err)
	}
	e.pumpLocked()
	e.quietLocked()
	e.mu.Unlock()
	clear(b.pieces)
	clear(b.bufs)
	b.pieces, b.bufs, b.scratch = b.pieces[:0], b.bufs[:0], b.scratch[:0]
	b.flat, b.bytes = 0, 0
}

// brokenLocked is called when nothing can be written any more. The peer may have sent something
// before it went away, so the loop reads on to the end, which is near.
func (e *portable) brokenLocked(err error) {
	e.stopWriterLocked(err)
	if e.life.err != nil {
		return
	}
	e.life.late = lostError(err)
	e.life.due = time.Now().Add(brokenGrace)
	e.queue.failLocked(e.life.late)
	e.armLocked()
}

// stopWriterLocked has nothing written any more, because of err.
func (e *portable) stopWriterLocked(err error) {
	if e.out.err == nil {
		e.out.err = err
	}
	e.out.wake.Signal()
}

// clearLocked throws away what is not written.
func (o *portOutbox) clearLocked() {
	for _, q := range []*fifo{&o.urgent, &o.bulk} {
		for m := q.peek(); m != nil; m = q.peek() {
			q.drop()
			if !m.begun {
				m.free()
			}
		}
	}
	o.frames, o.bytes, o.control, o.replies, o.pongs = 0, 0, 0, 0, 0
}
