//go:build linux && !portable

package transport_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// TestRelayStalls has a loop pass on what it reads to a connection that takes no more in the middle
// of a batch, and on which nothing comes in: when it takes more, it gets the rest.
func TestRelayStalls(t *testing.T) {
	for i := range times(16, 200) {
		relayStalls(t, i%16) // some of which fill the socket to where the middle does not fit
	}
}

func relayStalls(t *testing.T, before int) {
	const batch = 34 // two more than the loop collects before it writes in the middle
	g, err := transport.NewGroup(1, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Close()) }()
	var target atomic.Pointer[transport.Conn]
	var handled, posted atomic.Int64
	o := handler(func(r *transport.Request) {
		if target.Load().TryPost(transport.Message{Body: r.Body()}) == nil {
			posted.Add(1)
		}
		handled.Add(1)
	})
	o.Group = g
	o.Socket = transport.SocketOptions{Lane: transport.LaneOff, SendBuffer: 4 << 10}
	l := listen(t, o)
	slow, _ := rawClient(t, l.Address(), anyHello())
	eventually(t, func() bool { return len(l.Conns()) == 1 }, "a connection")
	to := l.Conns()[0]
	target.Store(to)
	fast, _ := rawClient(t, l.Address(), anyHello())
	var frames []byte
	for i := range batch {
		frames = append(frames, native(wire.FlagsOneway, 0, wire.Meta{}, body(uint64(i), 100))...)
	}
	sent := int64(0)
	handle := func(n int, frames []byte) {
		fast.send(frames)
		sent += int64(n)
		eventually(t, func() bool { return handled.Load() == sent }, "%d requests: %v", sent,
			state[int64](handled.Load))
	}
	for range before {
		handle(1, frames[:len(frames)/batch])
	}
	for to.Stats().OutboxFrames == 0 {
		handle(batch, frames)
	}
	for i := range posted.Load() {
		f := slow.receive()
		require.Equal(t, wire.FlagsOneway, f.Header.Flags, "frame %d", i)
	}
}
