package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ringEnd is one end of a pair of rings. It belongs to one goroutine, but for shut and close.
//
// Before it sleeps, an end says so in its word, looks into the rings once more, and then blocks on
// its bell and its socket. Who has published or released something reads that word afterwards and
// rings the bell. Both stores are sequentially consistent, so one of the two sees the other.
type ringEnd struct {
	in     consumer
	out    producer
	asleep *atomic.Uint64 // ours
	peer   *atomic.Uint64 // the other side's
	here   *atomic.Uint64 // where this side polls
	there  *atomic.Uint64 // the other side
	bell   int            // an eventfd, ours
	knock  int            // the other side's bell
	socket int            // says when the other side is gone
	shared bool           // the bell is not of this end alone
	spin   *spinner
	sleep  ringSleeper
	alone  [1]*ringEnd // e, for sleep
	lost   bool        // the other side is gone
	mem    []byte

	mu     sync.Mutex
	closed bool // guarded by mu
}

// acceptRing makes the memory for a connection that has been accepted, and hands it over. bell is
// the eventfd that all connections of the server share, or negative: the end makes its own.
func acceptRing(conn *net.UnixConn, bell int) (*ringEnd, error) {
	e := &ringEnd{bell: bell, knock: -1, socket: -1, shared: bell >= 0,
		spin: newSpinner(ringPolls, ringPaid)}
	memory, err := unix.MemfdCreate("pithos-bench-ring", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer unix.Close(memory)
	if err = unix.Ftruncate(memory, ringMemory); err == nil && !e.shared {
		e.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		e.knock, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		rights := unix.UnixRights(memory, e.knock, e.bell)
		_, _, err = conn.WriteMsgUnix([]byte{0}, rights, nil)
	}
	if err == nil {
		err = e.open(conn, memory, toClient, toServer, serverSleep, clientSleep)
	}
	if err == nil {
		e.here, e.there = word(e.mem, serverPlace), word(e.mem, clientPlace)
		e.spin.place.look = func(cpu uint64) bool {
			tell(e.here, cpu)
			return false
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bench: %w", err), e.close())
	}
	return e, nil
}

// dialRing takes over the memory that a server makes.
func dialRing(conn *net.UnixConn) (*ringEnd, error) {
	e := &ringEnd{bell: -1, knock: -1, socket: -1, spin: newSpinner(ringPolls, ringPaid)}
	var b [1]byte
	rights := make([]byte, unix.CmsgSpace(3*4))
	_, n, _, _, err := conn.ReadMsgUnix(b[:], rights)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("bench: %d messages with descriptors: %w", len(messages), err)
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(files) != 3 {
		return nil, fmt.Errorf("bench: %d descriptors, not 3: %w", len(files), err)
	}
	defer unix.Close(files[0])
	e.bell, e.knock = files[1], files[2]
	err = e.open(conn, files[0], toServer, toClient, clientSleep, serverSleep)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bench: %w", err), e.close())
	}
	e.here, e.there = word(e.mem, clientPlace), word(e.mem, serverPlace)
	e.spin.place.look = func(cpu uint64) bool {
		tell(e.here, cpu)
		return e.there.Load() == cpu
	}
	return e, nil
}

// open maps the memory. out, in, asleep and peer are where the words of the two rings and of the
// two sleepers lie.
func (e *ringEnd) open(conn *net.UnixConn, memory, out, in, asleep, peer int) (err error) {
	if e.socket, err = takeSocket(conn); err != nil {
		return err
	}
	e.mem, err = unix.Mmap(memory, 0, ringMemory, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	bytes := func(words int) []byte {
		return e.mem[ringBegin+words/toClient*ringSize:][:ringSize:ringSize]
	}
	e.out = producer{
		mem: bytes(out), tail: word(e.mem, out), head: word(e.mem, out+headOffset),
	}
	e.in = consumer{mem: bytes(in), tail: word(e.mem, in), head: word(e.mem, in+headOffset)}
	e.asleep, e.peer = word(e.mem, asleep), word(e.mem, peer)
	return nil
}

// flush publishes what is staged, and wakes the other side if it sleeps.
func (e *ringEnd) flush() {
	if e.out.publish() {
		e.wake()
	}
}

func (e *ringEnd) wake() {
	if e.peer.Load() != 0 {
		one := [8]byte{1} // in any order of bytes not 0
		_, _ = rawWrite(e.knock, one[:])
	}
}

// commit stages a record, and publishes when enough is staged.
func (e *ringEnd) commit(n int, more bool) {
	e.out.commit(n, more)
	if e.out.at-e.out.published >= publishBytes {
		e.flush()
	}
}

// advance gives a record back, and wakes the other side if it sleeps for want of room.
func (e *ringEnd) advance(n int) {
	e.in.advance(n)
	if e.in.release() {
		e.wake()
	}
}

// ready reports whether the other side has published or released something.
func (e *ringEnd) ready() bool {
	room := e.out.refresh()
	return e.in.any() || room
}

// wait flushes, and spins once more or, when spinning is not allowed, sleeps until the other side
// has done something. The error says that it is gone.
func (e *ringEnd) wait() error {
	e.flush()
	if e.spin.spin() {
		return nil
	}
	e.alone[0] = e
	return e.sleep.until(e.alone[:], e.bell, e.spin)
}

// ringSleeper is what a goroutine sleeps by; it keeps its list, so that sleeping allocates nothing.
type ringSleeper struct {
	files []unix.PollFd
}

// until blocks until somebody rings the bell, which ends share, or one of them is gone: the error
// says that. It returns at once when there is something to do.
func (s *ringSleeper) until(ends []*ringEnd, bell int, spin *spinner) error {
	s.files = append(s.files[:0], unix.PollFd{Fd: int32(bell), Events: unix.POLLIN})
	ready := false
	for _, e := range ends {
		e.asleep.Store(1)
		ready = e.ready() || ready
		s.files = append(s.files, unix.PollFd{Fd: int32(e.socket), Events: unix.POLLIN})
	}
	var err error
	if !ready {
		if _, err = unix.Poll(s.files, -1); err == unix.EINTR {
			err = nil
		}
	}
	for _, e := range ends {
		e.asleep.Store(0)
	}
	var count [8]byte
	_, _ = rawRead(bell, count[:])
	spin.reset()
	for i, f := range s.files[1:] {
		if f.Revents != 0 {
			ends[i].lost = true
			err = io.EOF
		}
	}
	return err
}

// send writes a body, in parts if it is long, and waits for room where there is none.
func (e *ringEnd) send(body []byte) error {
	for first := true; first || len(body) > 0; first = false {
		n := min(len(body), ringPart)
		place, err := e.place(n)
		if err != nil {
			return err
		}
		copy(place, body)
		body = body[n:]
		e.commit(n, len(body) > 0)
	}
	return nil
}

// place is reserve that waits.
func (e *ringEnd) place(n int) ([]byte, error) {
	b := e.out.reserve(n)
	if b != nil {
		return b, nil
	}
	for e.spin.reset(); b == nil; b = e.out.reserve(n) {
		if err := e.wait(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// record is next that waits.
func (e *ringEnd) record() (b []byte, more bool, err error) {
	b, more, ok := e.in.next()
	if ok {
		return b, more, nil
	}
	for e.spin.reset(); !ok; b, more, ok = e.in.next() {
		if err = e.wait(); err != nil {
			return nil, false, err
		}
	}
	return b, more, nil
}

// serve answers calls until the other side is gone. A call in one record is answered from ring to
// ring.
func (e *ringEnd) serve() {
	defer e.close()
	var body, reply []byte
	for {
		b, more, err := e.record()
		if err != nil {
			return
		}
		if more || len(body) > 0 {
			body = append(body, b...)
			e.advance(len(b))
			if more {
				continue
			}
			reply = answer(body, reply[:0])
			body = body[:0]
			if e.send(reply) != nil {
				return
			}
			continue
		}
		place, err := e.place(len(b))
		if err != nil {
			return
		}
		answer(b, place[:0])
		e.commit(len(b), false)
		e.advance(len(b))
	}
}

// shut makes the socket say to both sides that this one is gone.
func (e *ringEnd) shut() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	return unix.Shutdown(e.socket, unix.SHUT_RDWR)
}

// close frees everything. Nobody uses the end any more.
func (e *ringEnd) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	var err error
	if e.mem != nil {
		err = unix.Munmap(e.mem)
	}
	files := []int{e.knock, e.socket}
	if !e.shared {
		files = append(files, e.bell)
	}
	for _, fd := range files {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}
