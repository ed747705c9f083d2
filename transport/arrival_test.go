package transport_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// Frames that were read together have arrived together; those of the next read later, and none
// before it was sent or after it is handled.
func TestArrival(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		type seen struct{ sent, arrived, handled time.Duration }
		var begun time.Duration
		got := make(chan seen, 1)
		serve := func(r *transport.Request) {
			at := r.Conn().Arrival()
			for range 1000 { // some time goes by
				require.Equal(t, at, r.Conn().Arrival())
			}
			got <- seen{begun, at, transport.Now()}
			_ = r.Reply(r.Body())
		}
		_, cli := e.pair(t, transport.Options{Handler: transport.HandlerFunc(serve)},
			transport.Options{})
		last := time.Duration(-1)
		for range 20 {
			begun = transport.Now()
			_, err := cli.Call(background, []byte("x"), nil)
			require.NoError(t, err)
			s := <-got
			require.GreaterOrEqual(t, s.arrived, s.sent)
			require.Greater(t, s.handled, s.arrived)
			require.Greater(t, s.arrived, last)
			last = s.arrived
		}
	})
}

// A callback learns when the reply has come.
func TestArrivalOfReplies(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		_, cli := e.pair(t, handler(echo), transport.Options{})
		at := make(chan time.Duration)
		begun := transport.Now()
		require.NoError(t, cli.Go(transport.Message{Body: []byte("x")}, nil,
			func([]byte, error) { at <- cli.Arrival() }))
		arrived := <-at
		require.Greater(t, arrived, begun)
		require.Less(t, arrived, transport.Now())
	})
}
