package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/internal/paired"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// BenchmarkR32TapCost is what a tap costs those who call through the hub, in slices with it and
// without. The hub is a process of its own; caller and provider share another one with who reads
// the tap, and the calls never pause. A tap records as many frames as the usual rate gives, counts
// the others, is read turn by turn, and what it recorded is written to a file. It is opened and
// closed in each slice, too, which one that stays is not; so in the slices without the hub is asked
// for something that is not there. cost-% is what R32 wants to be under 2; run it with
// -benchtime 40x or more.
func BenchmarkR32TapCost(b *testing.B) {
	for _, underWay := range []int{1, 64} {
		name := map[int]string{1: "one at a time", 64: "64 under way"}[underWay]
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "hub.sock")
			h := process(b, "hub", "--socket", path)
			require.NoError(b, h.Start())
			defer h.Wait()
			defer h.Process.Signal(os.Interrupt)
			c := joinSoon(b, path)
			defer c.Close(context.Background())
			echo := transport.HandlerFunc(func(r *transport.Request) { _ = r.Reply(r.Body()) })
			_, err := c.Publish(b.Context(), hub.Object{Name: "echo", Handler: echo, OnLoop: true})
			require.NoError(b, err)
			t := newShortTaps(b, path)
			calls, stop := flow(b, c, underWay)
			defer stop()
			time.Sleep(time.Second)
			var costs paired.Costs
			var rates [2][]float64
			for b.Loop() {
				costs.Quartet(func(on bool) float64 {
					t.connect()
					defer t.leave()
					begun, before := time.Now(), calls.Load()
					which := 0
					if on {
						which = 1
						t.open()
					} else {
						t.ask(1)
					}
					time.Sleep(slice - time.Since(begun))
					if on {
						t.close()
					} else {
						t.ask(3)
					}
					rate := float64(calls.Load()-before) / time.Since(begun).Seconds()
					rates[which] = append(rates[which], rate)
					return rate
				})
			}
			costs.Report(b)
			for i, name := range []string{"off-calls/s", "on-calls/s"} {
				slices.Sort(rates[i])
				b.ReportMetric(rates[i][len(rates[i])/2], name)
			}
			b.ReportMetric(float64(t.frames)/float64(len(rates[1])), "frames/slice")
		})
	}
}

// slice is how long a tap is there, or not: several of its turns, so that what it costs to open and
// to close one, which one that stays pays once, hardly counts.
const slice = 500 * time.Millisecond

// shortTaps tap a hub again and again, each time on a connection that waits as that of RemoteTap
// does and is there before the slice begins.
type shortTaps struct {
	b       *testing.B
	path    string
	conn    *transport.Conn
	file    *os.File
	want    []byte        // the options
	records []byte        // of this slice; the reader's until it has ended
	frames  int           // in all
	ended   chan struct{} // the reader of this slice has
	buf     []byte
	read    []byte // the reader's
}

func newShortTaps(b *testing.B, path string) *shortTaps {
	file, err := os.Create(filepath.Join(b.TempDir(), "frames.tap"))
	require.NoError(b, err)
	b.Cleanup(func() { file.Close() })
	t := &shortTaps{b: b, path: path, file: file, buf: make([]byte, 1<<10),
		read: make([]byte, 1<<20), records: make([]byte, 0, 4<<20)}
	// The buffer is as large as a turn needs: one that stays makes its own only once.
	t.want, err = json.Marshal(hub.TapOptions{Buffer: 320 << 10})
	require.NoError(b, err)
	return t
}

func (t *shortTaps) do(method string, body, buf []byte) []byte {
	m := transport.Message{Method: method, Body: body}
	reply, err := t.conn.Do(context.Background(), m, buf)
	if !assert.NoError(t.b, err) { // on any goroutine
		return nil
	}
	return reply
}

func (t *shortTaps) connect() {
	var err error
	t.conn, err = transport.Dial(t.b.Context(), t.path, transport.Options{
		BusyPoll: new(time.Duration), Socket: transport.SocketOptions{Lane: transport.LaneOff}})
	require.NoError(t.b, err)
	t.do("pithos.online", []byte(`{"appName":"tap"}`), t.buf)
}

// open begins to record, and to write what was recorded to a file, turn by turn.
func (t *shortTaps) open() {
	t.do("pithos.tap", t.want, t.buf)
	t.ended = make(chan struct{})
	go func() {
		defer close(t.ended)
		for {
			records := t.do("pithos.tapped", nil, t.read)
			if len(records) == 0 {
				return
			}
			_, err := t.file.Write(records)
			assert.NoError(t.b, err)
			t.records = append(t.records, records...)
		}
	}()
}

// ask asks the hub n times for something that is not there.
func (t *shortTaps) ask(n int) {
	for range n {
		t.do("pithos.lookup", []byte(`{"objectName":"none"}`), t.buf)
	}
}

// close ends the tap, when all that it has recorded is written.
func (t *shortTaps) close() {
	t.do("pithos.untap", nil, t.buf)
	<-t.ended
}

// leave ends the connection, and counts what was recorded.
func (t *shortTaps) leave() {
	require.NoError(t.b, t.conn.Close(context.Background()))
	for b := t.records; len(b) > 0; t.frames++ {
		_, n, err := wire.ParseTapRecord(b)
		require.NoError(t.b, err)
		b = b[n:]
	}
	t.records = t.records[:0]
}

// joinSoon joins a hub that is just being started.
func joinSoon(b *testing.B, path string) (c *hub.Client) {
	b.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if c, err = hub.Join(b.Context(), path, hub.JoinOptions{}); err == nil {
			return c
		}
		require.Less(b, time.Now(), end, "no hub: %v", err)
	}
}

// flow has calls of 64 bytes go on, with so many under way, until it is stopped, and counts them.
func flow(b *testing.B, c *hub.Client, underWay int) (calls *atomic.Int64, stop func()) {
	route := c.Object("echo")
	require.NoError(b, route.Resolve(b.Context()))
	body := make([]byte, 64)
	calls = new(atomic.Int64)
	var over atomic.Bool
	done := make(chan error, underWay)
	if underWay == 1 {
		go func() {
			buf, err := make([]byte, 64), error(nil)
			for ; err == nil && !over.Load(); calls.Add(1) {
				_, err = route.Call(context.Background(), "echo", body, buf)
			}
			done <- err
		}()
	} else {
		for range underWay {
			buf := make([]byte, 64)
			var next func([]byte, error)
			next = func(_ []byte, err error) {
				calls.Add(1)
				if err == nil && !over.Load() {
					err = route.Go(hub.Message{Method: "echo", Payload: body}, buf, next)
					if err == nil {
						return
					}
				}
				done <- err
			}
			require.NoError(b, route.Go(hub.Message{Method: "echo", Payload: body}, buf, next))
		}
	}
	return calls, func() {
		over.Store(true)
		for range underWay {
			require.NoError(b, <-done)
		}
	}
}
