//go:build linux && !portable

package transport

import (
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// The states of a parcel.
const (
	parcelLent     uint32 = iota // somebody's memory; he gives the parcel back to the pool
	parcelDone                   // nothing refers to that memory any more
	parcelDisowned               // on its own: the writer gives it back
)

// parcel is a message whose body is written from where it lies.
//
//	waiting -> in the batch, part by part -> done
//	   |               |
//	   +-- withdraw ---+--> done, or disowned: its owner has the memory back
type parcel struct {
	flags  wire.Flags
	id     uint32
	split  bool
	begun  bool
	state  atomic.Uint32
	meta   []byte   // encoded, goes before the payload of the first frame
	stage  []byte   // header and meta of the frame that is being written
	pieces [][]byte // payload that is not in a frame yet
	room   [][]byte // backing of pieces, used again
	left   int      // bytes of pieces
	size   int      // of the whole body, meta included
	lent   int64    // what is counted in outbox.lent; guarded by outbox.mu
	owned  []byte   // buffer to be released when done
	shared *Shared  // reference to be released when done
	files  []int    // duplicates, closed when done
}

// wireSize is the number of bytes that p takes on the wire, before it has begun.
func (p *parcel) wireSize() int {
	return frameSize(len(p.meta), p.left, p.split)
}

// frameSize is the number of bytes of all frames of a body with meta and payload of these lengths.
func frameSize(meta, payload int, split bool) int {
	frames := 1
	if split && meta+payload > wire.PartSize {
		frames = (meta + payload + wire.PartSize - 1) / wire.PartSize
	}
	return frames*wire.HeaderSize + meta + payload
}

// putParcel queues p behind what is in q.
func (o *outbox) putParcel(g *Group, q *queue, p *parcel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		p.finish(g)
		return
	}
	s := g.segment()
	s.parcel = p
	q.push(s)
	if p.state.Load() == parcelLent {
		p.lent = int64(p.wireSize())
		o.lent += p.lent
	}
	o.addedLocked(1, int64(p.wireSize()))
}

// setPieces sets the payload: body, then gather.
func (p *parcel) setPieces(body []byte, gather [][]byte) {
	p.room = append(append(p.room[:0], body), gather...)
	p.pieces = p.room
}

// addPart stages the next frame of p behind what is in the batch.
func (w *batch) addPart(p *parcel) {
	w.parcel = p
	n := p.left
	flags := p.flags
	meta := p.meta
	if p.begun {
		meta = nil
	}
	total := len(meta) + n
	if p.begun {
		total = p.size
	} else {
		p.size = total
	}
	if p.split && len(meta)+n > wire.PartSize {
		total = 0
		n = wire.PartSize - len(meta)
		flags |= wire.Part
	} else {
		w.frames++ // a body in parts counts once, with its last
	}
	h := wire.Header{Flags: flags, ID: p.id, Length: uint32(len(meta) + n)}
	w.traced = Event{Out: true, Header: h, Size: total}
	w.partSize = wire.HeaderSize + len(meta) + n
	p.stage = append(h.AppendTo(p.stage[:0]), meta...)
	w.vecs = append(w.vecs, p.stage)
	if !p.begun {
		w.files = p.files
		p.begun = true
	}
	for n > 0 {
		if len(w.vecs) == maxVecs {
			w.joinRest(p, n)
			return
		}
		v := p.pieces[0]
		if len(v) > n {
			p.pieces[0] = v[n:]
			v = v[:n]
		} else {
			p.pieces = p.pieces[1:]
		}
		if len(v) == 0 {
			continue
		}
		n -= len(v)
		p.left -= len(v)
		w.vecs = append(w.vecs, v)
		w.lent++
	}
}

