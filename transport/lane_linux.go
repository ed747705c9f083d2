//go:build linux && !portable

package transport

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// hasLanes says that the epoll engine of this build can use shared memory.
const hasLanes = true

// laneVersion is the version of what PROTOCOL.md says about rings.
const laneVersion = 1

// laneChunk is how many bytes are written to a ring, or read from it, before the other side is told
// of them: so that both work on a long body at the same time.
const laneChunk = 32 << 10

// lane is the shared memory of a connection. The socket stays, and carries three things beside it:
// the news that the peer is gone, bells, and descriptors.
//
//	server                                              client
//	  |  hello, with the capability                       |
//	  |  offer, with the memory -----------------------> |  checks it, maps it
//	  | <------------------------ accept: my last frame  |  writes to ring 0 from now on
//	  |  reads ring 0 from now on                         |
//	  |  accept: my last frame, too -------------------> |  reads ring 1 from now on
//	  |  writes to ring 1 from now on                     |
//
// So each direction changes behind a certain frame, and the order of all of them stays. From then
// on the bytes on the socket are bells, one byte each, for loops that sleep, and carriers, one byte
// with the descriptors that the next frame to announce some is about.
type lane struct {
	mem     laneMap
	size    int
	in, out ring        // read lease, write lease
	gone    atomic.Bool // the socket hung up, or kill: what is in the ring is the last
	bellsOn atomic.Bool // this side's last frame is on the socket, so that bells may follow

	mu    sync.Mutex
	files []*os.File // that carriers brought, guarded by mu
	most  int        // of them; immutable
}

// laneState is what a connection knows of its lane.
type laneState struct {
	at        atomic.Pointer[lane]      // once it is mapped
	why       atomic.Pointer[LaneStats] // what Stats says
	in        *ring                     // what is read from; nil: the socket; read lease
	out       *ring                     // what is written to; nil: the socket; write lease
	due       bool                      // a client's: an offer is to come; read lease
	up        atomic.Bool               // out is set, for who has no lease yet
	late      bool                      // the peer has not been shown all of out; loop only
	over      bool                      // a server's: the client has refused; read lease
	taken     bool                      // a client has accepted; read lease
	meta      []byte                    // of what is handed over in place; read lease
	uncounted uncounted                 // write lease
	borrowed  int                       // bytes of the ring that are; read lease
}

// laneWanted says whether this side is for a lane with its peer; if not, why.
func (c *econn) laneWanted() (why string) {
	switch p := c.pub.peer; {
	case c.set.Socket.Lane == LaneOff:
		return "switched off by this side"
	case c.set.Socket.Lane == LaneRequired:
		return ""
	case !p.Known || int(p.UID) != os.Geteuid():
		return "the peer runs as another uid"
	}
	return ""
}

// noLane notes why there is none. It reports false when that ends the connection.
func (c *econn) noLane(why string) bool {
	c.lane.why.Store(&LaneStats{Why: why})
	if c.set.Socket.Lane != LaneRequired {
		return true
	}
	err := fmt.Errorf("%w: %s", ErrNoLane, why)
	if c.set.server {
		c.refuse(0, wire.CodeDenied, err.Error())
		c.flush(flushBudget)
	}
	c.kill(err)
	return false
}

// offerLane is called on a server when a client has said hello that can use lanes. It makes one,
// and returns what to offer; nil if there is to be none.
func (c *econn) offerLane(peer wire.Capabilities) *parcel {
	why := c.laneWanted()
	if why == "" && peer&wire.CapLane == 0 {
		why = "the peer takes part in none"
	}
	if why != "" {
		c.noLane(why)
		return nil
	}
	lanes := &c.pub.group.lanes
	size := c.set.Socket.ringSize(lanes.Load())
	if n := lanes.Add(int64(2 * size)); n > MaxLaneMemory &&
		c.set.Socket.Lane != LaneRequired {
		lanes.Add(int64(-2 * size))
		c.noLane(fmt.Sprintf("bytes of lanes of all connections: %d, limit %d", n, MaxLaneMemory))
		return nil
	}
	fd, err := newLaneFile(size)
	if err == nil {
		if err = c.mapLane(fd, size, 1); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		lanes.Add(int64(-2 * size))
		c.noLane(err.Error())
		return nil
	}
	offer := wire.Lane{Version: laneVersion, RingSize: uint64(size)}
	frame := offer.AppendTo(nil, wire.KindLaneOffer)
	p := c.pub.group.parcel()
	p.flags, p.files = wire.FlagsControl, []int{fd}
	p.meta = append(p.meta[:0], frame[wire.HeaderSize:]...)
	p.state.Store(parcelDisowned)
	return p
}

