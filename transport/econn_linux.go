//go:build linux && !portable

package transport

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// never is later than every deadline.
const never = math.MaxInt64

// mode is what is known of the language of a connection. Its reader's; native is for the others.
type mode int

const (
	modeUndecided mode = iota // a server's, before the first frame
	modeGreeting              // a client's, before the answer to its hello
	modeNative
	modeForeign
)

// What a loop is asked to do for a connection: bits of econn.errands.
const (
	errandOpen  uint32 = 1 << iota // register with epoll
	errandFlush                    // write what waits
	errandRead                     // read, even if epoll is silent
	errandReap                     // it is dead: end it
	errandRoom                     // tell Hooks.Room
)

// econn is a connection on an epoll loop.
//
//	open -> (draining) -> dead: shutdown(2), posted for reaping -> both leases back -> reaped:
//	EPOLL_CTL_DEL, close(2), calls failed, hooks told, done
type econn struct {
	pub      *Conn
	set      *settings
	loop     *loop
	listener *Listener // or nil
	fd       int       // closed by the loop only
	seat     seat

	in      inbox
	out     outbox
	calls   calls
	serving serving
	side    sideState
	count   counts
	arming  arming
	ending  ending
	lead    leadState

	lane    laneState
	errands errands
	mode    mode  // read lease
	stash   stash // loop only
	dirty   bool  // replies wait to be flushed after this batch; loop only
}

// errands are what the loop is to do for a connection.
type errands struct {
	bits atomic.Uint32 // partner: loop.post
	next *econn        // in the chain; guarded by loop.mu, then the loop's
}

// seat is a connection's slot in its loop.
type seat struct {
	index uint32 // loop only
	key   uint64 // of its events; immutable after open
}

// sideState is what the two sides have agreed on and owe each other.
type sideState struct {
	native  atomic.Bool
	files   bool          // descriptors were negotiated; set before native
	places  bool          // so were places; set before native
	ready   chan struct{} // closed when native, or dead
	peerMax atomic.Uint32 // largest body the peer takes
	granted atomic.Int64  // bytes of calls and oneways that the peer may have sent, ever
	here    int64         // of them handled on the loop, not yet in owed; loop only
	owed    atomic.Int64  // of them handled, but not yet given back as credit
	hello   int64         // deadline of the first frame, or never; loop only
	parts   atomic.Uint32 // oneways that were sent in parts
	place   uint32        // processor that the peer has told of, or been told of; read lease
	pings   pings
}

// cacheLine is how many bytes two processors share or fight for.
const cacheLine = 64

// leadState is what leaders need; see leader_linux.go.
type leadState struct {
	slot    *slot       // of the leader; read lease
	woken   int         // callers completed since the last yield; read lease
	lone    int         // reads in a row for a single caller; loop only
	spin    spinner     // read lease
	inPark  atomic.Bool // the loop looks after the parked connection; partner: tick
	uses    atomic.Uint32
	seen    atomic.Uint32 // uses at the last tick; written by the loop and its timer
	inbound atomic.Int32  // ticks until the connection may be parked again
	ran     chan struct{} // the last of those who were woken has run
	// collects says that the reader lets others run and will write what they send.
	collects atomic.Bool
	_        [cacheLine]byte
	due      atomic.Int32 // callers who were woken and have not run yet; partner: yieldToWoken
	waits    atomic.Bool  // the reader waits for them
	_        [cacheLine]byte
}

// arming is what epoll has been asked to report. A report ends it for both directions.
type arming struct {
	mu          sync.Mutex
	read, write bool // guarded by mu
	open        bool // registered, and not closed yet; guarded by mu
	// Directions that go through shared memory, for which bells ring; guarded by mu.
	ringIn, ringOut bool
}

// counts are the counters behind Stats.
type counts struct {
	framesIn, framesOut, bytesIn, bytesOut atomic.Uint64
	reads, writes, polls, wakes            atomic.Uint64
	drops, late, bells                     atomic.Uint64
}

