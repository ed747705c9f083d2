package hub

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/balancer"
)

// maxPickers bounds the selectors whose turn is remembered. Over it all begin anew: what is lost is
// only whose turn it was.
const maxPickers = 4096

// core is the hub without its sockets: who is there, who is found, who waits for whom.
//
//	caller --message--> scan, read the keys --> table.find --> picker --> provider
//	caller <--reply---- pending.settle <----------------------reply------ provider
//
// Its one lock guards all of it and is never held while a frame is written. What becomes of a call
// is decided under it: whoever takes the call out of pending is the one that answers its caller.
type core struct {
	limits Limits                 // immutable
	picker func() balancer.Picker // immutable
	start  time.Time              // immutable
	sweep  func()                 // opens the peers that have connected; immutable
	stats  counters
	turns  sync.Pool // of *turn

	mu      sync.Mutex // everything below is guarded by it
	peers   []*peer    // in order of connecting, so with rising seq
	lastSeq uint64
	table   *table
	pending pending
	pickers map[string]balancer.Picker // by selector.appendKey
	closed  bool
	timer   *time.Timer    // runs expire
	armed   time.Duration  // when it does, since start; 0 when it is not set
	firing  sync.WaitGroup // runs of expire that are set or under way
}

// job is a frame that is still to be written.
type job struct {
	to   *peer
	body []byte
}

func newCore(l Limits, picker func() balancer.Picker) *core {
	c := &core{limits: l.withDefaults(), picker: picker, start: time.Now(), table: newTable(),
		sweep: func() {}, pickers: make(map[string]balancer.Picker)}
	c.turns.New = func() any { return new(turn) }
	return c
}

func (c *core) now() time.Duration { return time.Since(c.start) }

// open takes a new connection in. It says false when the hub is closed.
func (c *core) open(p *peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.lastSeq++
	p.seq = c.lastSeq
	c.peers = append(c.peers, p)
	c.table.connect(p)
	return true
}

// leave forgets a connection that has ended, and answers the calls that waited for it.
func (c *core) leave(p *peer) {
	c.mu.Lock()
	jobs := c.dropLocked(nil, p)
	c.mu.Unlock()
	c.deliver(jobs)
}

// retireLocked takes out those of the peers found that have turned out to be native. It says
// whether there were any.
func (c *core) retireLocked(jobs *[]job, found []*peer) (some bool) {
	for _, p := range found {
		if !p.spoken.Load() && p.link.native() {
			*jobs = c.dropLocked(*jobs, p)
			some = true
		}
	}
	return some
}

// cut ends a connection from this side, and adds to jobs the answers to those who waited for it.
func (c *core) cut(jobs []job, p *peer, cause error) []job {
	c.mu.Lock()
	jobs = c.dropLocked(jobs, p)
	c.mu.Unlock()
	if !p.link.native() { // it has become native just now: then it is none of ours
		p.link.end(cause)
	}
	return jobs
}

// nameOf is the location that p has told, for the log.
func (c *core) nameOf(p *peer) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.name
}

// dropLocked takes p out of everything. The calls that p waited for end silently.
func (c *core) dropLocked(jobs []job, p *peer) []job {
	if p.seq == 0 || p.gone.Swap(true) { // never in, or out already
		return jobs
	}
	i, _ := slices.BinarySearchFunc(c.peers, p.seq, func(p *peer, seq uint64) int {
		return cmp.Compare(p.seq, seq)
	})
	c.peers = slices.Delete(c.peers, i, i+1)
	c.table.remove(p)
	for p.asked != nil {
		call := p.asked
		c.pending.settle(call)
		c.pending.recycle(call)
	}
	for _, call := range p.waiting {
		c.stats.lost.Add(1)
		jobs = c.failLocked(jobs, call, &failure{class: "Error",
			text: []byte("target disconnected before it answered")})
	}
	return jobs
}

// deliver writes the jobs, and what comes of those that cannot be written.
func (c *core) deliver(jobs []job) {
	for i := 0; i < len(jobs); i++ {
		to := jobs[i].to
		if err := to.send(to.id(), [][]byte{jobs[i].body}); err != nil {
			jobs = c.cut(jobs, to, err)
		}
		jobs[i] = job{}
	}
}

// failLocked settles the call with a failure.
func (c *core) failLocked(jobs []job, call *call, f *failure) []job {
	c.pending.settle(call)
	caller, id, b := call.caller, call.callerID, call.batch
	c.pending.recycle(call)
	if b == nil {
		return append(jobs, job{caller, appendFailure(nil, id, f)})
	}
	if b.add(f.appendPackage(nil)) {
		jobs = append(jobs, job{caller, b.reply(id)})
	}
	return jobs
}

// expire answers the calls whose time is over.
func (c *core) expire() {
	defer c.firing.Done()
	var jobs []job
	c.mu.Lock()
	c.armed = 0
	for now := c.now(); ; {
		call := c.pending.clock.first()
		if call == nil || call.due > now || c.closed {
			break
		}
		c.stats.timedOut.Add(1)
		text := call.timeout.append([]byte("target no response in "))
		jobs = c.failLocked(jobs, call, &failure{class: timeoutClass, named: true,
			text: append(text, "ms"...)})
	}
	c.armLocked()
	c.mu.Unlock()
	c.deliver(jobs)
}

// armLocked sets the timer to the first call that is due, if it is not set to something earlier.
func (c *core) armLocked() {
	first := c.pending.clock.first()
	if first == nil || c.closed || c.armed != 0 && c.armed <= first.due {
		return
	}
	if c.armed == 0 {
		c.firing.Add(1)
	} else if !c.timer.Stop() {
		return // expire is waiting for the lock, and arms it again
	}
	c.armed = first.due
	wait := max(0, first.due-c.now())
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.expire)
	} else {
		c.timer.Reset(wait)
	}
}

// close answers every call that is under way, takes nothing in any more, and waits until nothing of
// the core runs by itself. Connections are for the caller to end.
func (c *core) close() {
	c.mu.Lock()
	c.closed = true
	if c.armed != 0 && c.timer.Stop() {
		c.armed = 0
		c.firing.Done()
	}
	var jobs []job
	for call := c.pending.clock.first(); call != nil; call = c.pending.clock.first() {
		c.stats.lost.Add(1)
		jobs = c.failLocked(jobs, call, &failure{class: "Error", text: []byte("hub is closing")})
	}
	c.mu.Unlock()
	c.deliver(jobs)
	c.firing.Wait()
}

// snapshot is the statistics at this moment.
func (c *core) snapshot() Stats {
	var s Stats
	c.stats.read(&s)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Peers, s.Selectors, s.Pending = len(c.peers), c.table.selectors, c.pending.count
	return s
}
