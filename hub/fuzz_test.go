package hub

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a peer sends, two others go on calling each other as if it were not there, and what the
// hub writes is JSON with a legal id (fake.write looks).
func FuzzFrames(f *testing.F) {
	const name = `"PANDORA_HUB_ACTION_`
	for _, s := range []string{
		`{"action":` + name + `ONLINE_UP","data":{"host":{"appName":"x","pid":1e2}}}`,
		`{"action":` + name + `OFFLINE_UP","data":null}`,
		`{"action":` + name + `PUBLISH_UP","data":{"data":{"selector":{"objectName":"\ud800"}}}}`,
		`{"action":` + name + `UNPUBLISH_UP","data":{"data":{"selector":{}}}}`,
		`{"action":` + name + `MSG_UP","data":{"remote":{},"broadcast":1,"needReply":true}}`,
		`{"action":` + name + `MSG_UP","data":{"remote":{"pid":"x"},"needReply":1,"timeout":"5"}}`,
		`{"action":` + name + `MSG_UP","data":{"broadcast":true,"needReply":true,"host":[]}}`,
		`{"action":` + name + `MSG_UP","data":{"remote":null,"needReply":{}}}`,
		`{"action":"response_callback_1","data":{"a":[1]}}`,
		`{"action":"response_callback_2"}`, `{"action":"connected","data":1}`, `[]`, `{`,
		"\"\xff\"",
	} {
		f.Add([]byte(s), []byte(s))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c := newTestCore()
		defer c.close()
		secret := fmt.Sprintf(`{"clientId":"%x"}`, rand.Uint64())
		a, b, bad := connect(t, c), connect(t, c).online(secret), connect(t, c)
		for n := range 6 {
			body := first
			if n%2 == 1 {
				body = second
			}
			err := c.frame(bad.peer, uint32(n), append([]byte{}, body...))
			if err != nil {
				require.Error(t, bad.ended)
			}
			a.take()
			b.take()
			id := a.up(`{"remote":` + secret + `,"needReply":true,"data":` + fmt.Sprint(n) + `}`)
			down := b.one()
			require.Contains(t, string(down.data), fmt.Sprintf(`"data":%d}`, n))
			b.reply(down, `{"n":`+fmt.Sprint(n)+`}`)
			got := a.one()
			require.Equal(t, fmt.Sprintf("response_callback_%d", id), got.action)
			require.Equal(t, fmt.Sprintf(`{"n":%d}`, n), string(got.data))
		}
		c.leave(bad.peer)
		c.leave(b.peer)
		c.leave(a.peer)
		s := c.snapshot()
		require.Zero(t, s.Peers)
		require.Zero(t, s.Pending)
		require.Zero(t, s.Selectors)
	})
}