// newEpoll makes the engine of c on s, which is its own from now on. It does nothing before begin.
func newEpoll(c *Conn, s socket, l *Listener) *econn {
	e := &econn{pub: c, set: c.set, loop: c.group.loops.pick(), listener: l, fd: s.fd}
	c.local = &e.loop.serve.local
	e.calls.init(c.set.Limits.MaxPending)
	e.out.limit = int64(c.set.Limits.Outbox)
	if t := c.set.Hooks.Trace; t != nil {
		e.out.trace = func(ev Event) {
			ev.Conn = c
			t(ev)
		}
	}
	e.side.ready = make(chan struct{})
	e.ending.quiet = make(chan struct{})
	e.ending.done = make(chan struct{})
	if c.ownGroup {
		e.ending.done = e.loop.gone
	}
	e.side.granted.Store(c.set.Limits.MaxCallBytes)
	e.side.hello = never
	e.lead.ran = make(chan struct{}, 1)
	e.lead.spin.init(c.set.busyPoll)
	e.side.peerMax.Store(uint32(c.set.Limits.MaxBody))
	e.in.lease.Store(leaseLoop) // until it is open
	e.lane.why.Store(&LaneStats{Why: "the peer has not said hello"})
	if c.set.greets() {
		e.mode = modeGreeting
		h := c.set.hello()
		if e.movesAtAll() {
			h.Capabilities |= wire.CapPlace
		}
		if why := e.laneWanted(); why == "" {
			h.Capabilities |= wire.CapLane
			e.lane.due = true
		} else {
			e.noLane(why)
		}
		e.out.putRaw(c.group, h.AppendTo(nil))
	} else if !c.set.server {
		e.mode = modeForeign
	}
	c.eng = e
	return e
}

// begin tells the hook and hands the connection to its loop.
func (c *econn) begin() {
	if f := c.set.Hooks.Open; f != nil {
		f(c.pub)
	}
	c.loop.post(c, errandOpen)
}

// greet waits for the answer to the hello of a client.
func (c *econn) greet(ctx context.Context) error {
	select {
	case <-c.side.ready:
		if err := c.err(); err != nil {
			<-c.ending.done
			return err
		}
		return nil
	case <-ctx.Done():
		c.kill(fmt.Errorf("no answer to the hello: %w", ctx.Err()))
		<-c.ending.done
		return c.err()
	case <-c.loop.gone: // the group was closed
		if c.ending.dead.CompareAndSwap(false, true) {
			c.ending.cause.CompareAndSwap(nil, &failure{ErrClosed})
			unix.Close(c.fd)
		}
		return c.err()
	}
}

// work does what was posted. It runs on the loop.
func (c *econn) work(bits uint32) {
	if bits&errandOpen != 0 {
		c.open()
	}
	if bits&errandFlush != 0 && !c.ending.dead.Load() {
		c.flushOrArm()
	}
	if bits&errandRead != 0 {
		if c.takeForLoop() {
			c.turn()
		} else if c.lane.in != nil {
			c.lane.at.Load().wakeLeader()
		}
	}
	if bits&errandRoom != 0 && !c.ending.dead.Load() {
		c.set.Hooks.Room(c.pub)
	}
	if bits&errandReap != 0 {
		c.reap()
	}
}

// open registers the connection with epoll. The loop has had the read lease since it was made.
func (c *econn) open() {
	c.loop.spin.init(c.set.busyPoll)
	c.seat.index, c.seat.key = c.loop.claim(c, nil)
	ev := unix.EpollEvent{Events: unix.EPOLLONESHOT}
	setKey(&ev, c.seat.key)
	if err := unix.EpollCtl(c.loop.ep, unix.EPOLL_CTL_ADD, c.fd, &ev); err != nil {
		c.kill(os.NewSyscallError("epoll_ctl", err))
		return
	}
	c.arming.mu.Lock()
	c.arming.open = true
	c.arming.mu.Unlock()
	if c.set.server && c.set.Foreign == nil {
		c.side.hello = nanotime() + int64(c.set.Limits.HelloTimeout)
		c.loop.want(c.side.hello)
	}
	c.flushOrArm()
	c.turn()
}

