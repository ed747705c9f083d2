//go:build linux && !portable

package transport

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

const (
	// inboxSize is how many bytes are read at a time.
	inboxSize = 64 << 10
	// inboxAfterLong is how many are read after a long frame, so that the body of the next one can
	// be read to where it belongs.
	inboxAfterLong = 512
	// longBody is the smallest body, in bytes, that is read to where it belongs when it is not in
	// the inbox already.
	longBody = 32 << 10
)

// The states of the read lease.
//
//	armed: free, epoll reports       parked: free, epoll is silent, the loop looks after it
//	held by the loop                 held by a leader
const (
	leaseArmed uint32 = iota
	leaseParked
	leaseLoop
	leaseLeader
)

// inbox is the read side of a connection. All but the lease belongs to its holder, and moves with
// it.
type inbox struct {
	lease atomic.Uint32
	box   *[]byte // pooled memory behind buf, nil when nothing is buffered
	buf   []byte
	r, w  int // buf[r:w] is not parsed yet
	long  bool
	left  bool // buf[r:w] begins with a frame that a leader left for the loop

	// A long frame whose body is being read to where it belongs:
	busy     bool // there is one
	rest     int  // bytes of it to come
	head     wire.Header
	asm      *assembly // of a call, a oneway, a foreign frame
	slot     *slot     // or of the reply to a call
	slotID   uint32
	spare    *assembly   // to be used again
	asms     []*assembly // messages in parts of which some are there
	trusted  int         // size of the last long message; the next one gets so much at once
	arrived  arrived
	sizes    map[uint64]int // of bodies in parts, for Hooks.Trace
	received int64          // bytes of calls and oneways
	pongs    int            // queued since the peer last took something
}

// arrived are descriptors that no frame has claimed yet.
type arrived struct {
	files   []*os.File
	at      int // where in buf the read began that brought the last of them
	frameAt int // where in buf the frame at hand begins
}

// assembly is a long body of the peer, as it comes in.
type assembly struct {
	head  wire.Header // of the first frame
	meta  []byte      // encoded fields, own memory
	buf   []byte      // payload so far
	cost  int64       // bytes of all its frames
	files []*os.File
	// refused says why the message is thrown away as it comes in; nil: it is not.
	refused error
}

// outcome is how a turn of reading ended.
type outcome int

const (
	readSome  outcome = iota // something was read
	readEmpty                // nothing is there
	readOver                 // the connection is over
	readOther                // a leader met what only the loop may handle
)

// read takes what is there, once, and handles every frame that is whole. The read lease is held.
func (c *econn) read(leader bool) outcome {
	in := &c.in
	if leader && (in.left || in.busy && !in.leads()) {
		return readOther
	}
	if in.left {
		in.left = false
		return c.parse(false)
	}
	if c.lane.in != nil {
		if o := c.lanePoll(); o != readSome {
			return o
		}
		if !leader {
			if o, done := c.borrow(); done {
				return o
			}
		}
	}
	c.pub.stamp = 0
	n, e := c.fill()
	switch {
	case e == unix.EAGAIN:
		return readEmpty
	case e != 0:
		c.kill(lost(os.NewSyscallError("recvmsg", e)))
		return readOver
	case n == 0:
		c.kill(lost(io.EOF))
		return readOver
	}
	c.count.bytesIn.Add(uint64(n))
	return c.parse(leader)
}

// leads says whether a leader may go on with the long frame: the reply that a caller waits for, or
// that nobody does.
func (in *inbox) leads() bool {
	return in.asm == nil && (in.slot == nil || !in.slot.calls.Load())
}

// fill reads once, to where the bytes belong.
func (c *econn) fill() (int, unix.Errno) {
	in := &c.in
	if c.lane.in == nil {
		c.count.reads.Add(1)
	}
	if in.buf == nil {
		in.box = c.pub.group.inboxes()
		in.buf = *in.box
	}
	if in.busy {
		return c.fillLong()
	}
	if in.r > 0 {
		copy(in.buf, in.buf[in.r:in.w])
		in.w -= in.r
		in.r = 0
	}
	end := len(in.buf)
	if in.long && in.w == 0 {
		end = inboxAfterLong
	}
	n, e := c.recv(in.buf[in.w:end])
	if e == 0 {
		in.w += n
	}
	return n, e
}

