package hub_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// engines are the two ways of the transport to drive connections.
func engines(t *testing.T, test func(t *testing.T, o transport.Options)) {
	t.Run("default", func(t *testing.T) { test(t, transport.Options{}) })
	t.Run("portable", func(t *testing.T) { test(t, transport.Options{}.Portable()) })
}

// patience bounds what takes no time, on a machine that does much else.
const patience = time.Minute

// soon is a context for what takes no time.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// start runs a hub on a socket of its own until the end of the test.
func start(t testing.TB, o hub.Options) (*hub.Hub, string) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	h := hub.New(o)
	require.NoError(t, h.Listen(path))
	t.Cleanup(func() {
		h.Close(soon(t))
	})
	return h, path
}

// raw is a peer that speaks Pandora's protocol over a plain socket.
type raw struct {
	t    testing.TB
	conn net.Conn
	last uint32
}

func dial(t testing.TB, path string) *raw {
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &raw{t: t, conn: conn}
}

func packet(flags byte, id uint32, body string) []byte {
	b := append([]byte{flags}, binary.BigEndian.AppendUint32(nil, id)...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

// send writes a frame and returns its id.
func (r *raw) send(format string, args ...any) uint32 {
	r.last++
	_, err := r.conn.Write(packet(0, r.last, fmt.Sprintf(format, args...)))
	require.NoError(r.t, err)
	return r.last
}

func (r *raw) up(message string) uint32 {
	return r.send(`{"action":"PANDORA_HUB_ACTION_MSG_UP","data":%s}`, message)
}

// next reads a frame.
func (r *raw) next() (id uint32, body string) {
	r.t.Helper()
	require.NoError(r.t, r.conn.SetReadDeadline(time.Now().Add(patience)))
	head := make([]byte, 9)
	_, err := io.ReadFull(r.conn, head)
	require.NoError(r.t, err)
	require.Zero(r.t, head[0], "flags")
	b := make([]byte, binary.BigEndian.Uint32(head[5:]))
	_, err = io.ReadFull(r.conn, b)
	require.NoError(r.t, err)
	return binary.BigEndian.Uint32(head[1:]), string(b)
}

// reply reads the reply to id and returns its package.
func (r *raw) reply(id uint32) string {
	r.t.Helper()
	_, body := r.next()
	head := fmt.Sprintf(`{"action":"response_callback_%d","data":`, id)
	require.True(r.t, strings.HasPrefix(body, head), "%s is not the reply to %d", body, id)
	return body[len(head) : len(body)-1]
}

// ends waits until the hub has closed the connection.
func (r *raw) ends() {
	r.t.Helper()
	require.NoError(r.t, r.conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.Copy(io.Discard, r.conn)
	require.NoError(r.t, err)
}

const success = `{"success":true}`

func (r *raw) online(host string) *raw {
	r.t.Helper()
	id := r.send(`{"action":"PANDORA_HUB_ACTION_ONLINE_UP","data":{"host":%s}}`, host)
	require.Equal(r.t, success, r.reply(id))
	return r
}

// publishes enters an object by its name.
func (r *raw) publishes(name string) {
	require.Equal(r.t, success, r.reply(r.send(`{"action":"PANDORA_HUB_ACTION_PUBLISH_UP",`+
		`"data":{"data":{"selector":{"objectName":"%s"}}}}`, name)))
}

func TestInvokeOverSockets(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		h, path := start(t, hub.Options{Transport: o})
		a, b := dial(t, path), dial(t, path).online(`{"appName":"b"}`)
		id := a.up(`{"remote":{"appName":"b"},"needReply":true,"data":[1.0]}`)
		down, body := b.next()
		require.Equal(t, `{"action":"PANDORA_HUB_ACTION_MSG_DOWN","data":{"remote":{"appName":"b"},`+
			`"needReply":true,"data":[1.0]}}`, body)
		b.send(`{"action":"response_callback_%d","data":{"x":1}}`, down)
		require.Equal(t, `{"x":1}`, a.reply(id))
		require.Equal(t, 2, h.Stats().Peers)
	})
}

func TestFlagsAndIDsOfClients(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		_, path := start(t, hub.Options{Transport: o})
		a := dial(t, path)
		body := `{"action":"PANDORA_HUB_ACTION_OFFLINE_UP"}`
		for _, c := range []struct {
			flags byte
			id    uint32
		}{{0, 1}, {0x40, 0}, {0x80, 7}, {0xc0, 1<<30 - 1}, {0xff, 1 << 31}, {1, 1<<32 - 1},
			{0x28, 3}} {
			_, err := a.conn.Write(append(packet(0, 5, ""), packet(c.flags, c.id, body)...))
			require.NoError(t, err)
			require.Equal(t, success, a.reply(c.id))
		}
	})
}