// event handles what epoll reported; the registration is silent now.
func (c *econn) event(events uint32) {
	if c.lane.in != nil {
		c.laneEvent(events)
		return
	}
	a := &c.arming
	a.mu.Lock()
	wantRead, wantWrite := a.read, a.write
	a.read, a.write = false, false
	a.mu.Unlock()
	const broken = unix.EPOLLERR | unix.EPOLLHUP
	if wantWrite {
		if events&(unix.EPOLLOUT|broken) != 0 {
			c.out.stalled.Store(false)
			c.flushOrArm()
		} else {
			c.armWrite()
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|broken) == 0 {
		if wantRead {
			c.armRead()
		}
		return
	}
	if c.takeForLoop() {
		c.turn()
	} else if !c.lead.inPark.Load() {
		c.watchLeader()
	}
}

// watchLeader looks after a connection that a leader reads, from now on.
func (c *econn) watchLeader() {
	c.lead.seen.Store(c.lead.uses.Load())
	c.lead.inPark.Store(true)
	c.loop.park(c)
}

// flushOrArm writes what waits, or has epoll tell when that is possible. As long as the loop keeps
// the read lease it tries again by itself, and arms when it gives that back.
func (c *econn) flushOrArm() {
	c.publishLate()
	c.out.uncork()
	c.stash.giveBack(c)
	c.checkOutbox()
	if !c.flush(math.MaxInt) && c.in.lease.Load() != leaseLoop {
		c.armWrite()
	}
}

// dirtyNow notes that the loop should flush when it is done with the connection at hand, which may
// be another one. Loop only.
func (c *econn) dirtyNow() {
	if !c.dirty {
		c.dirty = true
		c.loop.soiled = append(c.loop.soiled, c)
	}
}

func (c *econn) armRead() { c.arm(true, false) }

func (c *econn) armWrite() { c.arm(false, true) }

// arm has epoll report once, for the directions asked for now and those asked for before. For those
// that go through shared memory it asks for a bell.
func (c *econn) arm(read, write bool) {
	a := &c.arming
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.open {
		a.read, a.write = a.read || read, a.write || write
		return
	}
	if read && a.ringIn {
		read = false
		if l := c.lane.at.Load(); !l.in.listen(sleepLoop) || l.gone.Load() {
			c.loop.post(c, errandRead)
		}
	}
	if write && a.ringOut && !c.out.noCarrier.Load() {
		write = false
		if l := c.lane.at.Load(); !l.out.await() {
			c.out.stalled.Store(false)
			c.loop.post(c, errandFlush)
		}
	}
	if read || write {
		a.read, a.write = a.read || read, a.write || write
		c.modifyLocked()
	}
}

// modifyLocked tells epoll what to report. Bells are for a loop that may sleep with the read lease
// free: nothing has to silence them, and each rings once.
func (c *econn) modifyLocked() {
	a := &c.arming
	ev := unix.EpollEvent{Events: unix.EPOLLONESHOT}
	if a.ringIn {
		ev.Events = unix.EPOLLET
	}
	if a.read || a.ringIn {
		ev.Events |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if a.write {
		ev.Events |= unix.EPOLLOUT
	}
	setKey(&ev, c.seat.key)
	if err := unix.EpollCtl(c.loop.ep, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
		c.kill(os.NewSyscallError("epoll_ctl", err))
	}
}

// expire ends what is overdue at now and returns the next deadline of the connection. Loop only.
func (c *econn) expire(now int64) int64 {
	next := int64(never)
	if c.side.hello != never {
		if c.mode != modeUndecided {
			c.side.hello = never
		} else if now >= c.side.hello {
			c.side.hello = never
			c.kill(fmt.Errorf("transport: no hello within %v: %w", c.set.Limits.HelloTimeout,
				os.ErrDeadlineExceeded))
		}
		next = c.side.hello
	}
	if c.calls.due.Load() > now {
		return min(next, c.calls.due.Load())
	}
	c.calls.due.Store(never)
	c.calls.each(func(s *slot) {
		at := s.deadline.Load()
		if at == 0 {
			return
		}
		if at > now {
			next = min(next, at)
			return
		}
		if c.overdue(s) {
			s.deadline.CompareAndSwap(at, 0)
		}
	})
	for {
		d := c.calls.due.Load()
		if next >= d || c.calls.due.CompareAndSwap(d, next) {
			return min(next, d)
		}
	}
}

// overdue ends a call whose deadline has passed: a caller is told to look, a callback is called. It
// reports false when the call is not open yet, or is over.
func (c *econn) overdue(s *slot) bool {
	v := s.state.Load()
	id, at := uint32(v>>phaseBits), phase(v&(1<<phaseBits-1))
	if at == phaseFree || at == phaseDone {
		return false
	}
	if !s.calls.Load() {
		s.wake() // also while a leader fills it
		return true
	}
	if at == phaseWaiting || at == phasePartial {
		c.entomb(s, id, at, ErrDeadline)
	}
	return true
}

// entomb gives a call with a callback up, and tells the callback why. Loop only.
func (c *econn) entomb(s *slot, id uint32, at phase, why error) {
	done := s.callback
	if !s.move(id, at, phaseTomb) {
		return
	}
	c.calls.tombs.Add(1)
	if !s.long { // a cancel would end its body; the callee knows the deadline
		c.out.putControl(c.pub.group, wire.KindCancel, id, 0)
		c.flushOrArm()
	}
	done(nil, why)
}

func (c *econn) done() <-chan struct{} { return c.ending.done }

func (c *econn) native() bool { return c.side.native.Load() }

func (c *econn) peerMaxBody() uint32 { return c.side.peerMax.Load() }

func (c *econn) err() error {
	if !c.ending.dead.Load() {
		return nil
	}
	return c.ending.cause.Load().err
}

func (c *econn) abort(err error) {
	c.kill(err)
}

func (c *econn) drain() {
	if c.native() && !c.dead() {
		c.out.putControl(c.pub.group, wire.KindDrain, 0, 0)
		c.flushSoon()
	}
}

// flushSoon flushes, after the batch when on the loop.
func (c *econn) flushSoon() {
	if c.loop.here() {
		c.dirtyNow()
	} else if !c.flush(flushBudget) {
		c.armWrite()
	}
}

func (c *econn) stats() Stats {
	n := &c.count
	var s Stats
	s.FramesIn, s.FramesOut = n.framesIn.Load(), n.framesOut.Load()
	s.BytesIn, s.BytesOut = n.bytesIn.Load(), n.bytesOut.Load()
	s.Reads, s.Writes, s.Polls = n.reads.Load(), n.writes.Load(), n.polls.Load()
	s.Wakes, s.Bells = n.wakes.Load(), n.bells.Load()
	s.Lane = *c.lane.why.Load()
	sp := &c.lead.spin
	s.SpinHits, s.SpinMisses, s.Yields = sp.hits.Load(), sp.misses.Load(), sp.yielded.Load()
	s.Moves = sp.place.moves.Load()
	if c.pub.ownGroup {
		s.Counters.add(c.pub.group.loops.counters())
	}
	s.Drops, s.LateReplies = n.drops.Load(), n.late.Load()
	k := &c.calls
	k.mu.Lock()
	s.Pending, s.CreditBytes = int(k.pending.Load()), k.bytes
	s.CreditCalls = max(0, k.peerCalls-s.Pending)
	k.mu.Unlock()
	s.Tombstones = int(k.tombs.Load())
	s.Serving = c.serving.count()
	s.OutboxFrames, s.OutboxBytes = c.out.load()
	s.HeldBytes = c.ending.held.Load() + s.OutboxBytes
	return s
}
