package hub

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// core is the hub without its sockets: who is there, who is found, who waits for whom.
//
//	Pandora  --message--> scan, read the keys --> route --> picker --> pending --> Pandora
//	native   --call-----> read the meta --------> route --> picker --> flight ---> native
//	                                                                   (all four ways)
//
// Its one lock guards who is there and what waits for Pandora's providers, and is never held while
// a frame is written. What becomes of such a call is decided under it: whoever takes the call out
// of pending is the one that answers its caller. From native to native no lock is taken, but by a
// call whose route has changed.
type core struct {
	fixed
	loose
	stats counters

	mu      sync.Mutex // everything below is guarded by it
	peers   []*peer    // in order of connecting, so with rising seq
	lastSeq uint64
	table   *table
	pending pending
	routes  map[string]*route  // by selector.appendKey
	objects map[string]*object // by name
	forgot  time.Duration      // when the last of them were forgotten, since start; 0: never
	askers  map[uint64]*call   // calls of native peers to Pandora's, by ticket
	found   selection          // is used within one hold of mu
	closed  bool
	alarm   alarm
	told    []*peer // with events in their backlogs, which unlock sends
	deaf    []*peer // whose backlogs have no room for events, which unlock ends
}

// fixed is what does not change.
type fixed struct {
	limits Limits
	policy Policy
	picker func() balancer.Picker
	start  time.Time
	sweep  func() // opens the peers that have connected
	log    *slog.Logger
}

// loose is what no lock guards.
type loose struct {
	turns   sync.Pool // of *turn
	flights sync.Pool // of *flight, that no loop keeps
	taps    taps
	tickets atomic.Uint64 // of askers
	queued  atomic.Int64  // bytes of all backlogs
	closing atomic.Bool
}

// alarm is the timer of the first call that is due. It is guarded by core.mu.
type alarm struct {
	timer  *time.Timer    // runs expire
	armed  time.Duration  // when it does, since start; 0 when it is not set
	firing sync.WaitGroup // runs of expire that are set or under way
}

// job is a frame that is still to be written, or a call that is to be taken back.
type job struct {
	to   *peer
	body []byte

	flight *flight // nil: none
	ticket uint64

	ask  *asker // a native one; it gets why
	from *peer
	why  *failure
}

func newCore(l Limits, picker func() balancer.Picker) *core {
	c := &core{table: newTable(), routes: make(map[string]*route),
		objects: make(map[string]*object), askers: make(map[uint64]*call)}
	c.fixed = fixed{limits: l.withDefaults(), picker: picker, start: time.Now(), sweep: func() {},
		log: slog.New(slog.DiscardHandler)}
	c.taps.passed = c.stats.passed
	c.turns.New = func() any { return new(turn) }
	c.flights.New = func() any {
		f := &flight{core: c}
		f.done = f.answered
		return f
	}
	return c
}

// unlock ends a hold of mu, and sends the events that have come up in it.
func (c *core) unlock() {
	told, deaf := c.told, c.deaf
	c.told, c.deaf = nil, nil
	c.mu.Unlock()
	for _, p := range deaf {
		p.link.end(fmt.Errorf("hub: events of a watch: %w", transport.ErrFull))
	}
	for _, p := range told {
		c.pump(p)
	}
}

// now is the hub's clock, that of Conn.Arrival.
func (c *core) now() time.Duration { return transport.Now() }

// arrived is when the frame of p was read that is being handled on the loop of its connection.
func (c *core) arrived(p *peer) time.Duration {
	if s, ok := p.link.(*socket); ok {
		return s.conn.Arrival()
	}
	return c.now()
}

// open takes a new connection in. It says false when the hub is closed.
func (c *core) open(p *peer) bool {
	c.mu.Lock()
	defer c.unlock()
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
	c.unlock()
	if p.member != nil {
		p.member.releaseAll()
		c.closeBacklog(p)
	}
	c.deliver(jobs)
}

