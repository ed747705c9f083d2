package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// outcome is how a call has ended.
type outcome struct {
	reply string
	err   error
}

// fillUp publishes "job" at s, and has a call it until s takes no more.
func fillUp(t *testing.T, h *hub.Hub, s *stuck, a *hub.Client) *hub.Publication {
	job, err := s.client.Publish(soon(t), hub.Object{Name: "job",
		Handler: transport.HandlerFunc(func(r *transport.Request) {
			<-s.free
			_ = r.Reply(nil)
		})})
	require.NoError(t, err)
	for range 8 {
		require.NoError(t, a.Object("job").Go(hub.Message{}, nil, func([]byte, error) {}))
	}
	eventually(t, func() bool { return peerNamed(t, h, "sluggard").Inside == 8 }, "it is full")
	return job
}

// messages reads n messages for "job", and says by the names of their members what they are, and
// the ids of their frames.
func messages(r *raw, n int) (came map[string]string, ids map[string]uint32) {
	came, ids = make(map[string]string), make(map[string]uint32)
	for range n {
		id, body := r.next()
		var m struct {
			Data struct {
				Action, PropertyName string
				Remote               struct{ ObjectName string }
				Host                 struct{ AppName string }
				NeedReply, Broadcast bool
				Data                 json.RawMessage
			}
		}
		require.NoError(r.t, json.Unmarshal([]byte(body), &m))
		d := m.Data
		require.Equal(r.t, "job", d.Remote.ObjectName)
		require.False(r.t, d.Broadcast)
		ids[d.PropertyName] = id
		came[d.PropertyName] = fmt.Sprint(d.Action, " ", d.Host.AppName, " ", string(d.Data), " ",
			d.NeedReply)
	}
	return came, ids
}

// What waits for a native provider that takes its object back goes to one of Pandora's, if that is
// the other one: calls and oneways, of native peers and of Pandora's, as they would have come there
// at first. Their replies, timeouts and cancels find their callers.
func TestDrainRoutesToPandora(t *testing.T) {
	h, path := start(t, hub.Options{})
	s, a := newStuck(t, path), join(t, path, "a")
	job := fillUp(t, h, s, a)
	call := func(ctx context.Context, m hub.Message) chan outcome {
		before := peerNamed(t, h, "sluggard").Queued
		ended := make(chan outcome, 1)
		go func() {
			reply, err := a.Object("job").Do(ctx, m, nil)
			ended <- outcome{string(reply), err}
		}()
		eventually(t, func() bool {
			return peerNamed(t, h, "sluggard").Queued == before+1
		}, "it waits")
		return ended
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first := call(ctx, hub.Message{Method: "first", Payload: []byte(`[1]`)})
	second := call(ctx, hub.Message{Method: "second", Action: hub.ActionGetProperty})
	third := call(ctx, hub.Message{Method: "third"})
	fourth := call(ctx, hub.Message{Method: "fourth", Payload: []byte(`{`)})
	require.NoError(t, a.Object("job").Send(ctx, hub.Message{Method: "fifth"}))
	node := dial(t, path).online(`{"appName":"node"}`)
	const message = `{"remote":{"objectName":"job"},"action":"%s","propertyName":"%s",` +
		`"host":{"appName":"node"},"data":[2],"needReply":%v}`
	sixth := node.up(fmt.Sprintf(message, hub.ActionInvoke, "sixth", true))
	node.up(fmt.Sprintf(message, hub.ActionInvoke, "seventh", false))
	eighth := node.up(fmt.Sprintf(message, "any", "eighth", true))
	many := make(chan []hub.Reply, 1) // to all there are: it is for the one that leaves, too
	go func() {
		replies, _ := a.Object("job").CallAll(ctx, hub.Message{Method: "many"})
		many <- replies
	}()
	eventually(t, func() bool { return peerNamed(t, h, "sluggard").Queued == 9 }, "all wait")

	other := dial(t, path).online(`{"appName":"other"}`)
	other.publishes("job")
	taken := make(chan error, 1)
	go func() { taken <- job.Unpublish(context.Background()) }()
	came, ids := messages(other, 7)
	require.Equal(t, map[string]string{
		"first":   "OBJECT_ACTION_INVOKE a [1] true",
		"second":  "OBJECT_ACTION_GET_PROPERTY a  true",
		"third":   "OBJECT_ACTION_INVOKE a  true",
		"fifth":   "OBJECT_ACTION_INVOKE a  false",
		"sixth":   "OBJECT_ACTION_INVOKE node [2] true",
		"seventh": "OBJECT_ACTION_INVOKE node [2] false",
		"eighth":  "any node [2] true",
	}, came)
	answer := func(name, pkg string) {
		other.send(`{"action":"response_callback_%d","data":%s}`, ids[name], pkg)
	}
	answer("first", `{"success":true,"data":1}`)
	require.Equal(t, outcome{reply: "1"}, <-first)
	answer("second", `{"success":false,"error":{"message":"no"}}`)
	require.ErrorContains(t, (<-second).err, "no")
	require.ErrorContains(t, (<-fourth).err, "payload for a peer of Pandora's")
	answer("sixth", `{"success":true,"data":6}`)
	require.Equal(t, `{"success":true,"data":6}`, node.reply(sixth))
	answer("eighth", `8`)
	require.Equal(t, `8`, node.reply(eighth))
	cancel()
	require.ErrorIs(t, (<-third).err, context.Canceled)
	<-many
	require.Empty(t, taken, "the calls inside have not ended")
	s.release()
	require.NoError(t, <-taken)
	eventually(t, func() bool { return h.Stats().Pending == 0 }, "nothing is under way")
	require.EqualValues(t, 8, h.Stats().Rerouted)
}
