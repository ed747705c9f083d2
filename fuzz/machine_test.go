package fuzz_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
	"github.com/pithos-ipc/pithos/wire"
)

// machine runs a program on a connection and knows what should come of it.
type machine struct {
	t       testing.TB
	setup   setup
	ends    [2]end
	pool    *transport.Pool
	waiting sync.WaitGroup // goroutines that wait for calls
	sent    [2][]uint32    // oneways that were accepted, by the side that sent them
	inParts [2][]uint32    // those among all that are too long for one frame
	tried   [2]int         // numbers of oneways used
	credit  [2]int64       // bytes that each side could send at first
	log     []string       // what came of each step
	bytes   int            // of payloads that may still be sent
	waits   time.Duration  // that oneways may still wait for room

	disturbed bool    // the connection was ended, by either side or beneath
	drained   [2]bool // the side was asked for no new calls

	mu    sync.Mutex
	calls []*call     // by number
	held  [2][]parked // requests without an answer, by the side that got them
	came  [2][]uint32 // oneways, by the side that got them
}

// parked is a request that waits for the program to answer it.
type parked struct {
	n uint32
	r *transport.Request
}

// run executes p on a connection of engine e and returns what came of each step, or nothing if that
// was a matter of chance.
func run(t testing.TB, h *harbour, g *transport.Group, e engine, p program) []string {
	before := takeCensus(t)
	m := &machine{t: t, setup: p.setup, pool: transport.NewPool(2, 4), bytes: maxBytes,
		waits: maxWaits}
	o := p.setup.options()
	if p.setup&setupOwn == 0 {
		o.Group = g
	}
	var proxy *transporttest.Proxy
	from := h
	if p.setup&setupSplit != 0 {
		proxy = transporttest.NewProxy(t, h.address(), transporttest.Faults{Seed: 1, Split: 3000})
		from = h.through(proxy.Address())
	}
	client, server := o, o
	client.Handler = transport.HandlerFunc(func(r *transport.Request) { m.serve(0, r) })
	server.Handler = transport.HandlerFunc(func(r *transport.Request) { m.serve(1, r) })
	m.ends[0], m.ends[1] = from.connect(t, e.options(client), e.options(server))
	for side, end := range m.ends {
		m.credit[side] = end.conn.Stats().CreditBytes
	}
	for _, s := range p.steps {
		m.step(s)
		if p.setup&setupPatient != 0 {
			m.settle()
		}
	}
	m.finish()
	comparable := !slices.ContainsFunc(m.calls, (*call).late)
	if proxy != nil {
		proxy.Close()
	}
	m.pool.Close()
	requireNoLeak(t, before)
	if !comparable {
		return nil
	}
	return m.log
}

func (m *machine) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

// step executes one instruction.
func (m *machine) step(s step) {
	switch s.op {
	case opCall, opGo:
		m.call(s, conductOf(s.x))
	case opSend, opTry:
		m.oneway(s)
	case opBurst:
		m.burst(s)
	case opCancel:
		m.cancel(s)
	case opRelease:
		if held := m.heldBy(s.side); len(held) > 0 {
			m.release(s.side, held[int(s.x)%len(held)])
		}
	case opPing:
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		m.expect("ping", m.ends[s.side].conn.Ping(ctx))
	case opSettle:
		m.settle()
	case opDrain:
		m.drained[1-s.side] = true
		m.ends[s.side].conn.Drain()
		if m.setup&setupPatient != 0 && !m.disturbed {
			m.step(step{op: opPing, side: s.side}) // the pong comes when the drain has come
		}
	case opClose:
		within := patience
		if m.setup&setupPatient == 0 || m.inside(s.side) {
			within = 20 * time.Millisecond
		}
		m.letGo()
		m.disturbed = true
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		m.note("close: %s", verdict(m.ends[s.side].conn.Close(ctx)))
	case opAbort:
		m.letGo()
		m.disturbed = true
		m.ends[s.side].conn.Abort(nil)
	case opCut:
		m.disturbed = true
		if s.x%3 != 0 {
			_ = m.ends[s.side].sock.CloseRead()
		}
		if s.x%3 != 1 {
			_ = m.ends[s.side].sock.CloseWrite()
		}
		m.letGo()
	}
}

