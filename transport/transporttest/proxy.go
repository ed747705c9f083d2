package transporttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Faults are what a Proxy does to the bytes that pass it. The zero value passes them as they come.
// Each connection and direction draws from its own sequence, so that one is repeated whatever the
// others do.
type Faults struct {
	// Seed is where the randomness comes from; 0 chooses one. It is printed when the test fails.
	Seed uint64

	// Split writes pieces of 1 to Split bytes. 0: as they were read.
	Split int

	// Merge collects up to Merge bytes, as long as more come within a millisecond.
	Merge int

	// Delay waits up to Delay before about every eighth piece.
	Delay time.Duration

	// Truncate throws away everything behind a random offset below Truncate in one of the
	// directions of a connection, and closes it then. 0: never.
	Truncate int64

	// Reset closes both sides of a connection at once, bytes under way included, after a random
	// number of bytes below Reset. 0: never.
	Reset int64
}

// Proxy is a Unix socket between clients and a server that spoils the stream. It does not carry
// descriptors, and the credentials that the server sees are the proxy's.
type Proxy struct {
	address string
	target  string
	faults  Faults
	l       net.Listener
	wg      sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]struct{} // guarded by mu
	nth    uint64             // connections so far, guarded by mu
	closed bool               // guarded by mu
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
}

func (k *link) close() {
	k.client.Close()
	k.server.Close()
}

// NewProxy listens on a socket of its own for connections to target. It is closed at the end of the
// test.
func NewProxy(t testing.TB, target string, f Faults) *Proxy {
	t.Helper()
	if f.Seed == 0 {
		f.Seed = rand.Uint64()
	}
	p := &Proxy{address: filepath.Join(t.TempDir(), "p"), target: target, faults: f,
		links: make(map[*link]struct{})}
	l, err := net.Listen("unix", p.address)
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p.l = l
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("proxy: %v", p)
		}
		p.Close()
	})
	return p
}

// Address is where clients connect.
func (p *Proxy) Address() string { return p.address }

// String shows the faults with their seed.
func (p *Proxy) String() string { return fmt.Sprintf("%+v", p.faults) }

// Cut closes every connection now, bytes under way included. New ones come through.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.links {
		k.close()
	}
}

// Close closes the proxy and everything that goes through it, and waits.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.l.Close()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.begin(&link{client, server})
	}
}

func (p *Proxy) begin(k *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		k.close()
		return
	}
	p.links[k] = struct{}{}
	p.nth++
	up, down := p.flow(2*p.nth), p.flow(2*p.nth+1)
	if p.faults.Truncate > 0 { // in one direction only
		if up.random.Uint32()&1 == 0 {
			down.truncate = -1
		} else {
			up.truncate = -1
		}
	}
	var both sync.WaitGroup
	both.Go(func() { up.run(k.server, k.client, k) })
	both.Go(func() { down.run(k.client, k.server, k) })
	p.wg.Go(func() {
		both.Wait()
		k.close()
		p.mu.Lock()
		delete(p.links, k)
		p.mu.Unlock()
	})
}

// flow is one direction of a connection.
type flow struct {
	faults   Faults
	random   *rand.Rand
	truncate int64 // bytes until the end; -1: never
	reset    int64
}

func (p *Proxy) flow(nth uint64) *flow {
	f := &flow{faults: p.faults, random: rand.New(rand.NewPCG(p.faults.Seed, nth)),
		truncate: -1, reset: -1}
	if n := p.faults.Truncate; n > 0 {
		f.truncate = f.random.Int64N(n)
	}
	if n := p.faults.Reset; n > 0 {
		f.reset = f.random.Int64N(n)
	}
	return f
}

// run copies from src to dst until one of them ends.
func (f *flow) run(dst, src net.Conn, k *link) {
	buf := make([]byte, max(32<<10, f.faults.Merge))
	for {
		n, err := f.read(src, buf)
		if !f.write(dst, buf[:n]) {
			k.close()
			return
		}
		if err != nil {
			// The other direction goes on until its own end, as in a socket that is half closed.
			if u, ok := dst.(*net.UnixConn); ok {
				u.CloseWrite()
			}
			return
		}
	}
}

// read reads what there is, or collects it.
func (f *flow) read(src net.Conn, buf []byte) (int, error) {
	n, err := src.Read(buf)
	for err == nil && n < f.faults.Merge {
		src.SetReadDeadline(time.Now().Add(time.Millisecond))
		var m int
		m, err = src.Read(buf[n:f.faults.Merge])
		n += m
		if e, ok := err.(net.Error); ok && e.Timeout() {
			err = nil
			break
		}
	}
	src.SetReadDeadline(time.Time{})
	return n, err
}

// write writes p in pieces; false says that the connection ends here.
func (f *flow) write(dst net.Conn, p []byte) bool {
	for len(p) > 0 {
		n := len(p)
		if f.faults.Split > 0 {
			n = min(n, 1+f.random.IntN(f.faults.Split))
		}
		if f.faults.Delay > 0 && f.random.IntN(8) == 0 {
			time.Sleep(time.Duration(f.random.Int64N(int64(f.faults.Delay))))
		}
		if !f.spend(&f.reset, &n) {
			return false
		}
		last := !f.spend(&f.truncate, &n)
		if _, err := dst.Write(p[:n]); err != nil || last {
			return false
		}
		p = p[n:]
	}
	return true
}

// spend takes n bytes from what is left; false says that there is an end within them, and cuts n.
func (f *flow) spend(left *int64, n *int) bool {
	if *left < 0 {
		return true
	}
	if int64(*n) > *left {
		*n = int(*left)
		*left = 0
		return false
	}
	*left -= int64(*n)
	return true
}
