//go:build linux && !portable

package transport

import (
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// lateBytes is how many bytes of small frames the loop writes to a ring in the middle of a batch
// before it shows them to the peer: each showing costs both sides a cache line, and the peer is to
// work at the same time.
const lateBytes = 320

// direct writes a small frame straight to the ring, when there is one and nothing waits before the
// frame. It reports false when the frame has to be queued. Corked says that the loop writes it in
// the middle of a batch, and will flush at the end: the peer may be shown it later.
func (c *econn) direct(h wire.Header, m *wire.Meta, body []byte, more [][]byte, corked bool) bool {
	o := &c.out
	if !c.lane.up.Load() || o.pending.Load() || corked && c.corks() ||
		!o.lease.CompareAndSwap(false, true) {
		return false
	}
	r, n := c.lane.out, wire.HeaderSize+int(h.Length)
	free, err := r.free(n)
	if free < n || err != nil || o.pending.Load() { // the queue comes first, and tells of errors
		c.letGoOfWrites()
		return false
	}
	b := r.room(n)[:wire.HeaderSize]
	h.Put(b)
	if m.Empty() {
		b = append(b, 0)
	} else {
		b = m.AppendTo(b)
	}
	b = append(b, body...)
	for _, p := range more {
		b = append(b, p...)
	}
	r.at += uint64(n)
	c.lane.uncounted.add(n)
	if corked && r.at-r.told < lateBytes && c.loop.more() {
		c.lane.late = true
	} else {
		c.publish()
	}
	c.letGoOfWrites()
	if o.trace != nil {
		o.trace(Event{Out: true, Header: h, Size: int(h.Length)})
	}
	return true
}

// corks says that frames of the loop's batch wait in a cork. Loop only.
func (c *econn) corks() bool {
	return c.out.cork[corkUrgent] != nil || c.out.cork[corkNormal] != nil
}

// uncounted are frames that direct wrote, and publish counts: several at once, where it can.
type uncounted struct{ frames, bytes uint64 }

func (u *uncounted) add(n int) {
	u.frames++
	u.bytes += uint64(n)
}

func (u *uncounted) count(c *counts) {
	if u.frames > 0 {
		c.framesOut.Add(u.frames)
		c.bytesOut.Add(u.bytes)
		*u = uncounted{}
	}
}

// publishLate shows the peer what direct has not. Loop only.
func (c *econn) publishLate() {
	if !c.lane.late {
		return
	}
	if !c.out.lease.CompareAndSwap(false, true) {
		c.loop.post(c, errandFlush) // who has the lease may have nothing to write
		return
	}
	c.lane.late = false
	if c.lane.out != nil {
		c.publish()
	}
	c.letGoOfWrites()
}

// letGoOfWrites gives the write lease back, and sees to what was queued meanwhile.
func (c *econn) letGoOfWrites() {
	c.out.lease.Store(false)
	if c.out.pending.Load() && !c.flush(flushBudget) {
		c.armWrite()
	}
}

// laneSend writes as much of vecs as the ring has room for. Descriptors go ahead, on the socket.
func (c *econn) laneSend(vecs [][]byte, files []int) (int, unix.Errno) {
	r := c.lane.out
	if len(files) > 0 {
		_, e := send(c.fd, [][]byte{{1}}, files)
		c.out.noCarrier.Store(e != 0)
		if e != 0 {
			return 0, e
		}
		c.out.w.files = nil
	}
	sent, last := 0, r.told
	for _, v := range vecs {
		for len(v) > 0 {
			n, err := r.free(len(v))
			if err == nil && n == 0 && r.shared.tail.Load() != r.told {
				err = errRing
			}
			if err != nil {
				c.violation(err)
				return sent, unix.EPIPE
			}
			if n == 0 {
				c.publish()
				if sent == 0 {
					return 0, unix.EAGAIN
				}
				return sent, 0
			}
			n = min(n, len(v), laneChunk)
			r.at += uint64(copy(r.room(n), v))
			v = v[n:]
			sent += n
			if r.at-last >= laneChunk {
				c.publish()
				last = r.at
			}
		}
	}
	c.publish()
	return sent, 0
}

// publish shows the peer what was written to the ring, and wakes it if it sleeps. Write lease held.
func (c *econn) publish() {
	r := c.lane.out
	if r.at == r.told {
		return
	}
	if raceEnabled {
		_, _ = unix.Write(c.fd, nil) // see laneSeen
	}
	c.lane.uncounted.count(&c.count)
	switch r.publish() {
	case awake:
	case sleepLeader:
		c.count.bells.Add(1)
		r.rouse()
	default:
		c.ringBell()
	}
}

// ringBell wakes the loop of the peer. It cannot block, whatever the peer does: of an eventfd that
// two processes share it could take O_NONBLOCK away.
func (c *econn) ringBell() {
	l := c.lane.at.Load()
	if !l.bellsOn.Load() {
		return // see switched
	}
	c.count.bells.Add(1)
	sendOne(c.fd, []byte{0})
}