// inside says whether a Close of that side has to wait for the program: for an answer that it
// holds, on either side.
func (m *machine) inside(side int) bool {
	return len(m.heldBy(side)) > 0 ||
		slices.ContainsFunc(m.open(), func(c *call) bool { return c.side == side })
}

// letGo closes the sockets that faults use. As long as they are open the kernel does not tell one
// end that the other one has closed.
func (m *machine) letGo() {
	for _, e := range m.ends {
		e.sock.Close()
	}
}

// expect wants err to be nil, or the end of a connection that was ended.
func (m *machine) expect(what string, err error) {
	v := verdict(err)
	m.note("%s: %s", what, v)
	if err != nil && !(m.disturbed && (v == "lost" || v == "closed")) {
		m.t.Errorf("%s on a connection that nobody ended: %v", what, err)
	}
}

// newCall enters a call into the table.
func (m *machine) newCall(s step, c conduct) *call {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := &call{n: uint32(len(m.calls)), side: s.side, conduct: c, size: m.size(s.y),
		timeout: timeoutOf(s.y), arrived: make(chan struct{}), ended: make(chan struct{})}
	m.calls = append(m.calls, k)
	return k
}

// size is the size that y stands for, as long as there are bytes left. It does not matter which of
// two reasons a dead connection has to refuse a body: too long ones are not tried there.
func (m *machine) size(y byte) int {
	n := size(y)
	if n > m.bytes || m.disturbed && n+headSize > tightBody {
		return 0
	}
	m.bytes -= n
	return n
}

func (m *machine) lookup(n uint32) *call {
	m.mu.Lock()
	defer m.mu.Unlock()
	if int(n) >= len(m.calls) {
		return nil
	}
	return m.calls[n]
}

// call begins a call. A patient program does not let one wait for its turn, which it would have to
// guess: it gives a blocking one little time.
func (m *machine) call(s step, how conduct) *call {
	c := m.newCall(s, how)
	c.back = s.op == opGo
	if m.setup&setupPatient != 0 {
		switch full := m.saturated(1 - s.side); {
		case full && !c.back:
			c.timeout = 2 * time.Millisecond
		case c.timeout > 0 && c.conduct != hold:
			c.timeout = time.Hour
		case c.short() && !full:
			c.timeout, c.arrives = 10*time.Millisecond, true
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.buf = make([]byte, int(s.x)*16)
	body := payload(c.conduct, c.n, c.size)
	message := transport.Message{Body: body, Timeout: c.timeout}
	if s.x&0x40 != 0 {
		message.Body, message.Gather = body[:5], [][]byte{body[5:headSize], nil, body[headSize:]}
	}
	conn := m.ends[s.side].conn
	if c.back {
		if err := conn.Go(message, c.buf, c.end); err != nil {
			c.end(nil, err)
		}
		spoil(body)
		return c
	}
	m.waiting.Go(func() {
		reply, err := conn.Do(ctx, message, c.buf)
		spoil(body)
		c.end(reply, err)
		spoil(c.buf)
	})
	return c
}

// spoil overwrites what is the caller's again: nobody may read it, or write to it, any more.
func spoil(b []byte) {
	for i := range b {
		b[i] = 0xA5
	}
}

// saturated says whether a side holds as many requests as it takes.
func (m *machine) saturated(side int) bool {
	return m.setup&setupTight != 0 && len(m.heldBy(side)) >= tightCalls
}

func (m *machine) burst(s step) {
	n, how := 2+int(s.x>>4), conductOf(s.x)
	if m.setup&setupPatient != 0 {
		if m.saturated(1 - s.side) {
			return
		}
		n, how = min(n, 4), echo
	}
	for i := range n {
		c := step{op: opCall + op(i&1), side: s.side, x: s.x + byte(i), y: s.y & 0x1f}
		if m.setup&setupPatient != 0 {
			c.op = opCall // whether there is room for all at once is chance
		}
		m.call(c, how)
	}
}

// oneway sends one.
func (m *machine) oneway(s step) {
	n := uint32(m.tried[s.side])
	m.tried[s.side]++
	body := payload(echo, n, m.size(s.y))
	if len(body) > wire.PartSize {
		m.inParts[s.side] = append(m.inParts[s.side], n)
	}
	message := transport.Message{Body: body}
	conn := m.ends[s.side].conn
	var err error
	if s.op == opTry {
		err = conn.TryPost(message)
	} else {
		// Room may come only when the program answers what it holds. In a patient one there always
		// is some: what it sends in all is less than the credit, and what is queued is gone.
		within := patience
		if m.setup&setupPatient == 0 {
			within = min(50*time.Millisecond, max(time.Millisecond, m.waits))
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), within)
		err = conn.Post(ctx, message)
		cancel()
		m.waits -= time.Since(begin)
	}
	spoil(body)
	v := verdict(err)
	m.note("oneway: %s", v)
	switch {
	case err == nil:
		m.sent[s.side] = append(m.sent[s.side], n)
	case m.disturbed && (v == "lost" || v == "closed"):
	case s.op == opTry && v == "full", s.op == opSend && v == "deadline":
	case m.setup&setupTight != 0 && len(body) > tightBody && v == "limit body bytes":
	default:
		m.t.Errorf("oneway %d: %v", n, err)
	}
}

// cancel takes a call back that is under way. A handler that holds it is told.
func (m *machine) cancel(s step) {
	open := slices.DeleteFunc(m.open(), func(c *call) bool { return c.back || c.canceled.Load() })
	if len(open) == 0 {
		return
	}
	c := open[int(s.x)%len(open)]
	c.canceled.Store(true)
	c.cancel()
	await(m.t, c.ended, "call %d, which was taken back, returns", c.n)
	for _, p := range m.heldBy(1 - c.side) {
		if p.n == c.n {
			await(m.t, p.r.Context().Done(), "the handler of call %d, which was taken back, is "+
				"told",
				c.n)
		}
	}
}

func (m *machine) heldBy(side int) []parked {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.held[side])
}

