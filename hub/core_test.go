package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/balancer"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 4))
}

// frame is what a fake connection was given.
type frame struct {
	id     uint32
	body   string
	action string
	data   json.RawMessage
}

var errFull = errors.New("full")

// fake is a connection without a socket.
type fake struct {
	t testing.TB

	mu     sync.Mutex
	frames []frame
	full   bool // write fails
	ended  error
	wake   chan struct{} // a frame has come
}

func (f *fake) write(h wire.Header, pieces [][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return errFull
	}
	require.Zero(f.t, h.Flags)
	require.True(f.t, h.ID > 0 && h.ID < 1<<30, "id %d", h.ID)
	var body []byte
	for _, p := range pieces {
		body = append(body, p...)
	}
	got := frame{id: h.ID, body: string(body)}
	var envelope struct {
		Action string
		Data   json.RawMessage
	}
	require.NoError(f.t, json.Unmarshal(body, &envelope), "%s", body)
	got.action, got.data = envelope.Action, envelope.Data
	f.frames = append(f.frames, got)
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return nil
}

func (f *fake) writeShared(h wire.Header, body *transport.Shared) error {
	return f.write(h, [][]byte{body.Bytes()})
}

func (f *fake) native() bool { return false }

func (f *fake) end(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = cause
}

// take returns the frames since the last take.
func (f *fake) take() []frame {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := f.frames
	f.frames = nil
	return got
}

// client is a peer of a core under test.
type client struct {
	*fake
	core *core
	peer *peer
	last uint32
}

func newTestCore() *core {
	return newCore(Limits{}, func() balancer.Picker { return new(balancer.RoundRobin) })
}

func connect(t testing.TB, c *core) *client {
	f := &fake{t: t, wake: make(chan struct{}, 1)}
	p := newPeer(f)
	require.True(t, c.open(p))
	return &client{fake: f, core: c, peer: p}
}

// send gives the hub a body, and returns its id. The memory of the body is spoilt afterwards.
func (c *client) send(format string, args ...any) uint32 {
	c.last++
	body := fmt.Appendf(nil, format, args...)
	c.core.frame(c.peer, c.last, body)
	for i := range body {
		body[i] = 0xee
	}
	return c.last
}

// up sends a MSG_UP.
func (c *client) up(message string) uint32 {
	return c.send(`{"action":"PANDORA_HUB_ACTION_MSG_UP","data":%s}`, message)
}

// reply answers a frame with a raw package.
func (c *client) reply(f frame, pkg string) {
	c.send(`{"action":"response_callback_%d","data":%s}`, f.id, pkg)
}

// one is the only frame since the last take.
func (c *client) one() frame {
	c.t.Helper()
	got := c.take()
	require.Len(c.t, got, 1)
	return got[0]
}

// ask sends a body and returns the data of the reply, which has to be the only frame.
func (c *client) ask(format string, args ...any) string {
	c.t.Helper()
	id := c.send(format, args...)
	f := c.one()
	require.Equal(c.t, fmt.Sprintf("response_callback_%d", id), f.action)
	return string(f.data)
}

func (c *client) online(host string) *client {
	c.t.Helper()
	require.Equal(c.t, success, c.ask(
		`{"action":"PANDORA_HUB_ACTION_ONLINE_UP","data":{"host":%s,"needReply":true}}`, host))
	return c
}

func (c *client) publish(selector string) *client {
	c.t.Helper()
	require.Equal(c.t, success, c.ask(
		`{"action":"PANDORA_HUB_ACTION_PUBLISH_UP","data":{"data":{"selector":%s}}}`, selector))
	return c
}

// message is the text of an error package.
func message(t testing.TB, pkg string) string {
	t.Helper()
	var e struct {
		Success *bool
		Error   struct{ Message, Stack, Name string }
	}
	require.NoError(t, json.Unmarshal([]byte(pkg), &e), "%s", pkg)
	require.NotNil(t, e.Success, "%s", pkg)
	require.False(t, *e.Success)
	require.True(t, strings.HasSuffix(e.Error.Stack, ": "+e.Error.Message), "%s", pkg)
	return e.Error.Message
}

func TestInvoke(t *testing.T) {
	c := newTestCore()
	a := connect(t, c).online(`{"appName":"a"}`)
	b := connect(t, c).online(`{"appName":"b"}`)
	up := `{"remote":{"appName":"b"}, "x" : [1.0,"\ud800"],"broadcast":0,"needReply":1}`
	id := a.up(up)
	down := b.one()
	require.Equal(t, `{"action":"PANDORA_HUB_ACTION_MSG_DOWN","data":`+up+`}`, down.body)
	require.Empty(t, a.take())
	require.Equal(t, 1, c.snapshot().Pending)

	pkg := `{"any" : "thing", "n":1e2}`
	b.reply(down, pkg)
	got := a.one()
	require.Equal(t, fmt.Sprintf(`{"action":"response_callback_%d","data":%s}`, id, pkg), got.body)
	b.reply(down, pkg)
	require.Empty(t, a.take(), "the second reply is dropped")
	require.Zero(t, c.snapshot().Pending)
	require.EqualValues(t, 1, c.snapshot().LateReplies)

	a.up(up)
	b.send(`{"action":"response_callback_%d"}`, b.one().id)
	require.Equal(t, `{"action":"response_callback_3"}`, a.one().body, "undefined stays undefined")
}

func TestAnswersAreMatchedByConnection(t *testing.T) {
	c := newTestCore()
	a, b, other := connect(t, c), connect(t, c).online(`{"appName":"b"}`), connect(t, c)
	a.up(`{"remote":{"appName":"b"},"needReply":true}`)
	down := b.one()
	other.reply(down, `"mine"`)
	require.Empty(t, a.take())
	b.send(`{"action":"response_callback_0%d","data":1}`, down.id)
	require.Empty(t, a.take())
	b.reply(down, `"his"`)
	require.Equal(t, `"his"`, string(a.one().data))
}

