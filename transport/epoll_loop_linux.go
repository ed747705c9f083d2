//go:build linux && !portable

package transport

import (
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// eventBatch is how many events a loop takes at a time.
const eventBatch = 128

// maxHot is how many connections a loop keeps reading without asking epoll first; maxHotLanes is
// how many that are rings, of which a look costs next to nothing.
const (
	maxHot      = 2
	maxHotLanes = 64
)

// wakeKey is the event key of the eventfd; slots never have it.
const wakeKey = math.MaxUint64

// loops are the loops of a Group.
type loops struct {
	all  []*loop
	next atomic.Uint32
	wg   sync.WaitGroup
	// leaders counts the goroutines that wait for their reply in the kernel.
	leaders atomic.Int32
}

func (l *loops) start(n int) error {
	for range n {
		lp, err := newLoop()
		if err != nil {
			l.stop()
			return err
		}
		l.all = append(l.all, lp)
		l.wg.Go(lp.run)
	}
	return nil
}

// stop ends every connection, then the loops, and waits for them.
func (l *loops) stop() error {
	for _, lp := range l.all {
		lp.quit.Store(true)
		lp.wake()
	}
	l.wg.Wait()
	return nil
}

// counters are what the loops have counted themselves.
func (l *loops) counters() (n Counters) {
	for _, lp := range l.all {
		n.Wakes += lp.wakes.Load()
		n.SpinHits += lp.spin.hits.Load()
		n.SpinMisses += lp.spin.misses.Load()
		n.Yields += lp.spin.yielded.Load()
		n.Moves += lp.spin.place.moves.Load()
	}
	return n
}

// pick chooses the loop of a new connection.
func (l *loops) pick() *loop { return l.all[int(l.next.Add(1))%len(l.all)] }

// loop is one epoll instance and the goroutine that waits on it. A connection belongs to one loop
// for life.
//
//	           +--------------------------------------------------+
//	           v                                                  |
//	errands -> hot connections -> expired deadlines -> poll: 0, spin, or block
//	                                                              |
//	             events: slot and generation -> connection -------+
type loop struct {
	ep     int
	bell   int // eventfd that wakes the loop; written to at most once a sleep, never read
	id     atomic.Uintptr
	quit   atomic.Bool
	gone   chan struct{} // closed by the loop's last act
	asleep atomic.Bool   // partner: wake
	wakes  atomic.Uint64

	wakeAt   atomic.Int64 // when the sleep will end by itself; partner: deadline
	deadline atomic.Int64 // the earliest that a connection asked for; partner: wakeAt

	posted  posted
	tenants tenants
	hot     [2][]*econn // read lease held, read in every turn; the second is spare; loop only
	lanes   int         // how many of hot[0] are rings; loop only
	parked  parked
	reading *econn   // whose frames are being handled; loop only
	soiled  []*econn // with something to flush for others; loop only
	reaps   []*econn // dead ones whose leases are not back; loop only
	events  [eventBatch]unix.EpollEvent
	spin    spinner
	serve   served
}

// posted is what others want the loop to do.
type posted struct {
	some    atomic.Bool // there is something; written under mu
	mu      sync.Mutex
	errands *econn // chain of connections with something to do, guarded by mu
	last    *econn // guarded by mu
	jobs    []func()
}

// tenants are those whose events the loop gets, by slot. Loop only.
type tenants struct {
	slots []loopSlot
	free  []uint32
	freed []uint32 // to be free after the event batch
}

// served is the request whose handler runs, and what handlers have. Loop only.
type served struct {
	req      Request
	metaSet  bool       // req.meta is not zero
	handling *Request   // &req while its handler runs
	spare    []*Request // for calls that are to be held
	local    any        // see Conn.Local
}

// poller is something besides a connection that the loop's epoll reports on: a listening socket.
type poller interface {
	ready()
}

type loopSlot struct {
	conn   *econn
	poller poller
	gen    uint32
}

func newLoop() (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(ep)
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &loop{ep: ep, bell: bell, gone: make(chan struct{})}
	l.wakeAt.Store(math.MaxInt64)
	l.deadline.Store(math.MaxInt64)
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	setKey(&ev, wakeKey)
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, bell, &ev); err != nil {
		unix.Close(ep)
		unix.Close(bell)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return l, nil
}

// setKey puts a slot's index and generation where the kernel keeps them.
func setKey(ev *unix.EpollEvent, key uint64) {
	ev.Fd, ev.Pad = int32(uint32(key)), int32(uint32(key>>32))
}

func keyOf(ev *unix.EpollEvent) uint64 { return uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32 }

// here says whether the caller runs on the loop: in a handler, a callback or a hook.
func (l *loop) here() bool { return l.id.Load() == goroutineID() }

// wake ends the loop's sleep, if it sleeps.
func (l *loop) wake() {
	if l.asleep.Load() && l.asleep.CompareAndSwap(true, false) {
		l.wakes.Add(1)
		notify(l.bell)
	}
}

// want sees to it that the loop looks at deadlines at time t at the latest.
func (l *loop) want(t int64) {
	for {
		d := l.deadline.Load()
		if t >= d {
			return
		}
		if l.deadline.CompareAndSwap(d, t) {
			break
		}
	}
	if t < l.wakeAt.Load() {
		l.wake()
	}
}

// post has the loop do for c what bits say; see econn.work.
func (l *loop) post(c *econn, bits uint32) {
	if c.errands.bits.Or(bits) != 0 {
		return // is in the chain already, and bits will be seen there
	}
	l.posted.mu.Lock()
	if l.posted.last == nil {
		l.posted.errands = c
	} else {
		l.posted.last.errands.next = c
	}
	l.posted.last = c
	l.posted.some.Store(true)
	l.posted.mu.Unlock()
	l.wake()
}

// call has the loop run f.
func (l *loop) call(f func()) {
	l.posted.mu.Lock()
	l.posted.jobs = append(l.posted.jobs, f)
	l.posted.some.Store(true)
	l.posted.mu.Unlock()
	l.wake()
}

// run is the loop's goroutine.
func (l *loop) run() {
	l.id.Store(goroutineID())
	defer l.close()
	for !l.quit.Load() || l.killAll() {
		busy := l.runErrands()
		l.wash()
		busy = l.readHot() || busy
		l.afterBatch()
		l.runTimers()
		l.wash()
		n := l.poll(busy)
		for i := range n {
			l.dispatch(&l.events[i])
			l.wash()
		}
		if n > 0 {
			l.spin.active()
		}
	}
}

func (l *loop) close() {
	l.id.Store(0) // the next goroutine may get the same
	l.parked.end()
	unix.Close(l.bell)
	unix.Close(l.ep)
	close(l.gone)
}

// killAll ends every connection when the loop is to stop; it reports true while some are left.
func (l *loop) killAll() bool {
	left := false
	for i := range l.tenants.slots {
		if c := l.tenants.slots[i].conn; c != nil {
			left = true
			c.kill(ErrClosed)
		}
	}
	l.posted.mu.Lock()
	defer l.posted.mu.Unlock()
	return left || l.posted.errands != nil || l.posted.jobs != nil
}

// runErrands does what was posted.
func (l *loop) runErrands() bool {
	if !l.posted.some.Load() && len(l.reaps) == 0 {
		return false
	}
	l.posted.mu.Lock()
	c, jobs := l.posted.errands, l.posted.jobs
	l.posted.errands, l.posted.last, l.posted.jobs = nil, nil, nil
	l.posted.some.Store(false)
	l.posted.mu.Unlock()
	for _, f := range jobs {
		f()
	}
	for c != nil {
		next := c.errands.next
		c.errands.next = nil
		c.work(c.errands.bits.Swap(0))
		c = next
	}
	waiting := l.reaps
	l.reaps = nil
	for _, c := range waiting {
		c.reap()
	}
	return true
}

// readHot gives every hot connection one read.
func (l *loop) readHot() bool {
	hot := l.hot[0]
	if len(hot) == 0 {
		return false
	}
	l.hot[0], l.hot[1], l.lanes = l.hot[1][:0], hot, 0
	some := false
	for i, c := range hot {
		hot[i] = nil
		some = c.hotTurn() || some
		l.wash()
	}
	if some {
		l.spin.active()
	}
	return some
}

// wash flushes what handlers and callbacks of one connection have queued for others: at once, so
// that a call which goes on to another connection does not wait for the turn of that one.
func (l *loop) wash() {
	for i := 0; i < len(l.soiled); i++ {
		c := l.soiled[i]
		l.soiled[i] = nil
		if c.dirty {
			c.dirty = false
			c.flushOrArm()
		}
	}
	l.soiled = l.soiled[:0]
}

// more says that there are more frames to handle in the inbox at hand. After them the loop flushes
// what they have brought forth, on every connection. Loop only.
func (l *loop) more() bool { return l.reading != nil && l.reading.in.r < l.reading.in.w }

// keepHot keeps a connection whose read lease the loop holds among the hot ones; it reports false
// when there are enough of them.
func (l *loop) keepHot(c *econn) bool {
	n, most := len(l.hot[0])-l.lanes, maxHot
	if c.lane.in != nil {
		n, most = l.lanes, maxHotLanes
	}
	if n >= most {
		return false
	}
	l.addHot(c)
	return true
}

// addHot is keepHot for one that has a place.
func (l *loop) addHot(c *econn) {
	l.hot[0] = append(l.hot[0], c)
	if c.lane.in != nil {
		l.lanes++
	}
}

// coolDown gives the leases of all hot connections back and arms them.
func (l *loop) coolDown() {
	for i, c := range l.hot[0] {
		l.hot[0][i] = nil
		c.cool()
	}
	l.hot[0], l.lanes = l.hot[0][:0], 0
}

// afterBatch frees the slots of connections that were closed; no event of the batch can refer to
// them any more.
func (l *loop) afterBatch() {
	for _, i := range l.tenants.freed {
		l.tenants.slots[i].gen++
		l.tenants.free = append(l.tenants.free, i)
	}
	l.tenants.freed = l.tenants.freed[:0]
}

// runTimers looks after parked connections and deadlines.
func (l *loop) runTimers() {
	if l.parked.due.Load() {
		l.tickParked()
	}
	if at := l.deadline.Load(); at != math.MaxInt64 {
		if now := nanotime(); now >= at {
			l.expire(now)
		}
	}
}

// expire ends the calls whose deadline is over, on every connection that has some.
func (l *loop) expire(now int64) {
	l.deadline.Store(math.MaxInt64)
	next := int64(math.MaxInt64)
	for i := range l.tenants.slots {
		if c := l.tenants.slots[i].conn; c != nil {
			next = min(next, c.expire(now))
		}
	}
	for {
		d := l.deadline.Load()
		if next >= d || l.deadline.CompareAndSwap(d, next) {
			return
		}
	}
}

// poll asks epoll: at once when there is work, again and again as long as spinning pays, and then
// it blocks.
func (l *loop) poll(busy bool) int {
	m := overSocket
	if l.lanes > 0 && l.lanes == len(l.hot[0]) {
		m = overRing
	}
	if busy {
		if len(l.hot[0]) > 0 && !l.spin.askEpoll(m) {
			return 0
		}
		return epollPoll(l.ep, l.events[:])
	}
	again := l.spin.again(m)
	if l.spin.place.due {
		l.lookAround()
	}
	if again {
		if len(l.hot[0]) > 0 && !l.spin.askEpoll(m) {
			return 0
		}
		n := epollPoll(l.ep, l.events[:])
		if n > 0 {
			l.spin.active()
		}
		return n
	}
	l.coolDown()
	return l.sleep()
}

// sleep blocks until there are events, somebody wakes the loop, or a deadline comes up. What was
// posted before asleep was set is seen by the second look; what is posted after it rings the bell.
func (l *loop) sleep() int {
	l.asleep.Store(true)
	at := l.deadline.Load()
	l.wakeAt.Store(at)
	if l.deadline.Load() < at || l.hasErrands() || l.parked.due.Load() || l.quit.Load() {
		l.asleep.Store(false)
		return epollPoll(l.ep, l.events[:])
	}
	timeout := -1
	if at != math.MaxInt64 {
		timeout = int(max(0, at-nanotime()+int64(time.Millisecond)-1) / int64(time.Millisecond))
	}
	began := nanotime()
	n, err := unix.EpollWait(l.ep, l.events[:], timeout)
	l.asleep.Store(false)
	l.wakeAt.Store(math.MaxInt64)
	l.spin.slept(began, n > 0)
	if err != nil {
		return 0 // EINTR: the next turn asks again
	}
	return n
}

func (l *loop) hasErrands() bool {
	l.posted.mu.Lock()
	defer l.posted.mu.Unlock()
	return l.posted.errands != nil || l.posted.jobs != nil || len(l.reaps) > 0
}

// dispatch hands one event to whom it is for. A late one, for a slot with a new tenant, differs in
// the generation.
func (l *loop) dispatch(ev *unix.EpollEvent) {
	key := keyOf(ev)
	if key == wakeKey {
		return
	}
	i, gen := uint32(key), uint32(key>>32)
	if int(i) >= len(l.tenants.slots) || l.tenants.slots[i].gen != gen {
		return
	}
	switch s := &l.tenants.slots[i]; {
	case s.conn != nil:
		s.conn.event(ev.Events)
	case s.poller != nil:
		s.poller.ready()
	}
}

// claim gives a tenant a slot and returns the key for its events. Loop only.
func (l *loop) claim(c *econn, p poller) (index uint32, key uint64) {
	if n := len(l.tenants.free); n > 0 {
		index = l.tenants.free[n-1]
		l.tenants.free = l.tenants.free[:n-1]
	} else {
		index = uint32(len(l.tenants.slots))
		l.tenants.slots = append(l.tenants.slots, loopSlot{})
	}
	s := &l.tenants.slots[index]
	s.conn, s.poller = c, p
	return index, uint64(index) | uint64(s.gen)<<32
}

// vacate ends a tenancy; the slot is free after the event batch. Loop only.
func (l *loop) vacate(index uint32) {
	l.tenants.slots[index].conn, l.tenants.slots[index].poller = nil, nil
	l.tenants.freed = append(l.tenants.freed, index)
}

// nanotime is Now in nanoseconds.
func nanotime() int64 { return int64(Now()) }