// release answers a request that is held.
func (m *machine) release(side int, p parked) {
	m.mu.Lock()
	m.held[side] = slices.DeleteFunc(m.held[side], func(q parked) bool { return q == p })
	m.mu.Unlock()
	if err := p.r.Reply(answer(p.r.Body())); err != nil && !m.disturbed {
		m.t.Errorf("reply to call %d: %v", p.n, err)
	}
}

// settle waits until everything has happened that can without the program.
func (m *machine) settle() {
	if m.disturbed {
		for _, e := range m.ends {
			await(m.t, e.conn.Done(), "a connection that was ended is over")
		}
		eventually(m.t, func() bool { return len(m.open()) == 0 }, "the calls end: %v", m.report())
		return
	}
	if m.setup&setupPatient == 0 {
		for _, e := range m.ends {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			m.expect("ping", e.conn.Ping(ctx))
			cancel()
		}
		return
	}
	eventually(m.t, m.quiet, "the connection is quiet: %v", m.report())
}

// quiet says whether nothing is under way but what is held.
func (m *machine) quiet() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.calls {
		held := slices.ContainsFunc(m.held[1-c.side], func(p parked) bool { return p.n == c.n })
		if !c.done() && (!held || c.short()) {
			return false
		}
	}
	for side, e := range m.ends {
		s := e.conn.Stats()
		if s.Pending != len(m.held[1-side]) || s.Serving != len(m.held[side]) ||
			s.OutboxFrames != 0 || len(m.came[1-side]) != len(m.sent[side]) {
			return false
		}
	}
	return true
}

// open are the calls that have not ended.
func (m *machine) open() []*call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.calls), (*call).done)
}

// releaseAll answers every request that is held now. One that its caller has given up on may come
// later still.
func (m *machine) releaseAll() {
	for side := range m.ends {
		for _, p := range m.heldBy(side) {
			m.release(side, p)
		}
	}
}

// report shows, when it is printed, what is not finished.
func (m *machine) report() fmt.Stringer {
	return show[string](func() string {
		s := fmt.Sprintf("open: %v\n", m.open())
		for side, e := range m.ends {
			s += fmt.Sprintf("side %d: %+v, error %v\n", side, e.conn.Stats(), e.conn.Err())
		}
		return s
	})
}