// mapLane maps a lane. This side writes to ring out.
func (c *econn) mapLane(fd, size, out int) error {
	m, err := mapLane(fd, size)
	if err != nil {
		return err
	}
	c.lane.at.Store(&lane{mem: m, size: size, in: m.ring(1-out, size), out: m.ring(out, size),
		most: c.set.Limits.MaxFiles})
	return nil
}

var errLaneTwice = errors.New("lane accepted twice, or without an offer")

// laneControl handles an offer or an accept; false ends the connection. It runs on the loop.
func (c *econn) laneControl(kind wire.ControlKind, fields []byte) bool {
	l, err := wire.ParseLane(fields)
	if err != nil {
		c.violation(err)
		return false
	}
	switch {
	case kind == wire.KindLaneOffer && c.lane.due:
		c.lane.due = false
		ok := c.laneOffered(l)
		c.ready()
		return ok
	case kind == wire.KindLaneAccept && c.lane.at.Load() != nil && !c.lane.over:
		return c.laneAccepted(l)
	}
	return true // no lane was spoken of
}

// laneOffered answers an offer.
func (c *econn) laneOffered(l wire.Lane) bool {
	err := c.takeLane(l)
	if err != nil {
		no := wire.Lane{Version: laneVersion}
		c.out.putRaw(c.pub.group, no.AppendTo(nil, wire.KindLaneAccept))
		c.dirty = true
		return c.noLane(err.Error())
	}
	c.lane.taken = true
	c.lane.why.Store(&LaneStats{Ring: c.lane.at.Load().size})
	c.switchOut()
	return true
}

// takeLane maps the lane that a server offers.
func (c *econn) takeLane(l wire.Lane) error {
	files := c.in.arrived.files
	c.in.arrived.files = nil
	defer closeFiles(files)
	switch {
	case l.Version != laneVersion:
		return fmt.Errorf("the offer is of version %d, this side knows %d", l.Version, laneVersion)
	case l.RingSize < MinRing || l.RingSize > MaxRing || l.RingSize&(l.RingSize-1) != 0:
		return fmt.Errorf("a ring of %d bytes is offered, want a power of two from %d to %d",
			l.RingSize, MinRing, MaxRing)
	case len(files) != 1:
		return fmt.Errorf("%d descriptors came with the offer, want 1", len(files))
	}
	fd := int(files[0].Fd())
	if err := checkLaneFile(fd, int(l.RingSize)); err != nil {
		return fmt.Errorf("the memory that is offered: %w", err)
	}
	return c.mapLane(fd, int(l.RingSize), 0)
}

// laneAccepted is called when the last frame of the peer has come that the socket carries.
func (c *econn) laneAccepted(a wire.Lane) bool {
	l := c.lane.at.Load()
	if c.lane.in != nil || !c.set.server && !c.lane.taken {
		c.violation(errLaneTwice)
		return false
	}
	if a.RingSize == 0 && c.set.server {
		c.lane.over = true // the end unmaps it, since kill may look at it from anywhere
		return c.noLane("the peer has refused it")
	}
	if a.RingSize != uint64(l.size) || a.Version != laneVersion {
		c.violation(&LimitError{What: "ring bytes accepted", Value: int64(a.RingSize),
			Limit: int64(l.size)})
		return false
	}
	c.in.r = c.in.w // behind it are bells, and carriers
	l.files, c.in.arrived.files = c.in.arrived.files, nil
	c.lane.in = &l.in
	c.listenRing()
	if c.set.server {
		c.switchOut()
	}
	c.lane.why.Store(&LaneStats{Ring: l.size})
	return true
}

// switchOut queues the last frame that this side writes to the socket.
func (c *econn) switchOut() {
	l := c.lane.at.Load()
	a := wire.Lane{Version: laneVersion, RingSize: uint64(l.size)}
	o := &c.out
	o.mu.Lock()
	o.last = a.AppendTo(nil, wire.KindLaneAccept)
	o.addedLocked(1, int64(len(o.last)))
	o.mu.Unlock()
	c.dirty = true
}

// switched is called when the last frame is on the socket. Write lease held.
func (c *econn) switched() {
	l := c.lane.at.Load()
	c.lane.out = &l.out
	c.lane.up.Store(true)
	a := &c.arming
	a.mu.Lock()
	a.ringOut = true
	a.mu.Unlock()
	l.bellsOn.Store(true)
	if l.in.shared.room.Load() != 0 && l.in.roomMade() { // nobody could ring until now
		c.ringBell()
	}
}