func TestASilentConnectionHearsBroadcasts(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		h, path := start(t, hub.Options{Transport: o})
		silent, a := dial(t, path), dial(t, path).online(`{"appName":"a"}`)
		require.Eventually(t, func() bool { return h.Stats().Peers == 2 }, patience,
			time.Millisecond)
		a.up(`{"broadcast":true,"data":5}`)
		for _, r := range []*raw{silent, a} {
			_, body := r.next()
			require.Contains(t, body, `MSG_DOWN","data":{"broadcast":true,"data":5}`)
		}
	})
}

func TestNativePeersAreNotPandoras(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		h, path := start(t, hub.Options{Transport: o})
		native, err := transport.Dial(t.Context(), path, transport.Options{})
		require.NoError(t, err)
		defer native.Close(soon(t))
		require.NoError(t, native.Ping(t.Context()))
		_, err = native.Call(t.Context(), []byte("hello"), nil)
		require.Error(t, err)

		a := dial(t, path).online(`{"appName":"a"}`)
		id := a.up(`{"remote":{},"broadcast":true,"needReply":true}`)
		down, _ := a.next()
		a.send(`{"action":"response_callback_%d","data":1}`, down)
		require.Equal(t, `{"success":true,"batchReply":[1]}`, a.reply(id))
		a.up(`{"broadcast":true}`)
		a.next()
		require.Equal(t, 1, h.Stats().Peers)
		require.NoError(t, native.Ping(t.Context()), "nothing has happened to it")
	})
}

func TestInvalidJSONEndsTheConnection(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		h, path := start(t, hub.Options{Transport: o})
		a := dial(t, path).online(`{"appName":"a"}`)
		bad := dial(t, path).online(`{"appName":"bad"}`)
		id := a.up(`{"remote":{"appName":"bad"},"needReply":true}`)
		bad.next()
		bad.send(`{{{`)
		bad.ends()
		require.Contains(t, a.reply(id), "disconnected")
		id = a.up(`{"remote":{"appName":"bad"},"needReply":true}`)
		require.Contains(t, a.reply(id), "Cannot found any clients")
		require.EqualValues(t, 1, h.Stats().Invalid)
	})
}

func TestADeadProviderIsNoticed(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		_, path := start(t, hub.Options{Transport: o})
		a, b := dial(t, path), dial(t, path).online(`{"appName":"b"}`)
		id := a.up(`{"remote":{"appName":"b"},"needReply":true}`)
		b.next()
		b.conn.Close()
		require.Contains(t, a.reply(id), `"target disconnected before it answered"`)
	})
}

func TestAPeerThatDoesNotReadIsCutOffOnAFrameBoundary(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		h, path := start(t, hub.Options{Transport: o, Limits: hub.Limits{MaxOutbox: 1 << 20}})
		a, slow := dial(t, path), dial(t, path).online(`{"appName":"slow"}`)
		body := `{"remote":{"appName":"slow"},"data":"` + strings.Repeat("x", 64<<10) + `"}`
		sent := 0
		for ; h.Stats().Cut == 0; sent++ {
			require.Less(t, sent, 1000)
			a.up(body)
		}
		got := 0
		require.NoError(t, slow.conn.SetReadDeadline(time.Now().Add(patience)))
		for head := make([]byte, 9); ; got++ {
			if _, err := io.ReadFull(slow.conn, head); err == io.EOF {
				break
			} else {
				require.NoError(t, err)
			}
			n := int64(binary.BigEndian.Uint32(head[5:]))
			_, err := io.CopyN(io.Discard, slow.conn, n)
			require.NoError(t, err)
		}
		require.Greater(t, got, 10, "what fitted has arrived")
		require.Less(t, got, sent)
	})
}