// joinRest copies the next n bytes of p into one piece, when there are more pieces than a write
// takes.
func (w *batch) joinRest(p *parcel, n int) {
	last := w.vecs[maxVecs-1]
	joined := make([]byte, 0, len(last)+n)
	joined = append(joined, last...)
	for n > 0 {
		v := p.pieces[0]
		if len(v) > n {
			p.pieces[0] = v[n:]
			v = v[:n]
		} else {
			p.pieces = p.pieces[1:]
		}
		joined = append(joined, v...)
		n -= len(v)
		p.left -= len(v)
	}
	w.vecs[maxVecs-1] = joined
}

// finish marks p done and releases what it owns.
func (p *parcel) finish(g *Group) {
	for _, fd := range p.files {
		unix.Close(fd)
	}
	p.files = nil
	if p.owned != nil {
		g.putBuffer(p.owned)
		p.owned = nil
	}
	p.shared.Release()
	p.shared = nil
	p.pieces = nil
	clear(p.room)
	if !p.state.CompareAndSwap(parcelLent, parcelDone) {
		g.putParcel(p)
	}
}

func (p *parcel) done() bool { return p.state.Load() == parcelDone }

// withdraw takes lent memory back: nothing refers to it when it returns. What is in the batch is
// copied first, because a frame begun is always finished. With drop the frames that have not begun
// are thrown away, and unsent says that none had; else they are copied, too.
func (c *econn) withdraw(p *parcel, drop bool) (unsent bool) {
	if p.done() {
		return false
	}
	rest := 0
	o := &c.out
	for !o.lease.CompareAndSwap(false, true) {
		if p.done() {
			return false // written meanwhile, or thrown away with the connection
		}
		runtime.Gosched()
	}
	o.mu.Lock()
	if !p.done() {
		unsent = !p.begun && drop
		rest = o.returnLocked(c.pub.group, p, drop)
	}
	o.mu.Unlock()
	o.lease.Store(false)
	if rest > 0 && !unsent {
		c.calls.credit(c, uint64(rest)) // what is never sent is not counted
	}
	if !c.flush(flushBudget) {
		c.armWrite()
	}
	return unsent
}

func (o *outbox) returnLocked(g *Group, p *parcel, drop bool) (dropped int) {
	w := &o.w
	n, k := 0, len(w.vecs)
	if w.parcel == p {
		k -= w.lent
	}
	for _, v := range w.vecs[k:] {
		n += len(v)
	}
	var own []byte // what is in the batch, then what is to come
	if drop {
		own = make([]byte, 0, n) // stays with the batch
	} else {
		own = g.buffer(n + p.left)[:0]
		p.owned = own
		defer o.judgeLocked()
	}
	if k < len(w.vecs) {
		for _, v := range w.vecs[k:] {
			own = append(own, v...)
		}
		clear(w.vecs[k:])
		w.vecs = append(w.vecs[:k], own)
		w.lent = 0
	}
	o.returnLent(p, p.lent)
	if drop {
		return o.dropLocked(g, p)
	}
	for _, v := range p.pieces {
		own = append(own, v...)
	}
	clear(p.room)
	p.room = append(p.room[:0], own[n:])
	p.pieces = p.room
	return 0
}

// dropLocked throws the rest of p away and returns its size on the wire. The batch keeps the frame
// that it has begun.
func (o *outbox) dropLocked(g *Group, p *parcel) (rest int) {
	w := &o.w
	if !p.begun {
		rest = p.wireSize()
	} else if p.left > 0 {
		rest = frameSize(0, p.left, p.split)
	}
	frames := 0
	if !p.begun || p.left > 0 {
		frames = 1 // else the batch counts it
	}
	o.takenLocked(frames, int64(rest))
	if w.parcel == p {
		w.parcel = nil
		p.stage = nil // may still be in the batch, and stays with it
	} else if !p.begun {
		o.urgent.remove(g, p)
		o.normal.remove(g, p)
	}
	for i, q := range o.large {
		if q == p {
			o.large = append(o.large[:i], o.large[i+1:]...)
			break
		}
	}
	p.left = 0
	p.finish(g)
	return rest
}
