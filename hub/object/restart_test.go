package object_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// feedAt makes a run of the test's binary serve "feed": the hub's address, then a tag and the id of
// the client, which may be missing (-).
const feedAt = "PITHOS_TEST_FEED_AT"

func TestMain(m *testing.M) {
	if args := os.Getenv(feedAt); args != "" {
		fmt.Println(runFeed(strings.Fields(args)))
		return
	}
	transporttest.VerifyNoLeaks(m)
}

// runFeed pushes its pid to the topic "pid" of "feed" until it is killed.
func runFeed(args []string) error {
	for i := range args {
		args[i] = strings.TrimPrefix(args[i], "-")
	}
	ctx := context.Background()
	c, err := hub.Join(ctx, args[0], hub.JoinOptions{Location: hub.Location{ClientID: args[2]}})
	if err != nil {
		return err
	}
	m := object.Map{"x": func() {}}
	p, err := object.Publish(ctx, c, "feed", m, object.Options{Tag: args[1]})
	if err != nil {
		return err
	}
	fmt.Println("serving")
	for ; ; time.Sleep(5 * time.Millisecond) {
		if err := p.Emit(ctx, "pid", os.Getpid()); err != nil {
			return err
		}
	}
}

// newFeed runs a server of "feed" in a process of its own.
func newFeed(t *testing.T, path, tag, client string) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s -%s -%s", feedAt, path, tag, client))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	said, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "serving\n", said)
	return child
}

// What a listener asks for to subscribe with each server is forgotten again: over a long life there
// is no end of servers.
func TestListenerForgetsServers(t *testing.T) {
	path, a, _ := hubAt(t)
	ctx := soon(t)
	serve := func() *hub.Client {
		c, err := hub.Join(ctx, path, hub.JoinOptions{})
		require.NoError(t, err)
		_, err = object.Publish(ctx, c, "feed", object.Map{"x": func() {}}, object.Options{})
		require.NoError(t, err)
		return c
	}
	first := serve()
	defer first.Close(ctx)
	l := object.Listen(a, "feed", "", nil)
	_, err := l.Subscribe(ctx, "topic", func(*object.Args) {})
	require.NoError(t, err)
	subscribed := func() (n uint64) {
		in, err := a.Inspect(ctx, hub.InspectOptions{Methods: true})
		require.NoError(t, err)
		for _, m := range in.Methods {
			if m.Method == hub.ActionSubscribe && m.Inside == 0 {
				n += m.Calls
			}
		}
		return n
	}
	users := func() (n int) {
		in, err := a.Inspect(ctx, hub.InspectOptions{Routes: true})
		require.NoError(t, err)
		for _, r := range in.Routes {
			n += r.Users
		}
		return n
	}
	for range 20 {
		before := subscribed()
		next := serve()
		eventually(t, func() bool { return subscribed() > before }, "a subscription")
		require.NoError(t, next.Close(ctx))
	}
	eventually(t, func() bool { return users() == 1 }, "nothing but the object's own route")
	require.NoError(t, l.Close(ctx))
	require.Zero(t, users())
}

// R29: a listener hears on when the process that serves the object was killed and is there again,
// whatever the two processes are called, and even if the new one comes before the old is missed.
func TestR29ServerRestarts(t *testing.T) {
	for _, c := range []struct {
		name, listens, serves, client string
		overlap                       bool
	}{
		{"without a tag", "", "", "", false},
		{"with a tag", "v1", "v1", "", false},
		{"without a tag, for a listener with one", "v1", "", "", false},
		{"with an id of its own", "", "", "feeder", false},
		{"with an id of its own, two at once", "", "", "feeder", true},
		{"two at once", "v1", "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, a, _ := hubAt(t)
			ctx := soon(t)
			feed := newFeed(t, path, c.serves, c.client)
			l := object.Listen(a, "feed", c.listens, nil)
			defer l.Close(ctx)
			var got heard
			_, err := l.Subscribe(ctx, "pid", got.take)
			require.NoError(t, err)
			hears := func(of *exec.Cmd) {
				t.Helper()
				want := fmt.Sprint(of.Process.Pid, ";")
				eventually(t, func() bool {
					lines := got.lines()
					return len(lines) > 0 && lines[len(lines)-1] == want
				}, "a push of the process")
			}
			hears(feed)
			for range 3 {
				old := feed
				if c.overlap {
					feed = newFeed(t, path, c.serves, c.client)
				}
				require.NoError(t, old.Process.Kill())
				_ = old.Wait()
				if !c.overlap {
					feed = newFeed(t, path, c.serves, c.client)
				}
				hears(feed)
			}
		})
	}
}

