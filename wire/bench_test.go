package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/wire"
)

func BenchmarkParseHeader(b *testing.B) {
	frame := goldenBytes(b, "call")
	b.ReportAllocs()
	b.SetBytes(wire.HeaderSize)
	for b.Loop() {
		if _, ok := wire.ParseHeader(frame); !ok {
			b.Fatal("no header")
		}
	}
}

func BenchmarkAppendHeader(b *testing.B) {
	h := wire.Header{Flags: wire.FlagsCall, ID: 65543, Length: 64}
	buf := make([]byte, 0, wire.HeaderSize)
	b.ReportAllocs()
	b.SetBytes(wire.HeaderSize)
	for b.Loop() {
		h.AppendTo(buf)
	}
}

// BenchmarkParse is what a receiver does with one frame: header, flags, meta.
func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"call-bare", "call", "call-full", "reply", "error"} {
		b.Run(name, func(b *testing.B) {
			frame := goldenBytes(b, name)
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				f, n, err := wire.ParseFrame(frame, wire.DefaultMaxBody)
				if n == 0 || err != nil || f.Flags.Check() != nil {
					b.Fatal("no frame")
				}
				if _, _, err := wire.ParseBody(f.Body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppendMeta is what a sender writes in front of a payload.
func BenchmarkAppendMeta(b *testing.B) {
	for _, c := range []struct {
		name string
		meta wire.Meta
	}{
		{"empty", wire.Meta{}},
		{"method", wire.Meta{Method: []byte("add"), TimeoutUs: 250_000}},
		{"full", fullMeta()},
	} {
		b.Run(c.name, func(b *testing.B) {
			buf := make([]byte, 0, wire.MaxMeta+8)
			b.ReportAllocs()
			b.SetBytes(int64(c.meta.Size()))
			for b.Loop() {
				c.meta.AppendTo(buf)
			}
		})
	}
}

func BenchmarkUvarint(b *testing.B) {
	for _, c := range []struct {
		name string
		v    uint64
	}{{"one byte", 100}, {"three bytes", 250_000}, {"ten bytes", 1<<64 - 1}} {
		b.Run(c.name, func(b *testing.B) {
			buf := wire.AppendUvarint(make([]byte, 0, 16), c.v)
			b.ReportAllocs()
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if _, n := wire.ParseUvarint(buf); n <= 0 {
					b.Fatal("no uvarint")
				}
			}
		})
	}
}

func BenchmarkHello(b *testing.B) {
	frame := goldenBytes(b, "hello-client")
	h, err := wire.ParseHello(frame[wire.HeaderSize:])
	require.NoError(b, err)
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		h.AppendTo(buf)
		if _, err := wire.ParseHello(frame[wire.HeaderSize:]); err != nil {
			b.Fatal(err)
		}
	}
}
