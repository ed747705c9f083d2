package hub

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// sink is a connection that keeps only the id of the last frame.
type sink struct {
	id   uint32
	size int
}

func (s *sink) write(h wire.Header, pieces [][]byte) error {
	s.id, s.size = h.ID, 0
	for _, p := range pieces {
		s.size += len(p)
	}
	return nil
}

func (s *sink) end(error) {}

func (s *sink) writeShared(h wire.Header, body *transport.Shared) error {
	return s.write(h, [][]byte{body.Bytes()})
}

func (s *sink) native() bool { return false }

// exchange returns a function that takes one invoke and its reply through a hub with three
// providers.
func exchange(t testing.TB) func() {
	c := newTestCore()
	var links [3]*sink
	var peers [3]*peer
	for i := range links {
		links[i] = new(sink)
		peers[i] = newPeer(links[i])
		c.open(peers[i])
		require.NoError(t, c.frame(peers[i], 1, []byte(`{"action":"PANDORA_HUB_ACTION_ONLINE_UP",`+
			`"data":{"host":{"appName":"shop","processName":"job"}}}`)))
	}
	caller := new(sink)
	from := newPeer(caller)
	c.open(from)
	up := []byte(`{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{"remote":{"appName":"shop"},` +
		`"action":"echo","broadcast":false,"data":{"n":1,"s":"h\u00e9llo"},"host":{"appName":"web"},` +
		`"needReply":true}}`)
	reply := []byte(`{"action":"response_callback_00000000","data":{"success":true,"data":1}}`)
	at := len(`{"action":"response_callback_`)
	next := 0
	return func() {
		if err := c.frame(from, 1, up); err != nil {
			t.Fatal(err)
		}
		provider := links[next%3]
		n := len(appendID(reply[:at], provider.id))
		copy(reply[n:], `","data":{"success":true,"data":1}}`)
		body := reply[:n+len(`","data":{"success":true,"data":1}}`)]
		caller.size = 0
		if err := c.frame(peers[next%3], 1, body); err != nil {
			t.Fatal(err)
		}
		if caller.size == 0 {
			t.Fatalf("no reply to %s", body)
		}
		next++
	}
}

func appendID(dst []byte, id uint32) []byte {
	if id >= 10 {
		dst = appendID(dst, id/10)
	}
	return append(dst, '0'+byte(id%10))
}

func TestAllocsInvoke(t *testing.T) {
	if raceDetector {
		t.Skip("a build without the race detector is missing: sync.Pool allocates in this one")
	}
	once := exchange(t)
	for range 1000 {
		once()
	}
	require.Zero(t, testing.AllocsPerRun(1000, once))
}

func BenchmarkInvoke(b *testing.B) {
	once := exchange(b)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}
