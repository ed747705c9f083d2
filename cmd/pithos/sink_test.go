package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// sinkAt makes the test binary be a consumer at the hub of that address.
const sinkAt = "PITHOS_TEST_SINK_AT"

// serveSink publishes "sink", which counts the oneways that come, until it is killed. "count" says
// how many those were, and the number of the last one.
func serveSink(address string) {
	var count, last int
	o := hub.JoinOptions{Location: hub.Location{AppName: "sluggard"}}
	o.Redial.Options.Limits = transport.Limits{MaxBody: 16 << 10, MaxCallBytes: 96 << 10}
	c, err := hub.Join(context.Background(), address, o)
	if err == nil {
		_, err = c.Publish(context.Background(), hub.Object{Name: "sink", OnLoop: true,
			Handler: transport.HandlerFunc(func(r *transport.Request) {
				if r.Oneway() {
					count++
					last, _ = strconv.Atoi(string(r.Method()))
					return
				}
				_ = r.Reply(fmt.Appendf(nil, "[%d,%d]", count, last))
			})})
	}
	fmt.Println("serving", err)
	select {}
}

// peersNamed are the peers of that name, as ls lists them.
func peersNamed(t *testing.T, name string) (list []hub.PeerInfo) {
	t.Helper()
	r := pithos("", "ls", "peers", name, "--json")
	require.Zero(t, r.code, r.stderr)
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &list))
	return list
}
