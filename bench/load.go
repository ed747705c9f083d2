package bench

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

// load keeps a number of calls under way on each of some connections, until halt.
type load struct {
	stop    atomic.Bool
	record  atomic.Bool // time the calls that begin now
	wait    sync.WaitGroup
	workers []*worker

	mu  sync.Mutex
	err error // guarded by mu; the first
}

// worker is one call under way after another: a goroutine that blocks, or a chain of callbacks.
type worker struct {
	load    *load
	conn    Conn
	body    []byte
	buf     []byte
	seed    uint64         // of the call under way
	inPlace bool           // bodies are written elsewhere
	hist    *hub.Histogram // nil: not timed

	_     [64]byte // calls is written here and read elsewhere
	calls atomic.Uint64
	_     [56]byte
}

// errStuck reports a row whose calls did not end.
var errStuck = errors.New("bench: calls under way did not end")

const haltTimeout = 20 * time.Second

// newLoad starts the calls of s on conns. With the mode Callbacks they are Pipeliners.
func newLoad(s Scenario, conns []Conn) *load {
	l := &load{}
	for c, conn := range conns {
		var workers []*worker
		for i := range s.calls {
			w := &worker{load: l, conn: conn, seed: uint64(c<<20 + i)}
			w.body, w.buf = make([]byte, s.body), make([]byte, s.body)
			if s.latency {
				w.hist = new(hub.Histogram)
			}
			workers = append(workers, w)
		}
		l.workers = append(l.workers, workers...)
		in, inside := conn.(insider)
		placer, inPlace := conn.(inPlacer)
		switch {
		case inPlace:
			l.wait.Add(len(workers))
			for _, w := range workers {
				w.inPlace = true
				w.chain(inRing{placer, func(b []byte) { fill(b, w.seed) }})
			}
		case inside && s.Modes&(Callbacks|Several) != 0:
			l.wait.Add(len(workers))
			in.Inside(func() {
				for _, w := range workers {
					w.chain(in)
				}
			})
		case s.Modes&Callbacks != 0:
			l.wait.Add(len(workers))
			for _, w := range workers {
				w.chain(conn.(Pipeliner))
			}
		default:
			for _, w := range workers {
				l.wait.Go(w.run)
			}
		}
	}
	return l
}

// run makes blocking calls.
func (w *worker) run() {
	base := time.Now()
	for !w.load.stop.Load() {
		begin, timed := w.begin(base)
		reply, err := w.conn.Call(w.body, w.buf)
		if err = w.end(reply, err); err != nil {
			w.load.fail(err)
			return
		}
		if timed {
			w.hist.Add(time.Since(base) - begin)
		}
		w.calls.Add(1)
	}
}

// chain makes a call whose callback makes the next.
func (w *worker) chain(conn Pipeliner) {
	base := time.Now()
	var begin time.Duration
	var timed bool
	var done func(reply []byte, err error)
	next := func() {
		begin, timed = w.begin(base)
		if err := conn.Go(w.body, w.buf, done); err != nil {
			w.load.fail(err)
			w.load.wait.Done()
		}
	}
	done = func(reply []byte, err error) {
		if err = w.end(reply, err); err != nil {
			w.load.fail(err)
		}
		if err != nil || w.load.stop.Load() {
			w.load.wait.Done()
			return
		}
		if timed {
			w.hist.Add(time.Since(base) - begin)
		}
		w.calls.Add(1)
		next()
	}
	next()
}

// inRing has a worker write its bodies into the ring, and not into its buffer.
type inRing struct {
	inPlacer
	write func(b []byte)
}

// Go implements Pipeliner.
func (c inRing) Go(body, _ []byte, done func(reply []byte, err error)) error {
	return c.GoInPlace(len(body), c.write, done)
}

// begin writes the next body, if that is not done elsewhere, and says whether its call is timed
// and since when.
func (w *worker) begin(base time.Time) (begin time.Duration, timed bool) {
	timed = w.hist != nil && w.load.record.Load()
	if timed {
		begin = time.Since(base)
	}
	w.seed++
	if !w.inPlace {
		fill(w.body, w.seed)
	}
	return begin, timed
}

// end checks the reply.
func (w *worker) end(reply []byte, err error) error {
	if err != nil {
		return err
	}
	return check(reply, len(w.body), w.seed)
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.stop.Store(true)
}

// failed returns the first error so far.
func (l *load) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// calls returns how many calls have ended.
func (l *load) calls() uint64 {
	var n uint64
	for _, w := range l.workers {
		n += w.calls.Load()
	}
	return n
}

// halt lets the calls under way end, and returns the first error.
func (l *load) halt() error {
	l.stop.Store(true)
	done := make(chan struct{})
	go func() {
		l.wait.Wait()
		close(done)
	}()
	limit := time.NewTimer(haltTimeout)
	defer limit.Stop()
	select {
	case <-done:
		return l.failed()
	case <-limit.C:
		return fmt.Errorf("%w within %v", errStuck, haltTimeout)
	}
}

// histogram returns the timed calls of every worker. The load has halted.
func (l *load) histogram() *hub.Histogram {
	sum := new(hub.Histogram)
	for _, w := range l.workers {
		if w.hist != nil {
			sum.Merge(w.hist)
		}
	}
	return sum
}
