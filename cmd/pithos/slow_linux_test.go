package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/wire"
)

// stoppedSink is a process that serves the sink and is stopped. It has its end by SIGKILL.
func stoppedSink(t *testing.T, address string) *os.Process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.Command(self)
	child.Env = append(os.Environ(), sinkAt+"="+address)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "serving <nil>\n", line)
	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
	await(t, func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", child.Process.Pid))
		require.NoError(t, err)
		for _, name := range tasks {
			b, err := os.ReadFile(name)
			if err != nil || !strings.Contains(string(b), ") T ") {
				return false
			}
		}
		return len(tasks) > 0
	})
	return child.Process
}

// resident is how many bytes of memory a process has.
func resident(t *testing.T, pid int) (bytes int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	require.NoError(t, err)
	var pages int
	_, err = fmt.Sscan(string(b), new(int), &pages)
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

const (
	sinkQueue  = 1 << 20   // --max-queue of the hub
	sinkBody   = 10_000    // bytes of a oneway
	sinkCredit = 512 << 10 // what may be on the connection, by the credit of the sink
	sinkSlack  = 24 << 20  // what the hub may grow by besides: buffers, and what is not collected
)

// R12, R13, R31: a consumer that is stopped with SIGSTOP, at a hub in a process of its own. The
// hub's memory stays within the limit; the log, the metrics and ls name the consumer, and show what
// waits for it; the policy is applied, and every oneway is counted: after SIGCONT, those that have
// come and those that were dropped are those that were sent.
func TestR13StoppedProcess(t *testing.T) {
	for _, policy := range []hub.Policy{hub.Block, hub.DropOldest, hub.DropNewest, hub.Disconnect} {
		t.Run(policy.String(), func(t *testing.T) {
			dir := t.TempDir()
			path, numbers := filepath.Join(dir, "hub.sock"), filepath.Join(dir, "metrics.sock")
			h := startHub(t, nil, []string{path}, "--socket", path, "--log", "json", "--metrics",
				numbers, "--policy", policy.String(), "--max-queue", fmt.Sprint(sinkQueue))
			t.Setenv(socketVariable, path)
			sink := stoppedSink(t, path)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c, err := hub.Join(ctx, path, hub.JoinOptions{})
			require.NoError(t, err)
			defer c.Close(ctx)
			before := resident(t, h.cmd.Process.Pid)
			sent := flood(ctx, t, c)
			grown := resident(t, h.cmd.Process.Pid) - before
			require.Less(t, grown, raceMemory*(sinkQueue+sinkSlack))
			if policy == hub.Disconnect {
				require.Empty(t, peersNamed(t, "sluggard"))
				requireMetric(t, numbers, `events_total{event="cut_off"} 1`)
				requireBlamed(t, h, policy)
				return
			}
			peers := peersNamed(t, "sluggard")
			require.Len(t, peers, 1)
			p := peers[0]
			require.Positive(t, p.Queued)
			require.Greater(t, p.Waiting, int64(sinkQueue/4))
			require.LessOrEqual(t, p.Waiting, int64(sinkQueue+sinkCredit))
			if policy == hub.Block {
				require.Less(t, sent, 6000, "the sender is held back")
			} else {
				require.Positive(t, p.Dropped)
			}
			labels := fmt.Sprintf(`{name="sluggard",peer="%d"}`, p.ID)
			requireMetric(t, numbers, fmt.Sprintf("peer_queued%s %d", labels, p.Queued))
			requireMetric(t, numbers, fmt.Sprintf("peer_dropped_total%s %d", labels, p.Dropped))
			requireMetric(t, numbers, fmt.Sprintf(`events_total{event="dropped"} %d`, p.Dropped))
			table := pithos("", "ls", "peers", "sluggard").stdout
			row := fmt.Sprintf(`(?m)^ +%d +native +sluggard .* %d +\S+ [kM]B +0 +%d `, p.ID,
				p.Queued, p.Dropped)
			require.Regexp(t, row, table)

			require.NoError(t, sink.Signal(syscall.SIGCONT))
			reply, err := c.Object("sink").Call(ctx, "count", nil, nil)
			require.NoError(t, err)
			var got [2]int
			require.NoError(t, json.Unmarshal(reply, &got))
			require.Equal(t, sent, got[0]+int(p.Dropped))
			switch policy {
			case hub.DropOldest:
				require.Equal(t, sent-1, got[1], "the newest was kept")
			case hub.DropNewest:
				require.Less(t, got[1], sent-1, "the newest was dropped")
			}
			if p.Dropped > 0 { // with block what was on its way to the hub before the sender heard
				requireBlamed(t, h, policy)
			}
		})
	}
}

// flood sends up to 60 MB of oneways to the sink, or until it is held back, and returns how many
// the hub has taken in.
func flood(ctx context.Context, t *testing.T, c *hub.Client) (sent int) {
	t.Helper()
	route := c.Object("sink")
	require.NoError(t, route.Resolve(ctx))
	for body := make([]byte, sinkBody); sent < 6000; sent++ {
		soon, cancel := context.WithCancel(ctx) // a deadline would hold for what waits, too
		late := time.AfterFunc(3*time.Second, cancel)
		err := route.Send(soon, hub.Message{Method: strconv.Itoa(sent), Payload: body})
		late.Stop()
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			break
		}
	}
	_, err := c.Object("none").Call(ctx, "m", nil, nil) // behind all of them
	require.Error(t, err)
	return sent
}

