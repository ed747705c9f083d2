package transport_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// A connection whose callers read themselves is silent for epoll; what comes for others is read at
// once all the same.
func BenchmarkAfterCall(b *testing.B) {
	_, cli := engines[0].pair(b, handler(echo), transport.Options{})
	body := []byte("x")
	buf := make([]byte, 8)
	next := map[string]func() error{
		"call": func() error { _, err := cli.Call(background, body, buf); return err },
		"ping": func() error { return cli.Ping(background) },
		"go": func() error {
			over := make(chan error, 1)
			m := transport.Message{Body: body}
			err := cli.Go(m, buf, func(_ []byte, err error) { over <- err })
			if err != nil {
				return err
			}
			return <-over
		},
	}
	for name, f := range next {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				for range 8 {
					_, err := cli.Call(background, body, buf)
					require.NoError(b, err)
				}
				require.NoError(b, f())
			}
		})
	}
}
