package bench

import (
	"net"
	"sync"
)

// outbox is the write side of a mux. Frames gather in buf while a write is under way; whoever finds
// them unclaimed writes all of them at once.
//
//	frames unclaimed  ---> append gives the caller the claim, and the caller flushes
//	frames claimed    ---> the one with the claim takes this frame along
//	reader in a batch ---> the reader claims at the end of its batch
//
// The reader never waits for a write: it writes only if it gets the turn at once, and only what the
// socket takes at once. What is left then goes before everything else in the next turn, which
// flushLoop is woken to take.
//
// Lock order: turn, then mu. mu is never held across a write.
type outbox struct {
	conn *net.UnixConn

	turn   sync.Mutex  // held while writing
	left   []byte      // guarded by turn; what the reader could not write
	held   []byte      // guarded by turn; the buffer that left lies in
	spare  []byte      // guarded by turn; a buffer that has been written
	vecs   [2][]byte   // guarded by turn; backs gather
	gather net.Buffers // guarded by turn
	try    attempt     // guarded by turn

	mu      sync.Mutex
	buf     []byte // guarded by mu; frames not yet written
	claimed bool   // guarded by mu; somebody is about to flush buf
	batch   bool   // guarded by mu; the reader is handling frames and will claim
	err     error  // guarded by mu; why nothing can be written any more

	kick chan struct{} // holds one; wakes flushLoop
	done chan struct{} // closed when flushLoop has returned
}

func newOutbox(conn *net.UnixConn) (*outbox, error) {
	o := &outbox{conn: conn, kick: make(chan struct{}, 1), done: make(chan struct{})}
	if err := o.try.init(conn); err != nil {
		return nil, err
	}
	go o.flushLoop()
	return o, nil
}

// append adds a frame, whose body is head and then body, and reports whether the caller has to
// flush.
func (o *outbox) append(flags byte, id uint32, head, body []byte) (mine bool, err error) {
	o.mu.Lock()
	if err = o.err; err == nil {
		o.buf = appendFrame(o.buf, flags, id, head, body)
		mine = !o.claimed && !o.batch
		o.claimed = o.claimed || mine
	}
	o.mu.Unlock()
	return mine, err
}

// flush writes what has gathered. It may block, so the reader never calls it.
func (o *outbox) flush() error {
	o.turn.Lock()
	defer o.turn.Unlock()
	b, err := o.take()
	if err == nil && len(b) > 0 {
		_, err = o.conn.Write(b)
	}
	return o.settle(b, err)
}

// write writes one frame, whose body is too long to copy, after what has gathered. It may block.
func (o *outbox) write(flags byte, id uint32, head, body []byte) error {
	o.turn.Lock()
	defer o.turn.Unlock()
	b, err := o.take()
	if err == nil {
		var h [headerLen]byte
		putHeader(h[:], flags, id, len(head)+len(body))
		b = append(append(b, h[:]...), head...)
		o.vecs = [2][]byte{b, body}
		o.gather = o.vecs[:]
		_, err = o.gather.WriteTo(o.conn)
		o.vecs = [2][]byte{}
	}
	return o.settle(b, err)
}

// take writes what the reader left, then removes what has gathered, claim and all. turn is held.
func (o *outbox) take() ([]byte, error) {
	if len(o.left) > 0 {
		_, err := o.conn.Write(o.left)
		o.left, o.spare, o.held = nil, o.held, nil
		if err != nil {
			o.fail(err)
		}
	}
	return o.remove()
}

func (o *outbox) remove() ([]byte, error) {
	o.mu.Lock()
	b := o.buf
	o.buf = o.spare[:0]
	o.claimed = false
	err := o.err
	o.mu.Unlock()
	o.spare = nil
	return b, err
}

// settle keeps b for the next take and remembers err. turn is held.
func (o *outbox) settle(b []byte, err error) error {
	o.spare = b
	if err != nil {
		o.fail(err)
	}
	return err
}

// begin says that the reader handles frames: until end nobody else needs to flush.
func (o *outbox) begin() {
	o.mu.Lock()
	o.batch = true
	o.mu.Unlock()
}

// end adds the frames of the reader's batch, sees to it that somebody writes them, and returns a
// buffer for the next batch.
func (o *outbox) end(frames []byte) []byte {
	o.mu.Lock()
	if len(o.buf) == 0 {
		o.buf, frames = frames, o.buf
	} else {
		o.buf = append(o.buf, frames...)
	}
	o.batch = false
	mine := len(o.buf) > 0 && !o.claimed && o.err == nil
	o.claimed = o.claimed || mine
	o.mu.Unlock()
	if mine {
		o.tryFlush()
	}
	return frames[:0]
}

// tryFlush is flush for the reader: it writes what can be written without waiting.
func (o *outbox) tryFlush() {
	if !o.turn.TryLock() {
		o.wake()
		return
	}
	if len(o.left) == 0 {
		b, err := o.remove()
		n := 0
		if err == nil {
			n = o.try.write(b)
		}
		if n == len(b) || err != nil {
			o.spare = b
			o.turn.Unlock()
			return
		}
		o.left, o.held = b[n:], b
	}
	o.turn.Unlock()
	o.wake()
}

func (o *outbox) wake() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// fail makes every later append and flush return err.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
	}
	o.mu.Unlock()
}

// flushLoop writes for the reader what the reader could not, until fail.
func (o *outbox) flushLoop() {
	defer close(o.done)
	for range o.kick {
		if o.flush() != nil {
			return
		}
	}
}