// retireLocked takes out those of the peers found that have turned out to be native, and are not
// online. It says whether there were any.
func (c *core) retireLocked(jobs *[]job, found []*peer) (some bool) {
	for _, p := range found {
		if p.member == nil && !p.spoken.Load() && p.link.native() {
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
	c.unlock()
	if p.member != nil || !p.link.native() { // if it has just become native, it is none of ours
		p.link.end(cause)
	}
	return jobs
}

// nameOf is the location that p has told, for the log.
func (c *core) nameOf(p *peer) string {
	c.mu.Lock()
	defer c.unlock()
	return p.name
}

// placeLocked is where the peer of that number is in c.peers, if it is.
func (c *core) placeLocked(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(c.peers, seq, func(p *peer, seq uint64) int {
		return cmp.Compare(p.seq, seq)
	})
}

// peerLocked is the peer of that number, or nil.
func (c *core) peerLocked(seq uint64) *peer {
	if i, there := c.placeLocked(seq); there {
		return c.peers[i]
	}
	return nil
}

// dropLocked takes p out of everything. The calls that p waited for end silently.
func (c *core) dropLocked(jobs []job, p *peer) []job {
	if p.seq == 0 || p.gone.Swap(true) { // never in, or out already
		return jobs
	}
	i, _ := c.placeLocked(p.seq)
	c.peers = slices.Delete(c.peers, i, i+1)
	c.removeLocked(p)
	for p.asked != nil {
		call := p.asked
		if call.ask.held.Valid() {
			_ = call.ask.held.Fail(wire.CodeCanceled, "") // to nobody: it is recycled
		}
		if ask := call.ask; ask.batch != nil && ask.batch.native { // likewise, with the last one
			jobs = append(jobs, job{ask: &ask, from: call.provider,
				why: &failure{class: "Error", code: wire.CodeCanceled}})
		}
		c.forgetCallLocked(call, c.now(), true)
	}
	jobs = p.flights.shut(jobs)
	for _, call := range p.waiting {
		c.stats.lost.Add(1)
		jobs = c.settleLocked(jobs, call, &failure{class: "Error", code: wire.CodePeerLost,
			text: []byte(errProviderLost.Error())})
	}
	if m := p.member; m != nil {
		for _, w := range m.watches {
			c.table.unfollow(w)
		}
		m.pubs, m.watches = nil, nil
	}
	return jobs
}

// deliver writes the jobs, and what comes of those that cannot be written.
func (c *core) deliver(jobs []job) {
	for i := 0; i < len(jobs); i++ {
		if j := &jobs[i]; j.ask != nil {
			text := string(j.why.text)
			j.ask.fail(c, j.from, j.why.nativeCode(), text)
			continue
		} else if j.flight != nil {
			j.flight.Canceled(j.ticket, transport.ErrConnLost)
			continue
		}
		to := jobs[i].to
		if err := to.send(to.id(), [][]byte{jobs[i].body}); err != nil {
			jobs = c.cut(jobs, to, err)
		}
		jobs[i] = job{}
	}
}

// settleLocked settles the call with a failure.
func (c *core) settleLocked(jobs []job, call *call, f *failure) []job {
	ask, provider := call.ask, call.provider
	at := c.now()
	if taps := c.taps.on(); taps != nil {
		e := passage{kind: wire.TapError, at: at, id: call.id, sent: ask.id, from: provider,
			to: ask.peer, copies: 1, code: f.nativeCode(), took: at - call.start}
		e.object, e.called = call.method.names()
		e.pass(taps)
	}
	c.forgetCallLocked(call, at, true)
	switch b := ask.batch; {
	case ask.peer.member != nil:
		return append(jobs, job{ask: &ask, from: provider, why: f})
	case b == nil:
		return append(jobs, job{to: ask.peer, body: appendFailure(nil, ask.id, f)})
	case b.add(f.appendPackage(nil)):
		return append(jobs, job{to: ask.peer, body: b.reply(b.ask.id)})
	}
	return jobs
}

// nativeCode is the code of f for a native caller.
func (f *failure) nativeCode() wire.Code {
	if f.code == 0 {
		return wire.CodeFailed
	}
	return f.code
}

// forgetCallLocked takes a call that was over at that time out of everything.
func (c *core) forgetCallLocked(call *call, at time.Duration, failed bool) {
	took := at - call.start
	if failed {
		call.provider.self.load.Drop()
	} else {
		call.provider.self.load.End(took)
	}
	call.method.end(took, failed)
	if call.ticket != 0 {
		delete(c.askers, call.ticket)
	}
	if call.flight != nil {
		call.flight.retire()
	}
	c.pending.settle(call)
	c.pending.recycle(call)
}

// expire answers the calls whose time is over.
func (c *core) expire() {
	defer c.alarm.firing.Done()
	var jobs []job
	c.mu.Lock()
	c.alarm.armed = 0
	for now := c.now(); ; {
		call := c.pending.clock.first()
		if call == nil || call.due > now || c.closed {
			break
		}
		c.stats.timedOut.Add(1)
		jobs = c.settleLocked(jobs, call, &failure{class: timeoutClass, named: true,
			code: wire.CodeDeadline, text: []byte(call.timeout.over())})
	}
	c.armLocked()
	c.unlock()
	c.deliver(jobs)
}

// armLocked sets the timer to the first call that is due, if it is not set to something earlier.
func (c *core) armLocked() {
	first := c.pending.clock.first()
	a := &c.alarm
	if first == nil || c.closed || a.armed != 0 && a.armed <= first.due {
		return
	}
	if a.armed == 0 {
		a.firing.Add(1)
	} else if !a.timer.Stop() {
		return // expire is waiting for the lock, and arms it again
	}
	a.armed = first.due
	wait := max(0, first.due-c.now())
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, c.expire)
	} else {
		a.timer.Reset(wait)
	}
}

// close answers every call that is under way, takes nothing in any more, and waits until nothing of
// the core runs by itself. Connections are for the caller to end.
func (c *core) close() {
	c.closing.Store(true)
	c.mu.Lock()
	c.closed = true
	all := slices.Clone(c.peers)
	if a := &c.alarm; a.armed != 0 && a.timer.Stop() {
		a.armed = 0
		a.firing.Done()
	}
	var jobs []job
	for call := c.pending.clock.first(); call != nil; call = c.pending.clock.first() {
		c.stats.lost.Add(1)
		jobs = c.settleLocked(jobs, call, &failure{class: "Error", code: wire.CodeDraining,
			text: []byte("hub is closing")})
	}
	c.unlock()
	c.deliver(jobs)
	for _, p := range all {
		if p.member != nil {
			p.member.conn.CancelAll()
		}
	}
	c.alarm.firing.Wait()
}

// snapshot is the statistics at this moment.
func (c *core) snapshot() Stats {
	var s Stats
	c.stats.read(&s)
	c.mu.Lock()
	defer c.unlock()
	s.Peers, s.Selectors = len(c.peers), c.table.selectors
	s.Pending = c.pending.count + int(c.stats.flying())
	return s
}
