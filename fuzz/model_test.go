package fuzz_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// headSize is what every payload begins with: conduct, number of the call, length, checksum of what
// follows.
const headSize = 1 + 4 + 4 + 4

// payload makes the body of request n: its head and size bytes that no other request has.
func payload(c conduct, n uint32, size int) []byte {
	b := make([]byte, headSize+size)
	x := n*2654435761 + 1
	for i := range b[headSize:] {
		x = x*1664525 + 1013904223
		b[headSize+i] = byte(x >> 24)
	}
	b[0] = byte(c)
	binary.BigEndian.PutUint32(b[1:], n)
	binary.BigEndian.PutUint32(b[5:], uint32(size))
	binary.BigEndian.PutUint32(b[9:], crc32.ChecksumIEEE(b[headSize:]))
	return b
}

// openPayload takes a payload apart; it reports false when it is not as it was made.
func openPayload(b []byte) (c conduct, n uint32, ok bool) {
	if len(b) < headSize {
		return 0, 0, false
	}
	ok = int(binary.BigEndian.Uint32(b[5:])) == len(b)-headSize &&
		binary.BigEndian.Uint32(b[9:]) == crc32.ChecksumIEEE(b[headSize:])
	return conduct(b[0]), binary.BigEndian.Uint32(b[1:]), ok
}

// call is what the model knows of a call: that it ends once, and how it may.
type call struct {
	n        uint32
	side     int
	conduct  conduct
	size     int
	timeout  time.Duration
	back     bool // with a callback
	arrives  bool // should get to its handler before its time is over
	cancel   context.CancelFunc
	canceled atomic.Bool
	arrived  chan struct{} // closed when its handler has begun
	ended    chan struct{} // closed by its first end
	ends     atomic.Int32
	reply    []byte // valid when ended is closed
	err      error  // likewise
	buf      []byte // that the reply was to go into
}

// end is called with the outcome.
func (c *call) end(reply []byte, err error) {
	if c.ends.Add(1) > 1 {
		return // the model counts
	}
	c.reply, c.err = bytes.Clone(reply), err
	close(c.ended)
}

// short says whether the time of c may be over before it is answered.
func (c *call) short() bool { return c.timeout > 0 && c.timeout < time.Hour }

// late says whether c was too slow for its time, as happens on a busy machine.
func (c *call) late() bool {
	select {
	case <-c.arrived:
		return false
	default:
		return c.arrives && errors.Is(c.err, context.DeadlineExceeded)
	}
}

// String shows c in reports.
func (c *call) String() string {
	return fmt.Sprintf("call %d of side %d (conduct %d, %d bytes, timeout %s, callback %v)", c.n,
		c.side, c.conduct, c.size, c.timeout, c.back)
}

// done says whether c has ended.
func (c *call) done() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// answer is what a call of this conduct gets when all goes well.
func answer(request []byte) []byte {
	b := bytes.Clone(request)
	b[0] ^= 0xFF
	return b
}

// The codes of errors that handlers answer with.
const (
	codeFails  = wire.CodeUser + 1
	codeNested = wire.CodeUser + 2
)

// verdict is the outcome of a call in one word.
func verdict(err error) string {
	var remote *transport.RemoteError
	var limit *transport.LimitError
	var dropped *transport.DroppedError
	var broken *transport.ProtocolError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &broken):
		return "protocol: " + err.Error()
	case errors.As(err, &dropped):
		return fmt.Sprintf("dropped %d calls, %d served", dropped.Calls, dropped.Served)
	case errors.As(err, &remote):
		return "remote " + remote.Code.String()
	case errors.As(err, &limit):
		return "limit " + limit.What
	case errors.Is(err, transport.ErrConnLost):
		return "lost"
	case errors.Is(err, net.ErrClosed):
		return "closed"
	case errors.Is(err, transport.ErrFull):
		return "full"
	case errors.Is(err, transport.ErrDraining):
		return "draining"
	case errors.Is(err, transport.ErrOnLoop):
		return "on loop"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline"
	}
	return "unknown: " + err.Error()
}

// check holds the outcome of c against what may have happened in a program: its connection was
// disturbed (closed, cut) or not, a side was drained or not.
func (c *call) check(t testing.TB, disturbed, drained, tight bool) {
	t.Helper()
	require.EqualValues(t, 1, c.ends.Load(), "ends of %s", c)
	got := verdict(c.err)
	allowed := c.allowed(disturbed, drained, tight)
	require.Contains(t, allowed, got, "%s: %v", c, c.err)
	if c.err != nil {
		return
	}
	if c.conduct == blocks {
		require.Equal(t, "on loop", string(c.reply), "call %d", c.n)
		return
	}
	want := answer(payload(c.conduct, c.n, c.size))
	require.True(t, bytes.Equal(want, c.reply), "call %d got another reply than its own", c.n)
}

// allowed are the verdicts that c may come to.
func (c *call) allowed(disturbed, drained, tight bool) []string {
	var v []string
	if c.size+headSize > tightBody && tight {
		v = append(v, "limit body bytes")
	}
	switch c.conduct {
	case fails:
		v = append(v, "remote "+codeFails.String())
	case forgets, panics:
		v = append(v, "remote "+wire.CodeInternal.String())
	case nested:
		v = append(v, "ok", "remote "+codeNested.String())
	case pooled:
		v = append(v, "ok", "remote "+wire.CodeOverloaded.String())
	default:
		v = append(v, "ok")
	}
	if c.canceled.Load() {
		v = append(v, "canceled")
	}
	if c.short() {
		v = append(v, "deadline")
	}
	if disturbed {
		v = append(v, "lost", "closed", "draining", "remote "+wire.CodeDraining.String())
	}
	if drained {
		v = append(v, "draining", "remote "+wire.CodeDraining.String())
	}
	if c.back {
		v = append(v, "full")
	}
	if tight {
		v = append(v, "limit pending calls")
	}
	return v
}