// pandora is a peer by Pandora's protocol.
type pandora struct {
	t    *testing.T
	conn net.Conn
}

func (p pandora) send(body string) {
	b := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0, 1}, uint32(len(body)))
	_, err := p.conn.Write(append(b, body...))
	require.NoError(p.t, err)
}

// next reads the body of a frame, and its id.
func (p pandora) next() (uint32, string) {
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	head := make([]byte, 9)
	_, err := io.ReadFull(p.conn, head)
	require.NoError(p.t, err)
	b := make([]byte, binary.BigEndian.Uint32(head[5:]))
	_, err = io.ReadFull(p.conn, b)
	require.NoError(p.t, err)
	return binary.BigEndian.Uint32(head[1:]), string(b)
}

// newNamelessFeed publishes "feed" with nothing else, so without the id of a client.
func newNamelessFeed(t *testing.T, path string) pandora {
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	p := pandora{t, conn}
	p.send(`{"action":"PANDORA_HUB_ACTION_PUBLISH_UP","data":{"data":{"selector":` +
		`{"objectName":"feed"}}}}`)
	_, body := p.next()
	require.Contains(t, body, `"success":true`)
	return p
}

// subscribed answers a subscription.
func (p pandora) subscribed() {
	id, body := p.next()
	require.Contains(p.t, body, `"action":"OBJECT_ACTION_SUBSCRIBE","register":"pid"`)
	p.send(fmt.Sprintf(`{"action":"response_callback_%d","data":{"success":true}}`, id))
}

// R29: a server of another make, which publishes no id, is subscribed with again as well.
func TestR29NamelessServerRestarts(t *testing.T) {
	path, a, _ := hubAt(t)
	ctx := soon(t)
	feed := newNamelessFeed(t, path)
	l := object.Listen(a, "feed", "", nil)
	defer l.Close(ctx)
	subscribed := make(chan error, 1)
	go func() {
		_, err := l.Subscribe(ctx, "pid", new(heard).take)
		subscribed <- err
	}()
	feed.subscribed()
	require.NoError(t, <-subscribed)
	for range 3 {
		feed.conn.Close()
		feed = newNamelessFeed(t, path)
		feed.subscribed()
	}
	feed.conn.Close()
}

// Who stands in for a tag is left when that is served again.
func TestListenerLeavesWhoStoodIn(t *testing.T) {
	path, a, b := hubAt(t)
	ctx, m := soon(t), object.Map{"x": func() {}}
	in := publish(t, b, "feed", m, object.Options{})
	l := object.Listen(a, "feed", "v1", nil)
	defer l.Close(ctx)
	_, err := l.Subscribe(ctx, "pid", new(heard).take)
	require.NoError(t, err)
	require.Equal(t, []string{"pid"}, in.Topics())
	for range 2 {
		tagged := publish(t, join(t, path, "c"), "feed", m, object.Options{Tag: "v1"})
		eventually(t, func() bool {
			return len(tagged.Topics()) == 1 && len(in.Topics()) == 0
		}, "the listener to change over")
		require.NoError(t, tagged.Close(ctx))
		eventually(t, func() bool { return len(in.Topics()) == 1 }, "it to come back")
	}
}