func TestLargeBodies(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		_, path := start(t, hub.Options{Transport: o, Limits: hub.Limits{MaxBody: 8 << 20}})
		a, b := dial(t, path), dial(t, path).online(`{"appName":"b"}`)
		head := `{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{"remote":{"appName":"b"},"data":"`
		fill := strings.Repeat("y", 8<<20-len(head)-3)
		go a.conn.Write(packet(0, 1, head+fill+`"}}`))
		_, body := b.next()
		require.Contains(t, body, fill)

		over := dial(t, path)
		go over.conn.Write(packet(0, 1, head+fill+` "}}`))
		over.ends()
	})
}

func TestClaimsOfHugeBodies(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		_, path := start(t, hub.Options{Transport: o})
		for range 20 {
			a := dial(t, path)
			_, err := a.conn.Write(append(packet(0, 1, "")[:5], 0xff, 0xff, 0xff, 0xff, '{'))
			require.NoError(t, err)
			a.ends()
		}
	})
}

func TestCloseOfTheHub(t *testing.T) {
	engines(t, func(t *testing.T, o transport.Options) {
		path := filepath.Join(t.TempDir(), "hub.sock")
		h := hub.New(hub.Options{Transport: o})
		require.NoError(t, h.Listen(path))
		a, b := dial(t, path), dial(t, path).online(`{"appName":"b"}`)
		id := a.up(`{"remote":{"appName":"b"},"needReply":true}`)
		b.next()
		require.NoError(t, h.Close(soon(t)))
		require.Contains(t, a.reply(id), "hub is closing")
		a.ends()
		b.ends()
		require.NoFileExists(t, path)
		require.NoError(t, h.Close(soon(t)))
		require.ErrorIs(t, h.Listen(path), net.ErrClosed)

		again := hub.New(hub.Options{Transport: o})
		require.NoError(t, again.Listen(path))
		dial(t, path).online(`{}`)
		require.NoError(t, again.Close(soon(t)))
	})
}

func TestTwoHubsOnOneSocket(t *testing.T) {
	_, path := start(t, hub.Options{})
	second := hub.New(hub.Options{})
	defer second.Close(soon(t))
	require.ErrorIs(t, second.Listen(path), transport.ErrInUse)
	dial(t, path).online(`{}`)
}

func TestPandoraPath(t *testing.T) {
	t.Setenv("PANDORA_TMP_DIR", "/some/where")
	require.Equal(t, "/some/where/pandorajs_pandora_msg_hub.sock", hub.PandoraPath())
	t.Setenv("PANDORA_TMP_DIR", "")
	require.Equal(t, filepath.Join(os.TempDir(), "pandorajs_pandora_msg_hub.sock"),
		hub.PandoraPath())
}

func TestStats(t *testing.T) {
	h, path := start(t, hub.Options{})
	a, b := dial(t, path), dial(t, path).online(`{"appName":"b"}`)
	a.up(`{"remote":{"appName":"b"},"needReply":true}`)
	b.next()
	a.reply(a.up(`{"remote":{"appName":"none"},"needReply":true}`))
	a.up(`{"broadcast":true}`)
	a.next()
	s := h.Stats()
	require.Equal(t, 2, s.Peers)
	require.Equal(t, 3, s.Selectors)
	require.Equal(t, 1, s.Pending)
	require.EqualValues(t, 3, s.Messages)
	require.EqualValues(t, 1, s.Broadcasts)
	require.EqualValues(t, 1, s.NotFound)
	_, err := json.Marshal(s)
	require.NoError(t, err)
	require.EqualValues(t, 2, h.Transport()[0].Accepted)
}
