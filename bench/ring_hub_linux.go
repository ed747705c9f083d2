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

// ringHub is the limit of two hops through shared memory: one goroutine that moves records from the
// rings of callers to that of the provider, and the replies back in the order of the calls.
type ringHub struct {
	*server
	bell  int // of every end
	spin  *spinner
	sleep ringSleeper
	done  chan struct{} // closed when the loop has returned

	ends     []*ringPeer // loop only; all of them
	list     []*ringEnd  // loop only; those of ends, in their order
	provider *ringPeer   // loop only
	half     *ringPeer   // loop only; whose call is with the provider in part
	order    []*ringPeer // loop only; whose calls the provider has, the oldest first

	news  atomic.Bool // that fresh or quit has changed
	mu    sync.Mutex
	fresh []*ringPeer // guarded by mu
	quit  bool        // guarded by mu
}

// ringPeer is one end at a ringHub.
type ringPeer struct {
	*ringEnd
	hub  *ringHub
	role byte
	gone chan struct{} // closed when the loop has dropped it
}

func serveRingHub(s Setup) (io.Closer, error) {
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	h := &ringHub{bell: bell, spin: newSpinner(ringPolls, ringPaid), done: make(chan struct{})}
	h.server, err = listen(s.Path, func(conn *net.UnixConn) session {
		defer conn.Close() // of which the end has a duplicate
		role, err := ringRole(conn)
		if err != nil {
			return nil
		}
		e, err := acceptRing(conn, bell)
		if err != nil {
			return nil
		}
		return &ringPeer{ringEnd: e, hub: h, role: role, gone: make(chan struct{})}
	})
	if err != nil {
		return nil, errors.Join(err, unix.Close(bell))
	}
	h.spin.place.look = func(cpu uint64) bool {
		for _, e := range h.list {
			tell(e.here, cpu)
		}
		return false
	}
	go h.loop()
	return h, nil
}

// serveRingProvider answers what the hub sends on.
func serveRingProvider(s Setup) (io.Closer, error) {
	c, err := openRing(s, ringProvider)
	if err != nil {
		return nil, err
	}
	p := &ringServing{end: c.end, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.end.serve()
	}()
	return p, nil
}

type ringServing struct {
	end  *ringEnd
	done chan struct{}
}

func (p *ringServing) Close() error {
	err := p.end.shut()
	<-p.done
	return err
}

// Close ends every connection, then the loop.
func (h *ringHub) Close() error {
	err := h.server.Close()
	h.tell(func() { h.quit = true })
	<-h.done
	return errors.Join(err, unix.Close(h.bell))
}

// tell changes what the loop is told, and wakes it.
func (h *ringHub) tell(change func()) {
	h.mu.Lock()
	change()
	h.news.Store(true)
	h.mu.Unlock()
	one := [8]byte{1}
	_, _ = rawWrite(h.bell, one[:])
}

// serve implements session: the loop does the work.
func (p *ringPeer) serve() {
	p.hub.tell(func() { p.hub.fresh = append(p.hub.fresh, p) })
	<-p.gone
}

// Close implements session.
func (p *ringPeer) Close() error { return p.shut() }

func (h *ringHub) loop() {
	defer close(h.done)
	for h.spin.reset(); ; {
		if h.news.Load() && h.hear() {
			return
		}
		some := h.provider != nil && h.calls()
		if h.provider != nil && h.replies() {
			some = true
		}
		if some {
			h.spin.reset()
			continue
		}
		if !h.spin.spin() && h.sleep.until(h.list, h.bell, h.spin) != nil {
			h.drop()
		}
	}
}

// hear takes in what the loop is told.
func (h *ringHub) hear() (quit bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.news.Store(false)
	for _, p := range h.fresh {
		h.ends = append(h.ends, p)
		h.list = append(h.list, p.ringEnd)
		if p.role == ringProvider {
			h.provider = p
		}
	}
	h.fresh = nil
	return h.quit
}

// calls moves the records of callers to the provider. The parts of one body stay together.
func (h *ringHub) calls() (some bool) {
	for _, p := range h.ends {
		if p.role != ringCaller || h.half != nil && h.half != p {
			continue
		}
		for {
			b, more, ok := p.in.next()
			if !ok {
				break
			}
			place := h.provider.out.reserve(len(b))
			if place == nil {
				h.provider.flush()
				return some
			}
			copy(place, b)
			h.provider.commit(len(b), more)
			p.advance(len(b))
			some, h.half = true, nil
			if more {
				h.half = p
				continue
			}
			h.order = append(h.order, p)
		}
	}
	h.provider.flush()
	return some
}

// replies moves those of the provider to whose turn it is.
func (h *ringHub) replies() (some bool) {
	n := 0
	for ; n < len(h.order); n++ {
		if !h.reply(h.order[n], &some) {
			break
		}
		if n+1 == len(h.order) || h.order[n+1] != h.order[n] {
			h.order[n].flush()
		}
	}
	if n < len(h.order) {
		h.order[n].flush()
	}
	h.order = h.order[:copy(h.order, h.order[n:])]
	return some
}

// reply moves the records of one reply, and reports whether that was all of them.
func (h *ringHub) reply(to *ringPeer, some *bool) (whole bool) {
	for {
		b, more, ok := h.provider.in.next()
		if !ok {
			return false
		}
		place := to.out.reserve(len(b))
		if place == nil {
			return false
		}
		copy(place, b)
		to.commit(len(b), more)
		h.provider.advance(len(b))
		*some = true
		if !more {
			return true
		}
	}
}

// drop forgets who is gone: all, if it is the provider or has calls under way, since the order
// of the replies is lost then.
func (h *ringHub) drop() {
	all := h.provider == nil || h.provider.lost || len(h.order) > 0 || h.half != nil
	var kept []*ringPeer
	h.list = h.list[:0]
	for _, p := range h.ends {
		if !p.lost && !all {
			kept = append(kept, p)
			h.list = append(h.list, p.ringEnd)
			continue
		}
		_ = p.shut()
		_ = p.close()
		close(p.gone)
	}
	if h.ends = kept; all {
		h.provider, h.half, h.order = nil, nil, nil
	}
}