func (c *econn) recv(b []byte) (int, unix.Errno) {
	in := &c.in
	if c.lane.in != nil {
		return c.laneRecv(b)
	}
	if !c.side.files && !c.lane.due {
		return recv(c.fd, b)
	}
	n, files, e := recvFiles(c.fd, b, in.arrived.files)
	if len(files) > len(in.arrived.files) {
		in.arrived.at = in.w
		if in.busy {
			in.arrived.at = len(in.buf) // they came with the middle of a body
		}
	}
	in.arrived.files = files
	if e == unix.EPROTO {
		c.violation(&LimitError{What: "descriptors with one frame", Value: scmMaxFD + 1,
			Limit: int64(c.set.Limits.MaxFiles)})
	}
	return n, e
}

// release gives the inbox's memory back when nothing is buffered; what is left of a frame moves to
// memory of its own size.
func (in *inbox) release(g *Group) {
	if in.box == nil {
		return
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
		in.buf = nil
	} else {
		return
	}
	g.putInbox(in.box)
	in.box = nil
}

// parse handles the whole frames in the inbox, and begins on a long one.
func (c *econn) parse(leader bool) outcome {
	in := &c.in
	frames := uint64(0)
	result := readSome
	for result == readSome {
		if in.busy {
			if c.takeBuffered(); in.rest > 0 {
				break
			}
			if !c.endLong() {
				result = readOver
			}
			continue
		}
		h, ok := wire.ParseHeader(in.buf[in.r:in.w])
		if !ok {
			break
		}
		in.arrived.frameAt = in.r
		if c.mode != modeNative {
			result = c.early(h)
			if result == readEmpty {
				result = readSome
				break
			}
			continue
		}
		if leader && !c.leads(h) {
			in.left = true
			result = readOther
			break
		}
		if err := h.Flags.Check(); err != nil {
			c.violation(err)
			return readOver
		}
		if h.Length > wire.MaxControl && !c.fits(h) {
			return readOver
		}
		if in.w-in.r-wire.HeaderSize < int(h.Length) {
			begun, ok := c.beginLong(h)
			if !ok {
				return readOver
			}
			if !begun {
				break
			}
			frames++
			continue
		}
		at := in.r + wire.HeaderSize
		in.r = at + int(h.Length)
		in.long = false
		frames++
		if !c.frame(h, in.buf[at:in.r:in.r]) {
			result = readOver
		}
	}
	if frames > 0 {
		c.count.framesIn.Add(frames)
	}
	if len(in.arrived.files) > 0 && in.r == in.w && !in.busy && result == readSome && !c.dead() {
		c.violation(&LimitError{What: "descriptors that no frame announced",
			Value: int64(len(in.arrived.files)), Limit: 0})
	}
	if c.dead() {
		return readOver
	}
	return result
}

// fits judges the length that a header claims.
func (c *econn) fits(h wire.Header) bool {
	limit, what := int64(c.set.maxFrame), "body bytes"
	if h.Flags&wire.Control != 0 {
		limit, what = wire.MaxControl, "control bytes"
	}
	if int64(h.Length) > limit {
		c.violation(&LimitError{What: what, Value: int64(h.Length), Limit: limit})
		return false
	}
	return true
}

// leads says whether a leader may handle the frame: a reply that a caller waits for, or control
// that runs nobody's code.
func (c *econn) leads(h wire.Header) bool {
	switch h.Flags &^ wire.Part {
	case wire.FlagsReply, wire.FlagsError:
		s := c.calls.find(h.ID)
		return s == nil || s.phase(h.ID) == phaseFree || !s.calls.Load()
	case wire.FlagsControl:
		if len(c.in.buf[c.in.r:c.in.w]) > wire.HeaderSize {
			kind := wire.ControlKind(c.in.buf[c.in.r+wire.HeaderSize])
			return kind == wire.KindCredit || kind == wire.KindPlace
		}
	}
	return false
}

