package transport

import (
	"fmt"
	"sync"

	"github.com/pithos-ipc/pithos/wire"
)

// Pool runs handlers that may block on a bounded number of goroutines, which are started as they
// are needed. Requests wait in a bounded queue; when it is full, calls are answered with
// wire.CodeOverloaded and oneways are dropped and counted.
type Pool struct {
	workers int
	wg      sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond // of mu: the queue is not empty, or closed
	queue   []job     // ring, guarded by mu
	head, n int       // guarded by mu
	running int       // guarded by mu
	idle    int       // workers that wait, guarded by mu
	closed  bool      // guarded by mu
}

type job struct {
	r *Request
	h Handler
}

// NewPool makes a pool of at most workers goroutines and a queue of that many requests; both at
// least 1.
func NewPool(workers, queue int) *Pool {
	p := &Pool{workers: max(1, workers), queue: make([]job, max(1, queue))}
	p.work.L = &p.mu
	return p
}

// Handler returns a Handler that runs h on the pool. There the request is the worker's until h
// returns; to keep it longer, Detach it.
func (p *Pool) Handler(h Handler) Handler { return pooled{p, h} }

type pooled struct {
	pool *Pool
	h    Handler
}

// Serve queues a copy of r.
func (p pooled) Serve(r *Request) {
	d := r.conn.eng.detach(r, true)
	if p.pool.push(job{d, p.h}) {
		return
	}
	if d.oneway {
		d.conn.eng.drop()
	} else {
		_ = d.Fail(wire.CodeOverloaded, fmt.Sprintf("worker queue, limit %d", len(p.pool.queue)))
	}
	d.ended()
	d.recycle()
}

func (p *Pool) push(j job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.n == len(p.queue) {
		return false
	}
	p.queue[(p.head+p.n)%len(p.queue)] = j
	p.n++
	if p.n > p.idle && p.running < p.workers {
		p.running++
		p.wg.Go(p.loop)
	} else {
		p.work.Signal()
	}
	return true
}

func (p *Pool) pop() (job, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.n == 0 {
		if p.closed {
			return job{}, false
		}
		p.idle++
		p.work.Wait()
		p.idle--
	}
	j := p.queue[p.head]
	p.queue[p.head] = job{}
	p.head = (p.head + 1) % len(p.queue)
	p.n--
	return j, true
}

func (p *Pool) loop() {
	for {
		j, ok := p.pop()
		if !ok {
			return
		}
		j.run()
	}
}

// run serves one request; its panic is the caller's error, not the process's.
func (j job) run() {
	defer func() {
		if p := recover(); p != nil {
			j.r.panicked(p)
		}
		j.r.ended()
		j.r.recycle()
	}()
	j.h.Serve(j.r)
}

// Close stops taking requests, lets those in the queue finish, and waits for the workers.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.work.Broadcast()
	p.mu.Unlock()
	p.wg.Wait()
}