func TestNoReplyUnlessAsked(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c), connect(t, c).online(`{"appName":"b"}`)
	for _, need := range []string{``, `,"needReply":false`, `,"needReply":0`, `,"needReply":""`} {
		a.up(`{"remote":{"appName":"b"}` + need + `}`)
		b.reply(b.one(), `1`)
		a.up(`{"remote":{"appName":"b"},"broadcast":true` + need + `}`)
		b.reply(b.one(), `1`)
		a.up(`{"remote":{"appName":"none"}` + need + `}`)
		a.up(`{"remote":{"appName":"none"},"broadcast":true` + need + `}`)
		a.up(`{"remote":null` + need + `}`)
		require.Empty(t, a.take(), need)
	}
	require.Zero(t, c.snapshot().Pending)
}

func TestNotFound(t *testing.T) {
	const nobody = "Cannot found any clients by selector: "
	cases := []struct{ name, rest, want string }{
		{"selector", `"remote":{"appName" : "no"}`, nobody + `{"appName":"no"}`},
		{"batch", `"remote":{"appName":"no"},"broadcast":true`, nobody + `{"appName":"no"}`},
		{"absent", `"x":1`, "Cannot read properties of undefined (reading 'clientId')"},
		{"null", `"remote":null`, "Cannot read properties of null (reading 'clientId')"},
	}
	c := newTestCore()
	a := connect(t, c).online(`{"appName":"a"}`)
	for _, s := range cases {
		t.Run(s.name, func(t *testing.T) {
			got := a.ask(`{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{%s,"needReply":true}}`, s.rest)
			require.Equal(t, s.want, message(t, got))
		})
	}
	require.Equal(t, success, a.ask(`{"action":"PANDORA_HUB_ACTION_OFFLINE_UP","data":{}}`))
	got := a.ask(`{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{"needReply":true}}`)
	require.Equal(t, nobody+"undefined", message(t, got), "nobody to compare with")
}

func TestMultipleInvoke(t *testing.T) {
	c := newTestCore()
	a := connect(t, c).online(`{"appName":"a"}`)
	var providers []*client
	for range 3 {
		providers = append(providers, connect(t, c).online(`{"appName":"p"}`))
	}
	id := a.up(`{"remote":{"appName":"p"},"broadcast":"yes","needReply":true,"host":{"n": 1}}`)
	for _, i := range []int{2, 0} {
		providers[i].reply(providers[i].one(), fmt.Sprintf(`{"from":%d}`, i))
		require.Empty(t, a.take())
	}
	providers[1].send(`{"action":"response_callback_%d"}`, providers[1].one().id)
	require.Equal(t, fmt.Sprintf(`{"action":"response_callback_%d","data":{"success":true,`+
		`"remote":{"n": 1},"batchReply":[{"from":2},{"from":0},null]}}`, id), a.one().body)
	require.Zero(t, c.snapshot().Pending)
}

func TestRoundRobinForEachSelector(t *testing.T) {
	c := newTestCore()
	a := connect(t, c)
	var p [3]*client
	for i := range p {
		p[i] = connect(t, c).online(fmt.Sprintf(`{"appName":"p","pid":"%d"}`, i))
		p[i].publish(`{"objectName":"o"}`)
	}
	for range 5 {
		// Calls for two selectors in turns: each goes round by itself.
		for i := range p {
			a.up(`{"remote":{"appName":"p"}}`)
			p[i].one()
			a.up(`{"remote":{"objectName":"\u006f","x":1}}`)
			p[i].one()
		}
	}
	c.leave(p[1].peer)
	for range 5 {
		a.up(`{"remote":{"appName":"p"}}`)
		p[0].one()
		a.up(`{"remote":{"appName":"p"}}`)
		p[2].one()
	}
}

func TestBroadcast(t *testing.T) {
	c := newTestCore()
	bare := connect(t, c)
	a, gone := connect(t, c).online(`{"appName":"a"}`), connect(t, c)
	offline := connect(t, c).online(`{"appName":"x"}`)
	require.Equal(t, success, offline.ask(`{"action":"PANDORA_HUB_ACTION_OFFLINE_UP"}`))
	c.leave(gone.peer)
	for _, remote := range []string{`"remote":null,`, ``, `"remote":"",`, `"remote":0,`} {
		up := `{` + remote + `"broadcast":true,"data":1}`
		a.up(up)
		for _, r := range []*client{bare, a, offline} {
			require.Equal(t, up, string(r.one().data))
		}
	}
	require.Empty(t, gone.take())

	id := a.up(`{"broadcast":1,"needReply":true}`)
	got := a.take()
	require.Len(t, got, 2)
	require.Equal(t, "PANDORA_HUB_ACTION_MSG_DOWN", got[0].action)
	require.Equal(t, fmt.Sprintf(`{"action":"response_callback_%d","data":%s}`, id, success),
		got[1].body)
	bare.reply(bare.one(), `1`)
	require.Empty(t, a.take(), "answers to a broadcast are dropped")
}

func TestRemotesThatAreNoObjectsFindEveryone(t *testing.T) {
	c := newTestCore()
	a, b := connect(t, c).online(`{"appName":"a"}`), connect(t, c)
	for _, remote := range []string{`{}`, `"x"`, `5`, `true`, `[]`} {
		a.up(`{"remote":` + remote + `,"broadcast":true}`)
		a.one()
		b.one()
	}
	for _, remote := range []string{`""`, `0`, `false`} {
		a.up(`{"remote":` + remote + `}`)
		require.Len(t, append(a.take(), b.take()...), 1, remote)
	}
}