// frame handles one whole native frame; false ends the connection.
func (c *econn) frame(h wire.Header, body []byte) bool {
	if c.set.Hooks.Trace != nil {
		c.traceIn(h, len(body))
	}
	switch h.Flags {
	case wire.FlagsReply, wire.FlagsError:
		return c.replied(h, body)
	case wire.FlagsControl:
		return c.control(h, body)
	case wire.FlagsCall, wire.FlagsOneway:
		if len(c.in.asms) == 0 || c.assemblyOf(h) == nil {
			return c.whole(h, body)
		}
	}
	return c.part(h, body)
}

// traceIn tells the hook of a frame that is all there. The last one of a body in parts has the size
// of all of it, the others none.
func (c *econn) traceIn(h wire.Header, n int) {
	if h.Flags&wire.Control == 0 {
		key := uint64(h.Flags&^wire.Part)<<32 | uint64(h.ID)
		if c.in.sizes == nil {
			c.in.sizes = make(map[uint64]int)
		}
		n += c.in.sizes[key]
		if h.Flags&wire.Part != 0 {
			c.in.sizes[key] = n
			n = 0
		} else {
			delete(c.in.sizes, key)
		}
	}
	c.set.Hooks.Trace(Event{Conn: c.pub, Header: h, Size: n})
}

var errFilesInside = errors.New("descriptors with the middle of a frame")

// claimFiles takes n of the received descriptors for the frame at hand.
func (c *econn) claimFiles(n uint32) ([]*os.File, bool) {
	if n == 0 {
		return nil, true
	}
	in := &c.in
	if c.lane.in != nil {
		files, ok := c.lane.at.Load().claim(c, int(n))
		if !ok {
			c.violation(&LimitError{What: "descriptors with one frame", Value: int64(n),
				Limit: int64(len(files))})
		}
		return files, ok
	}
	if int(n) > len(in.arrived.files) || int(n) > c.set.Limits.MaxFiles {
		c.violation(&LimitError{What: "descriptors with one frame", Value: int64(n),
			Limit: int64(min(len(in.arrived.files), c.set.Limits.MaxFiles))})
		return nil, false
	}
	if in.arrived.frameAt < in.arrived.at {
		c.violation(errFilesInside)
		return nil, false
	}
	files := append([]*os.File(nil), in.arrived.files[:n]...)
	in.arrived.files = append(in.arrived.files[:0], in.arrived.files[n:]...)
	return files, true
}

// deadlineOf is when the caller of a request stops waiting.
func deadlineOf(m *wire.Meta) time.Time {
	if m.TimeoutUs == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(min(m.TimeoutUs, 1<<50)) * time.Microsecond)
}

// control handles a control frame.
func (c *econn) control(h wire.Header, body []byte) bool {
	kind, fields, err := wire.ParseControl(body)
	if err != nil {
		c.violation(err)
		return false
	}
	switch kind {
	case wire.KindHello:
		c.violation(errSecondHello)
		return false
	case wire.KindPing:
		if !c.mayPing() {
			return false
		}
		c.out.putControl(c.pub.group, wire.KindPong, h.ID, 0)
		c.dirty = true
	case wire.KindPong:
		c.ponged(h.ID)
	case wire.KindCancel:
		c.cancelled(h.ID)
	case wire.KindDrain:
		c.calls.shut(c, ErrDraining)
	case wire.KindCredit:
		n, err := wire.ParseCredit(fields)
		if err != nil {
			c.violation(err)
			return false
		}
		c.calls.credit(c, n)
	case wire.KindPlace:
		if !c.set.server {
			c.side.place = h.ID
		}
	case wire.KindLaneOffer, wire.KindLaneAccept:
		return c.laneControl(kind, fields)
	}
	return true
}

// maxPongsUnread is how many pings are answered while the peer takes nothing.
const maxPongsUnread = 1024

var errSecondHello = errors.New("second hello")

// mayPing ends the connection of a peer that pings on and on and reads no answer.
func (c *econn) mayPing() bool {
	if !c.out.stalled.Load() {
		c.in.pongs = 0
	}
	if c.in.pongs++; c.in.pongs > maxPongsUnread {
		c.violation(&LimitError{What: "pings without reading", Value: int64(c.in.pongs),
			Limit: maxPongsUnread})
		return false
	}
	return true
}