// finish answers what is held, closes both ends, and checks everything.
func (m *machine) finish() {
	eventually(m.t, func() bool {
		m.releaseAll()
		return len(m.open()) == 0
	}, "every call ends: %v", m.report())
	m.waiting.Wait()
	if !m.disturbed {
		m.requireQuiet()
	}
	m.close()
	for side, e := range m.ends {
		await(m.t, e.conn.Done(), "the end of the connection")
		require.Error(m.t, e.conn.Err())
		m.note("end %d: %s", side, verdict(e.conn.Err()))
	}
	m.requireEmpty()
	m.check()
}

// close closes both ends in good order: at the same time or, in a patient program, one of them.
func (m *machine) close() {
	m.letGo()
	var closing sync.WaitGroup
	for _, e := range m.ends {
		closing.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := e.conn.Close(ctx); err != nil && !m.disturbed {
				m.t.Errorf("close: %v", err)
			}
		})
		if m.setup&setupPatient != 0 {
			closing.Wait()
			await(m.t, m.ends[1].conn.Done(), "the end of the other side")
		}
	}
	closing.Wait()
}

// requireEmpty wants nothing to be held by a connection that is over. A handler may have begun when
// its caller had been told of the end, or be at work still; what it has counts until it answers.
func (m *machine) requireEmpty() {
	eventually(m.t, func() bool {
		m.releaseAll()
		for _, e := range m.ends {
			g := e.conn.Stats().Gauges
			g.CreditCalls, g.CreditBytes = 0, 0
			if g != (transport.Gauges{}) {
				return false
			}
		}
		return true
	}, "gauges are zero after the end: %v", m.report())
}

// requireQuiet wants all counters to be back at zero, and all credit to be there.
func (m *machine) requireQuiet() {
	calls := transport.DefaultMaxCalls
	if m.setup&setupTight != 0 {
		calls = tightCalls
	}
	eventually(m.t, func() bool {
		m.releaseAll()
		m.mu.Lock()
		defer m.mu.Unlock()
		for side, e := range m.ends {
			g := e.conn.Stats().Gauges
			// Bytes come back in lots: less than a quarter may be on the other side.
			if g.CreditBytes <= m.credit[side]*3/4 || g.CreditCalls != calls ||
				len(m.came[1-side]) != len(m.sent[side]) {
				return false
			}
			g.CreditCalls, g.CreditBytes = 0, 0
			if g != (transport.Gauges{}) {
				return false
			}
		}
		return true
	}, "counters are back at zero, and credit at %v: %v", m.credit, m.report())
	for side, e := range m.ends {
		require.LessOrEqual(m.t, e.conn.Stats().CreditBytes, m.credit[side], "credit of side %d",
			side)
	}
}

// check holds every outcome against the model.
func (m *machine) check() {
	tight := m.setup&setupTight != 0
	for _, c := range m.calls {
		c.check(m.t, m.disturbed, m.drained[c.side], tight)
		m.note("call %d: %s", c.n, verdict(c.err))
		if c.back {
			continue
		}
		c.cancel()
		for _, x := range c.buf {
			if x != 0xA5 {
				m.t.Fatalf("call %d: its buffer was written to after it returned", c.n)
			}
		}
	}
	for side := range m.ends {
		m.checkOneways(m.sent[side], m.came[1-side], m.inParts[side])
		m.note("oneways of %d: %v", side, m.came[1-side])
	}
}

// checkOneways: none came twice, and all that were accepted came, unless the connection was ended.
// Those that were sent whole came in their order. One that gave up waiting may have come.
func (m *machine) checkOneways(sent, came, inParts []uint32) {
	parts := func(n uint32) bool { return slices.Contains(inParts, n) }
	whole := slices.DeleteFunc(slices.Clone(came), parts)
	require.True(m.t, slices.IsSorted(whole), "order of oneways: %v, in parts %v", came, inParts)
	sorted := slices.Sorted(slices.Values(came))
	require.Len(m.t, slices.Compact(sorted), len(came), "twice: %v", came)
	if m.disturbed {
		return
	}
	for _, n := range sent {
		require.Contains(m.t, came, n, "oneway %d was accepted and did not come", n)
	}
}
