package transport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// The delays between two attempts to connect when RedialOptions says nothing else.
const (
	DefaultMinDelay = 10 * time.Millisecond
	DefaultMaxDelay = 5 * time.Second
)

// RedialOptions are the choices for a Redialer. The zero value works.
type RedialOptions struct {
	// Options are those of each connection.
	Options Options

	// Up is called with each new connection before anybody else gets it: here registrations come
	// back. It may call c, and block; the Redialer itself hands nothing out meanwhile. An error
	// closes the connection, and the next attempt follows. ctx ends when the Redialer is closed.
	Up func(ctx context.Context, c *Conn) error

	// Down is called after each connection that ended, and each attempt that failed, with the
	// reason.
	Down func(err error)

	// MinDelay is waited for after the first failure; it doubles with each one that follows, up to
	// MaxDelay. Each wait is shortened by up to a half, at random, so that many clients of a server
	// that came back do not come at once. 0 means the default.
	MinDelay, MaxDelay time.Duration
}

// Redialer keeps one connection to a server up: when it ends it dials again. Calls that are under
// way when it ends fail with ErrConnLost, and are never repeated; calls made while there is none
// wait for the next, within their context.
type Redialer struct {
	address string
	o       RedialOptions
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	over    chan struct{} // closed when nothing runs any more

	mu      sync.Mutex
	conn    *Conn         // nil while there is none, guarded by mu
	last    error         // why there is none, guarded by mu
	changed chan struct{} // closed and replaced when conn or last changes, guarded by mu
}

// Redial returns a Redialer for address. It dials in the background at once; nothing is wrong with
// a server that comes later.
func Redial(address string, o RedialOptions) *Redialer {
	if o.MinDelay <= 0 {
		o.MinDelay = DefaultMinDelay
	}
	if o.MaxDelay <= 0 {
		o.MaxDelay = DefaultMaxDelay
	}
	o.MaxDelay = max(o.MinDelay, o.MaxDelay)
	d := &Redialer{address: address, o: o, over: make(chan struct{}), changed: make(chan struct{})}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	go d.run()
	return d
}

// Conn returns the connection, once there is one. When ctx is done first the error wraps its, and
// that of the last attempt.
func (d *Redialer) Conn(ctx context.Context) (*Conn, error) {
	for {
		d.mu.Lock()
		c, last, changed := d.conn, d.last, d.changed
		d.mu.Unlock()
		if c != nil && c.Err() == nil {
			return c, nil
		}
		if d.ctx.Err() != nil {
			return nil, ErrClosed
		}
		select {
		case <-changed:
		case <-d.ctx.Done():
		case <-ctx.Done():
			if last == nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("%w: %w", ctx.Err(), last)
		}
	}
}

// Call is Conn.Call on the connection, once there is one.
func (d *Redialer) Call(ctx context.Context, body, buf []byte) ([]byte, error) {
	return d.Do(ctx, Message{Body: body}, buf)
}

// Do is Conn.Do on the connection, once there is one. The Timeout of m covers the wait for it.
func (d *Redialer) Do(ctx context.Context, m Message, buf []byte) ([]byte, error) {
	c, m, err := d.connFor(ctx, m)
	if err != nil {
		return nil, err
	}
	return c.Do(ctx, m, buf)
}

// Send is Conn.Send on the connection, once there is one.
func (d *Redialer) Send(ctx context.Context, body []byte) error {
	return d.Post(ctx, Message{Body: body})
}

// Post is Conn.Post on the connection, once there is one. The Timeout of m covers the wait for it.
func (d *Redialer) Post(ctx context.Context, m Message) error {
	c, m, err := d.connFor(ctx, m)
	if err != nil {
		return err
	}
	return c.Post(ctx, m)
}

// connFor waits for the connection as long as m has time, and takes that off its Timeout.
func (d *Redialer) connFor(ctx context.Context, m Message) (*Conn, Message, error) {
	if m.Timeout <= 0 {
		c, err := d.Conn(ctx)
		return c, m, err
	}
	begin := time.Now()
	timed, cancel := context.WithTimeoutCause(ctx, m.Timeout, ErrDeadline)
	defer cancel()
	c, err := d.Conn(timed)
	if err != nil && ctx.Err() == nil && context.Cause(timed) == ErrDeadline {
		return nil, m, fmt.Errorf("%w: %w", ErrDeadline, err)
	}
	m.Timeout = max(1, m.Timeout-time.Since(begin))
	return c, m, err
}

// Close dials no more, closes the connection within ctx as Conn.Close does, and waits until nothing
// of the Redialer runs. Closing again waits for the first and returns nil. From the loop of the
// connection it cannot wait: it aborts the connection and gives ErrOnLoop.
func (d *Redialer) Close(ctx context.Context) error {
	d.mu.Lock()
	c := d.conn
	again := d.ctx.Err() != nil
	d.conn = nil
	d.cancel()
	d.mu.Unlock()
	var err error
	if c != nil && !again {
		err = c.Close(ctx)
	}
	if err == ErrOnLoop {
		c.Abort(nil)
		return err
	}
	<-d.over
	return err
}

// run dials until the Redialer is closed.
func (d *Redialer) run() {
	defer close(d.over)
	delay := d.o.MinDelay
	for d.ctx.Err() == nil {
		begin := time.Now()
		err := d.once()
		if d.o.Down != nil && d.ctx.Err() == nil {
			d.o.Down(err)
		}
		if time.Since(begin) > d.o.MaxDelay { // it was up for long enough to call it good
			delay = d.o.MinDelay
		}
		d.sleep(delay/2 + rand.N(delay/2+1))
		delay = min(2*delay, d.o.MaxDelay)
	}
}

func (d *Redialer) sleep(t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.ctx.Done():
	}
}

// once dials, hands the connection out, and returns why it ended, or why there is none.
func (d *Redialer) once() error {
	c, err := Dial(d.ctx, d.address, d.o.Options)
	if err != nil {
		d.set(nil, err)
		return err
	}
	if d.o.Up != nil {
		if err := d.o.Up(d.ctx, c); err != nil {
			c.Abort(err)
			<-c.Done()
			d.set(nil, err)
			return err
		}
	}
	if !d.set(c, nil) {
		c.Abort(nil)
	}
	<-c.Done()
	d.set(nil, c.Err())
	return c.Err()
}

// set tells those who wait; false says that the Redialer is closed, and takes no connection.
func (d *Redialer) set(c *Conn, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c != nil && d.ctx.Err() != nil {
		return false
	}
	d.conn, d.last = c, err
	close(d.changed)
	d.changed = make(chan struct{})
	return true
}
