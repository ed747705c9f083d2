package transport_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// What is shared is sent whole, by calls and oneways, by any number of connections, after who made
// it has released it; and its memory is back when the last has sent it, or has ended.
func TestSharedBodies(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		g, err := transport.NewGroup(1, 0)
		require.NoError(t, err)
		defer func() { require.NoError(t, g.Close()) }()
		for _, size := range []int{100, 40_000, 1 << 20} {
			heard := make(chan []byte, 10)
			free := make(chan struct{})
			var conns []*transport.Conn
			for range 3 {
				_, cli := e.pair(t, transport.Options{
					Handler: transport.HandlerFunc(func(r *transport.Request) {
						<-free
						heard <- bytes.Clone(r.Body())
						_ = r.Reply(nil)
					})}, transport.Options{Group: g})
				require.NoError(t, cli.Ping(context.Background()))
				conns = append(conns, cli)
			}
			require.Eventually(t, func() bool { return g.Held() == 0 }, patience, time.Millisecond,
				"what was before is over")
			want := bytes.Repeat([]byte("0123456789"), size/10)
			s := conns[0].Share(want[:size/2], want[size/2:])
			require.Equal(t, want, s.Bytes())
			require.GreaterOrEqual(t, g.Held(), int64(len(want)))
			m := transport.Message{Body: s.Bytes(), Shared: s}
			ended := make(chan error, 10)
			for _, c := range conns {
				require.NoError(t, c.TryPost(m))
				_, err := c.Begin(&m, nil, func(_ []byte, err error) { ended <- err })
				require.NoError(t, err)
			}
			s.Release()
			conns[2].Abort(transport.ErrClosed)
			require.Error(t, <-ended)
			close(free)
			for range 4 {
				require.True(t, bytes.Equal(want, <-heard), "it is whole")
			}
			for range 2 {
				require.NoError(t, <-ended)
			}
			require.Eventually(t, func() bool { return g.Held() == 0 }, patience,
				time.Millisecond, "memory is back")
		}
	})
}
