package transport_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

func TestStats(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		o := handler(echo)
		o.Socket.Stay = true // else the server says where it runs, in frames of its own
		l := listen(t, server.of(o))
		cli := dial(t, l.Address(), client.of(transport.Options{}))
		srv := l.Conns()[0]
		const n, size = 50, 1000
		offers, accepts := uint64(0), uint64(0) // frames that a lane takes
		if cli.Stats().Lane.Ring > 0 {
			offers, accepts = 1, 1
		}
		for range n {
			_, err := cli.Call(patient(t), make([]byte, size), nil)
			require.NoError(t, err)
			require.NoError(t, cli.Send(patient(t), make([]byte, size)))
		}
		require.NoError(t, cli.Ping(patient(t)))
		eventually(t, func() bool { // both have counted the last frame; the ping overtakes oneways
			c, s := cli.Stats(), srv.Stats()
			return c.OutboxFrames+s.OutboxFrames == 0 && c.FramesIn == n+2+offers+accepts &&
				s.FramesIn >= 2*n+2+accepts
		}, "%v %v", now(cli.Stats), now(srv.Stats))
		c, s := cli.Stats(), srv.Stats()
		require.EqualValues(t, 2*n+2+accepts, s.FramesIn, "calls, oneways, hello and ping: %+v", s)
		require.Equal(t, c.FramesOut, s.FramesIn, "%+v %+v", c, s)
		require.Equal(t, c.BytesOut, s.BytesIn, "%+v %+v", c, s)
		require.EqualValues(t, n+2+offers+accepts, c.FramesIn, "replies, hello and pong: %+v", c)
		require.Equal(t, c.BytesIn, s.BytesOut, "%+v %+v", c, s)
		require.Greater(t, c.BytesOut, uint64(2*n*size))
		require.NotZero(t, c.Reads)
		require.NotZero(t, c.Writes)
		for _, g := range []transport.Stats{c, s} {
			require.Zero(t, g.Pending+g.Tombstones+g.Serving+g.OutboxFrames, "%+v", g)
			require.Zero(t, g.HeldBytes+g.OutboxBytes, "%+v", g)
			require.Equal(t, transport.DefaultMaxCalls, g.CreditCalls, "%+v", g)
		}
		before := l.Stats()
		require.Equal(t, s.FramesIn, before.FramesIn) // the loop still polls: its reads go on
		require.Equal(t, s.BytesOut, before.BytesOut)
		require.NoError(t, cli.Close(patient(t)))
		eventually(t, func() bool { return l.Stats().Conns == 0 }, "%v", now(l.Stats))
		require.GreaterOrEqual(t, l.Stats().FramesIn, before.FramesIn, "counters stay")
	})
}

// tracer keeps what a trace hook is told.
type tracer struct {
	mu     sync.Mutex
	events []transport.Event // guarded by mu
}

func (r *tracer) take(e transport.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Conn = nil
	r.events = append(r.events, e)
}

// sum counts frames and whole bodies of one kind and direction.
func (r *tracer) sum(out bool, kind wire.Flags) (frames, bodies, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Out != out || e.Header.Flags&^wire.Part != kind {
			continue
		}
		frames++
		if e.Header.Flags&wire.Part == 0 {
			bodies++
			bytes += e.Size
		}
	}
	return frames, bodies, bytes
}

func TestTrace(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		var here, there tracer
		o := handler(echo)
		o.Hooks.Trace = there.take
		l := listen(t, server.of(o))
		cli := dial(t, l.Address(), client.of(transport.Options{
			Hooks: transport.Hooks{Trace: here.take}}))
		const size = 600 << 10
		for range 3 {
			_, err := cli.Call(background, make([]byte, size), nil) // no deadline, so an empty meta
			require.NoError(t, err)
		}
		_, err := cli.Call(background, []byte("x"), nil)
		require.NoError(t, err)
		require.NoError(t, cli.Ping(patient(t)))
		for name, c := range map[string]struct {
			r    *tracer
			out  bool
			kind wire.Flags
		}{
			"calls out":   {&here, true, wire.FlagsCall},
			"calls in":    {&there, false, wire.FlagsCall},
			"replies out": {&there, true, wire.FlagsReply},
			"replies in":  {&here, false, wire.FlagsReply},
		} {
			frames, bodies, bytes := c.r.sum(c.out, c.kind)
			require.Equal(t, 3*3+1, frames, "%s: bodies of three parts", name)
			require.Equal(t, 4, bodies, name)
			require.Equal(t, 3*(size+1)+2, bytes, "%s: bodies with their meta", name)
		}
		frames, _, _ := here.sum(true, wire.FlagsControl)
		require.GreaterOrEqual(t, frames, 2, "hello and ping")
	})
}