// replied completes the call that a whole reply is for.
func (c *econn) replied(h wire.Header, body []byte) bool {
	s := c.calls.find(h.ID)
	if s == nil {
		c.count.late.Add(1)
		return true
	}
	if s.calls.Load() && s.move(h.ID, phaseWaiting, phaseDone) {
		return c.callBack(s, h, body)
	}
	if s.move(h.ID, phaseWaiting, phaseFilling) {
		code, payload, err := replyBody(body)
		if err != nil {
			s.move(h.ID, phaseFilling, phaseWaiting)
			c.violation(err)
			return false
		}
		if h.Flags == wire.FlagsError {
			s.err = remoteError(code, payload)
			payload = nil
		}
		c.complete(s, h.ID, payload)
		return true
	}
	if s.move(h.ID, phasePartial, phaseFilling) {
		if !s.goesOn(h) {
			s.move(h.ID, phaseFilling, phasePartial)
			c.violation(errPartsMixed)
			return false
		}
		s.reply = append(s.reply, body...)
		c.endReply(s, h.ID)
		return true
	}
	c.late(s, h.ID)
	return true
}

// replyBody splits the body of a reply, which mostly has no meta.
func replyBody(body []byte) (wire.Code, []byte, error) {
	if len(body) > 0 && body[0] == 0 {
		return wire.CodeOK, body[1:], nil
	}
	meta, payload, err := wire.ParseBody(body)
	return meta.Code, payload, err
}

var errPartsMixed = errors.New("parts of a reply and of an error in one body")

// goesOn says whether a frame is of the same kind as the first of the reply that is coming in.
func (s *slot) goesOn(h wire.Header) bool {
	return (h.Flags&wire.Error != 0) == (s.code != wire.CodeOK)
}

// callBack tells the callback of the call in s, which is done, its reply. Loop only.
func (c *econn) callBack(s *slot, h wire.Header, body []byte) bool {
	done, buf := s.callback, s.buf
	if !c.stash.keep(s) {
		c.calls.release(c, s, 0)
	}
	code, payload, err := replyBody(body)
	if err != nil {
		c.violation(err)
		done(nil, c.err())
		return false
	}
	if h.Flags == wire.FlagsError {
		done(nil, remoteError(code, payload))
		return true
	}
	if buf != nil {
		payload = append(buf[:0], payload...)
	}
	done(payload, nil)
	return true
}

// complete hands payload, which is borrowed, to the caller of the call in s; the slot is filling.
func (c *econn) complete(s *slot, id uint32, payload []byte) {
	if s.err == nil {
		s.reply = append(s.buf[:0], payload...)
	}
	s.awaited = c.lead.slot != s
	s.state.Store(uint64(id)<<phaseBits | uint64(phaseDone))
	c.wakeCaller(s)
}

// wakeCaller tells the caller of the call in s, which is done, unless he reads himself.
func (c *econn) wakeCaller(s *slot) {
	p := &c.lead
	if p.slot == s {
		return
	}
	p.woken++
	if p.slot == nil && !p.collects.Load() {
		p.collects.Store(true) // the loop writes what they send when it has woken all of them
	}
	s.wake()
}

// endReply completes the call whose reply came in several reads and is all in s.reply.
func (c *econn) endReply(s *slot, id uint32) {
	if s.code != wire.CodeOK {
		s.err = remoteError(s.code, s.reply)
		s.reply = nil
	}
	if done := s.callback; done != nil {
		reply, err := s.reply, s.err
		s.move(id, phaseFilling, phaseDone)
		c.calls.release(c, s, 0)
		done(reply, err)
		return
	}
	s.awaited = c.lead.slot != s
	s.move(id, phaseFilling, phaseDone)
	c.wakeCaller(s)
}

// late handles the reply to a call that was given up: its slot is free again.
func (c *econn) late(s *slot, id uint32) {
	c.count.late.Add(1)
	if s.move(id, phaseTomb, phaseDone) {
		c.calls.tombs.Add(-1)
		c.calls.release(c, s, 0)
	}
}