// listenRing has epoll report bells, and that the peer is gone, each once. Loop only.
func (c *econn) listenRing() {
	a := &c.arming
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ringIn = true
	c.modifyLocked()
}

// lanePoll looks whether the ring has something to read.
func (c *econn) lanePoll() outcome {
	l := c.lane.at.Load()
	if c.lane.borrowed > 0 {
		c.giveRingBack() // the handler has panicked
	}
	gone := l.gone.Load() // before the ring: what a peer wrote before it died is there then
	r := c.lane.in
	r.rise()
	n, err := r.unread()
	switch {
	case err != nil:
		c.violation(err)
		return readOver
	case n > 0:
		return readSome
	case gone:
		c.kill(lost(io.EOF))
		return readOver
	}
	return readEmpty
}

// laneSeen tells the race detector, which sees nothing of a ring, that what was before a write is
// before the read of its bytes: it knows that of calls of package unix, which do nothing else here.
func (c *econn) laneSeen() {
	if raceEnabled {
		_, _ = unix.Read(c.fd, nil)
	}
}

// laneRecv copies what is there out of the ring, at most len(b) bytes.
func (c *econn) laneRecv(b []byte) (int, unix.Errno) {
	r := c.lane.in
	n, _ := r.unread()
	if n == 0 {
		return 0, unix.EAGAIN
	}
	c.laneSeen()
	n = min(n, len(b), laneChunk)
	copy(b, r.peek(n))
	if r.consume(n) {
		c.ringBell()
	}
	return n, 0
}

// laneEvent handles what epoll reported of the socket of a lane. Loop only.
func (c *econn) laneEvent(events uint32) {
	l, a := c.lane.at.Load(), &c.arming
	a.mu.Lock()
	if a.write {
		a.write = false
		c.modifyLocked()
	}
	a.mu.Unlock()
	if events&unix.EPOLLIN != 0 {
		l.drain(c)
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLRDHUP) != 0 {
		l.gone.Store(true)
	}
	if c.out.stalled.Load() {
		c.out.stalled.Store(false)
		c.flushOrArm()
	}
	if c.takeForLoop() {
		c.turn()
		return
	}
	l.wakeLeader()
	if !c.lead.inPark.Load() {
		c.watchLeader()
	}
}

// wakeLeader has a leader look again.
func (l *lane) wakeLeader() {
	l.in.shared.sleep.CompareAndSwap(sleepLeader, awake)
	l.in.rouse() // also one whose announcement another goroutine has overwritten
}

// drain takes the bells off the socket, and what carriers brought, of which it leaves what is more
// than one frame may have.
func (l *lane) drain(c *econn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b [64]byte
	for !c.side.files || len(l.files) < l.most {
		var n int
		var e unix.Errno
		if !c.side.files {
			n, e = rawRecv(c.fd, b[:])
		} else {
			n, l.files, e = recvFiles(c.fd, b[:], l.files)
		}
		if n < len(b) || e != 0 {
			return // the end of the stream shows in the events
		}
	}
}

// claim takes n descriptors that the frame at hand announces. They were sent before it.
func (l *lane) claim(c *econn, n int) ([]*os.File, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b [1]byte
	for len(l.files) < n && n <= l.most {
		got, files, e := recvFiles(c.fd, b[:], l.files)
		l.files = files
		if e != 0 || got == 0 {
			break
		}
	}
	if len(l.files) < n || n > l.most {
		return nil, false
	}
	files := append([]*os.File(nil), l.files[:n]...)
	l.files = append(l.files[:0], l.files[n:]...)
	return files, true
}

// laneNap is napForReply on a ring.
func (c *econn) laneNap(d time.Duration) bool {
	l, r := c.lane.at.Load(), c.lane.in
	if c.out.stalled.Load() {
		c.armWrite()
	}
	if r.listen(sleepLeader) && !l.gone.Load() {
		r.doze(d)
	}
	r.rise()
	n, err := r.unread()
	return n > 0 || err != nil || l.gone.Load()
}

// hangUp has whoever reads from the ring look at what is there for the last time.
func (c *econn) hangUp() {
	if l := c.lane.at.Load(); l != nil {
		l.gone.Store(true)
		l.wakeLeader()
	}
}

// dropLane unmaps the lane. Nobody uses it: both leases are held, and kill has been here.
func (c *econn) dropLane() {
	l := c.lane.at.Load()
	if l == nil {
		return
	}
	c.lane.up.Store(false)
	c.lane.in, c.lane.out = nil, nil
	c.lane.at.Store(nil)
	closeFiles(l.files)
	l.files = nil
	l.mem.unmap()
	if c.set.server {
		c.pub.group.lanes.Add(int64(-2 * l.size))
	}
}
