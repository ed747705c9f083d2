//go:build linux && !portable && !race

package transport_test

import (
	"testing"

	"github.com/pithos-ipc/pithos/transport"
)

// BenchmarkLaneCall is one call of 64 bytes under way on each lane, with both ends in one process:
// ratios between the rows count, `pithos bench` has two processes.
func BenchmarkLaneCall(b *testing.B) {
	for _, e := range engines[:2] {
		b.Run(e.name, func(b *testing.B) {
			_, cli := e.pair(b, handler(echo), transport.Options{})
			body, buf := make([]byte, 64), make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				mustCall(cli.Call(background, body, buf))
			}
		})
	}
}

// BenchmarkLaneBody is 1 MiB each way, of which both ends read and write every byte: over the
// socket, by copies through shared memory, and through the door without copies.
func BenchmarkLaneBody(b *testing.B) {
	const n = 1 << 20
	fill := func(dst []byte) {
		for i := range dst {
			dst[i] = byte(i)
		}
	}
	sum := func(src []byte) (s byte) {
		for _, x := range src {
			s += x
		}
		return s
	}
	for _, c := range []struct {
		name string
		e    engine
		door bool
	}{{"socket", engines[1], false}, {"copies", engines[0], false}, {"door", engines[0], true}} {
		b.Run(c.name, func(b *testing.B) {
			var o transport.Options
			if o.Socket.Ring = 4 * n; c.door {
				o.Socket.InPlace = 4096
			}
			server := o
			server.Handler = transport.HandlerFunc(func(r *transport.Request) {
				body := r.Body()
				if sum(body) != 0 {
					_ = r.Fail(100, "other bytes")
				} else if c.door {
					_ = r.Fill(n, fill)
				} else {
					fill(body)
					_ = r.Reply(body)
				}
			})
			_, cli := c.e.pair(b, server, o)
			m, buf := transport.Message{Size: n, Fill: fill}, []byte(nil)
			if !c.door {
				m, buf = transport.Message{Body: make([]byte, n)}, make([]byte, n)
			}
			ended := make(chan error, 1)
			done := func(reply []byte, err error) {
				if err == nil && (len(reply) != n || sum(reply) != 0) {
					panic("other bytes")
				}
				ended <- err
			}
			b.SetBytes(2 * n)
			b.ReportAllocs()
			for b.Loop() {
				if !c.door {
					fill(m.Body)
				}
				if err := cli.Go(m, buf, done); err != nil {
					b.Fatal(err)
				}
				mustCall(nil, <-ended)
			}
		})
	}
}
