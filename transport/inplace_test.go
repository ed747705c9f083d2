package transport_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// filled is a message whose payload is body(seed, n).
func filled(seed uint64, n int) transport.Message {
	return transport.Message{Size: n, Fill: func(b []byte) { copy(b, body(seed, n)) }}
}

// trusting returns options that hand over in place what has at least n bytes, in rings that have
// room for it.
func trusting(o transport.Options, n int) transport.Options {
	o.Socket.InPlace, o.Socket.Ring = n, 4<<20
	return o
}

var filledSizes = []int{0, 1, 7, 8, 100, 5000, 16 << 10, 100_000, 300 << 10, 1 << 20, 5 << 20}

// Bodies that are filled arrive, by every way to send one, in every size, and with replies that are
// filled; credit and counters are what they were.
func TestFill(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		var mux transport.Mux
		mux.HandleFunc("fill", func(r *transport.Request) {
			b := bytes.Clone(r.Body())
			_ = r.Fill(len(b), func(dst []byte) { copy(dst, b) })
		})
		mux.HandleFunc("later", func(r *transport.Request) {
			d := r.Detach()
			go func() { _ = d.Fill(len(d.Body()), func(dst []byte) { copy(dst, d.Body()) }) }()
		})
		got := make(chan []byte, 1)
		mux.HandleFunc("oneway", func(r *transport.Request) { got <- bytes.Clone(r.Body()) })
		l := listen(t, server.of(trusting(transport.Options{Handler: &mux}, 4096)))
		cli := dial(t, l.Address(), client.of(trusting(transport.Options{}, 4096)))
		before := cli.Stats().CreditBytes
		for i, n := range filledSizes {
			want := body(uint64(i), n)
			for _, method := range []string{"fill", "later"} {
				m := filled(uint64(i), n)
				m.Method = method
				reply, err := cli.Do(patient(t), m, nil)
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, reply), "%s of %d bytes", method, n)
				replies := make(chan []byte, 1)
				require.NoError(t, cli.Go(m, nil, func(b []byte, err error) {
					replies <- bytes.Clone(b)
				}))
				require.True(t, bytes.Equal(want, receive(t, replies, "a reply")), "%d bytes", n)
			}
			m := filled(uint64(i), n)
			m.Method = "oneway"
			require.NoError(t, cli.Post(patient(t), m))
			require.True(t, bytes.Equal(want, receive(t, got, "a oneway")), "%d bytes", n)
		}
		// whatever was paid too much has come back, or comes with the next credit
		for range times(40, 200) {
			m := transport.Message{Method: "fill", Body: make([]byte, 1<<20)}
			_, err := cli.Do(patient(t), m, nil)
			require.NoError(t, err)
		}
		eventually(t, func() bool { return cli.Stats().CreditBytes > before/2 }, "credit: %v",
			now(cli.Stats))
		eventually(t, func() bool {
			c, s := cli.Stats(), l.Stats()
			return c.OutboxFrames+s.OutboxFrames == 0 && c.HeldBytes+s.HeldBytes == 0
		}, "nothing is left: %v %v", now(cli.Stats), now(l.Stats))
	})
}

// What a Fill does wrong is the error of its call, and nobody else's.
func TestFillFails(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		srv, cli := e.pair(t, handler(func(r *transport.Request) {
			if len(r.Body()) > 0 {
				_ = r.Fill(10, func([]byte) { panic("of a reply") })
				return
			}
			_ = r.Fill(0, func([]byte) {})
		}), transport.Options{})
		m := transport.Message{Size: 100, Fill: func([]byte) { panic("of a call") }}
		_, err := cli.Do(patient(t), m, nil)
		require.ErrorContains(t, err, "of a call")
		require.ErrorContains(t, cli.Post(patient(t), m), "of a call")
		require.ErrorContains(t, cli.Go(m, nil, func([]byte, error) {}), "of a call")
		_, err = cli.Call(patient(t), []byte("x"), nil)
		requireCode(t, wire.CodeInternal, err)
		m.Size = 17 << 20
		_, err = cli.Do(patient(t), m, nil)
		requireLimit(t, err)
		got, err := cli.Call(patient(t), nil, nil)
		require.NoError(t, err)
		require.Empty(t, got)
		for _, c := range []*transport.Conn{srv, cli} {
			eventually(t, func() bool {
				return c.Stats().Pending+c.Stats().Serving+c.Stats().OutboxFrames == 0
			}, "nothing is left: %v", now(c.Stats))
		}
	})
}

// A handler that panics with a body in place fails its call; the ring goes on.
func TestInPlacePanics(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		_, cli := e.pair(t, trusting(handler(func(r *transport.Request) {
			if !intact(r.Body()) {
				panic("other bytes")
			}
			panic("as it should")
		}), 100), transport.Options{})
		for i := range 50 {
			_, err := cli.Do(patient(t), filled(uint64(i), 200_000), nil)
			requireCode(t, wire.CodeInternal, err)
			require.ErrorContains(t, err, "as it should")
		}
	})
}