// requireMetric wants a line in the metrics of the hub.
func requireMetric(t *testing.T, at, line string) {
	t.Helper()
	code, body := fetch(t, at, "/metrics", "hub")
	require.Equal(t, 200, code)
	require.Contains(t, body, "\npithos_hub_"+line+"\n")
}

// requireBlamed ends the hub, and wants one line about the slow consumer in its log.
func requireBlamed(t *testing.T, h *hubProcess, policy hub.Policy) {
	t.Helper()
	require.Zero(t, h.stop(syscall.SIGTERM))
	blamed := 0
	for line := range strings.Lines(h.stderr.String()) {
		var said struct {
			Level, Msg, Name, Policy string
			Peer                     any
		}
		require.NoError(t, json.Unmarshal([]byte(line), &said), line)
		if said.Msg != "slow consumer" {
			if said.Msg == "peer cut off" {
				require.Regexp(t, `^uid \d+ gid \d+ pid \d+$`, said.Peer)
			}
			continue
		}
		blamed++
		require.Equal(t, "WARN", said.Level)
		require.Contains(t, said.Name, `"appName":"sluggard"`)
		require.Equal(t, policy.String(), said.Policy)
	}
	require.Equal(t, 1, blamed, h.stderr.String())
}

// R12, R13: one of Pandora's peers that takes nothing is cut off when its limit is reached, and is
// named in the log.
func TestR12StoppedPandora(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.sock")
	const limit = 2 << 20
	h := startHub(t, nil, []string{path}, "--socket", path, "--max-outbox", fmt.Sprint(limit))
	t.Setenv(socketVariable, path)
	stuck, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer stuck.Close()
	for i, body := range []string{
		`{"action":"PANDORA_HUB_ACTION_ONLINE_UP","data":{"host":{"appName":"sluggard"}}}`,
		`{"action":"PANDORA_HUB_ACTION_PUBLISH_UP","data":{"data":{"selector":` +
			`{"appName":"sluggard","objectName":"sink"}}}}`,
	} {
		frame := wire.Frame{Header: wire.Header{ID: uint32(i + 1)}, Body: []byte(body)}
		_, err = stuck.Write(frame.AppendTo(nil))
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := hub.Join(ctx, path, hub.JoinOptions{})
	require.NoError(t, err)
	defer c.Close(ctx)
	await(t, func() bool {
		found, err := c.Lookup(ctx, hub.Selector{ObjectName: "sink"})
		require.NoError(t, err)
		return len(found) == 1
	})
	before, most := resident(t, h.cmd.Process.Pid), 0
	body, err := json.Marshal([]string{strings.Repeat("x", sinkBody)})
	require.NoError(t, err)
	sink := c.Object("sink")
	for i := range 6000 {
		require.NoError(t, sink.Send(ctx, hub.Message{Method: "take", Payload: body}))
		if i%100 == 0 {
			most = max(most, resident(t, h.cmd.Process.Pid)-before)
		}
	}
	await(t, func() bool { return len(peersNamed(t, "sluggard")) == 0 })
	require.Less(t, most, raceMemory*(4*limit+sinkSlack)) // as Limits say
	var in hub.Inspection
	r := pithos("", "ls", "hub", "--json")
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &in))
	require.EqualValues(t, 1, in.Stats.Cut)
	require.Positive(t, in.Stats.NotFound, "what was sent later")
	require.Zero(t, h.stop(syscall.SIGTERM))
	require.Regexp(t, `level=WARN msg="peer cut off" .*sluggard`, h.stderr.String())
}
