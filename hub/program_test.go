package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// FuzzSelector: a selector means the same when it is written again, matches what the naive reading
// of its JSON matches, and selectors with the same key match alike.
func FuzzSelector(f *testing.F) {
	f.Add(`{"appName":"shop","pid":5.0,"objectTag":"\ud83d"}`, `{"appName":"shop","pid":5}`)
	f.Add(`{"objectName":"a","objectTag":{}}`, `{"objectName":"a"}`)
	f.Add(full, full)
	f.Fuzz(func(t *testing.T, first, second string) {
		var decoded [2]map[string]any
		var parsed [2]*selector
		for i, raw := range []string{first, second} {
			var turn turn
			if json.Unmarshal([]byte(raw), &decoded[i]) != nil ||
				turn.parseSelector([]byte(raw)) != nil {
				return
			}
			parsed[i] = turn.wanted.clone()
			written := parsed[i].appendJSON(nil)
			require.True(t, json.Valid(written), "%s", written)
			var again selector
			again.parse(written, nil)
			require.Equal(t, parsed[i].appendKey(nil), again.appendKey(nil), "%s", written)
		}
		if strings.Contains(strings.ToLower(first+second), `\ud`) {
			return // encoding/json has no lone surrogates
		}
		var model naive
		require.Equal(t, model.matches(decoded[0], decoded[1], selectorKeys),
			parsed[0].matches(parsed[1]))
	})
}

// FuzzProgram runs a program of peers that join, publish, call, take back, leave and die, native
// ones and Pandora's, on one hub, and a hub of some lines beside it. A program is a run of bytes,
// two for each step:
//
//	step  what                                argument
//	0     a peer joins                        even: native, odd: Pandora's
//	1, 2  the peer publishes                  bits: name, tag
//	3     the peer takes one back             bits: name, tag
//	4, 5  the peer calls one                  bits: name, tag
//	6     the peer calls all                  bits: name, tag
//	7     the peer leaves                       odd: without a word
//
// The law: a call reaches one of those, or each of those, that the naive hub finds, or nobody if it
// finds nobody; every call ends; what the hub holds is what the naive one holds.
func FuzzProgram(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 1, 1, 0x11, 2, 4, 1, 0x14, 1, 6, 1, 7, 1})
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0x11, 3, 0x21, 1, 4, 3, 3, 1, 4, 1, 0x17, 1, 4, 1, 0x27, 0})
	f.Add([]byte{0, 1, 0, 0, 1, 4, 0x11, 4, 6, 4, 0x16, 4, 3, 4, 0x14, 4, 4, 5, 7, 0, 0x17, 1})
	f.Fuzz(runProgram)
}

func runProgram(t *testing.T, program []byte) {
	h := New(Options{})
	path := filepath.Join(t.TempDir(), "hub.sock")
	require.NoError(t, h.Listen(path))
	m := &world{t: t, hub: h, path: path, model: naive{lists: map[uint64][]map[string]any{}}}
	defer m.close()
	for len(program) >= 2 && m.steps < 40 {
		m.step(program[0], program[1])
		program = program[2:]
	}
}

// TestRandomPrograms runs programs of FuzzProgram that are worth running: 20, or with PITHOS_LONG=1
// many.
func TestRandomPrograms(t *testing.T) {
	rng := newRand(t)
	n := 20
	if os.Getenv("PITHOS_LONG") == "1" {
		n = 5000
	}
	for range n {
		program := []byte{0, 0, 0, 1, 0, 0}
		for range 30 {
			program = append(program, byte(rng.IntN(6)<<4|rng.IntN(8)), byte(rng.IntN(6)))
		}
		runProgram(t, program)
		if t.Failed() {
			t.Fatalf("program %#v", program)
		}
	}
}

// actor is a peer of a program.
type actor interface {
	publish(name, tag string) error
	unpublish(name, tag string) error
	call(name, tag string, all bool) ([]string, error) // who has answered
	leave(die bool)
}

// world is the hub and the naive one.
type world struct {
	t      *testing.T
	hub    *Hub
	path   string
	model  naive
	actors []actor // nil: has left; its number is the index + 1
	left   int
	steps  int
}

var (
	progNames = [...]string{"cart", "till"}
	progTags  = [...]string{"", "v1", "v2"}
)

// patience is for what must not take for ever.
func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 20*time.Second)
}

func (m *world) step(what, arg byte) {
	m.steps++
	name, tag := progNames[arg&1], progTags[int(arg>>1)%len(progTags)]
	who := int(what >> 4)
	if op := what & 7; op != 0 {
		if who >= len(m.actors) || m.actors[who] == nil {
			return
		}
		m.act(op, who, name, tag, arg)
	} else if len(m.actors) < 6 {
		m.join(arg)
	}
	eventually(m.t, func() bool {
		s := m.hub.Stats()
		return s.Peers == len(m.actors)-m.left && s.Pending == 0
	})
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Microsecond) {
		require.True(t, time.Now().Before(end), "not in time")
	}
}

func (m *world) join(kind byte) {
	n := len(m.actors) + 1
	location := Location{AppName: fmt.Sprint("app", n), ClientID: fmt.Sprint(n), PID: "1"}
	if kind%2 == 0 {
		ctx, cancel := patience()
		defer cancel()
		c, err := Join(ctx, m.path, JoinOptions{Location: location, Workers: 1})
		require.NoError(m.t, err)
		m.actors = append(m.actors, &nativeActor{c: c, n: n, pubs: map[string]*Publication{}})
	} else {
		m.actors = append(m.actors, newNode(m.t, m.path, location, n))
	}
	m.model.add(uint64(n), location.fields())
}

func (l Location) fields() map[string]any {
	return map[string]any{"appName": l.AppName, "clientId": l.ClientID, "pid": l.PID}
}

func (m *world) act(op byte, who int, name, tag string, arg byte) {
	a, n := m.actors[who], uint64(who+1)
	wanted := map[string]any{"objectName": name}
	if tag != "" {
		wanted["objectTag"] = tag
	}
	switch op {
	case 1, 2:
		if a.publish(name, tag) == nil {
			m.model.add(n, wanted)
		}
	case 3:
		if a.unpublish(name, tag) == nil {
			i := slices.IndexFunc(m.model.lists[n], func(s map[string]any) bool {
				return s["objectName"] == name && truthy(s["objectTag"]) == (tag != "") &&
					(tag == "" || s["objectTag"] == tag)
			})
			require.GreaterOrEqual(m.t, i, 0)
			m.model.lists[n] = slices.Delete(m.model.lists[n], i, i+1)
		}
	case 7:
		m.actors[who] = nil
		m.left++
		m.model.remove(n)
		a.leave(arg&1 == 1)
	default:
		m.call(a, name, tag, wanted, op == 6)
	}
}

func (m *world) call(a actor, name, tag string, wanted map[string]any, all bool) {
	var want []string
	for _, n := range m.model.find(wanted) {
		want = append(want, fmt.Sprint(n))
	}
	got, err := a.call(name, tag, all)
	switch {
	case len(want) == 0 && all:
		require.Empty(m.t, got)
	case len(want) == 0:
		require.ErrorContains(m.t, err, "Cannot found any clients")
	case all:
		require.NoError(m.t, err)
		require.ElementsMatch(m.t, want, got)
	default:
		require.NoError(m.t, err)
		require.Len(m.t, got, 1)
		require.Contains(m.t, want, got[0])
	}
}

func (m *world) close() {
	for _, a := range m.actors {
		if a != nil {
			a.leave(false)
		}
	}
	eventually(m.t, func() bool { return m.hub.Stats().Peers == 0 })
	require.Zero(m.t, m.hub.Stats().Selectors)
	ctx, cancel := patience()
	defer cancel()
	require.NoError(m.t, m.hub.Close(ctx))
}

// nativeActor is a Client.
type nativeActor struct {
	c    *Client
	n    int
	pubs map[string]*Publication
}

func (a *nativeActor) publish(name, tag string) error {
	if a.pubs[name+"#"+tag] != nil {
		return errors.New("there already")
	}
	ctx, cancel := patience()
	defer cancel()
	p, err := a.c.Publish(ctx, Object{Name: name, Tag: tag, OnLoop: true,
		Handler: transport.HandlerFunc(func(r *transport.Request) {
			_ = r.Reply(fmt.Appendf(nil, `"%d"`, a.n))
		})})
	a.pubs[name+"#"+tag] = p
	return err
}

func (a *nativeActor) unpublish(name, tag string) error {
	p := a.pubs[name+"#"+tag]
	if p == nil {
		return errors.New("not there")
	}
	delete(a.pubs, name+"#"+tag)
	ctx, cancel := patience()
	defer cancel()
	return p.Unpublish(ctx)
}

func (a *nativeActor) call(name, tag string, all bool) (who []string, err error) {
	ctx, cancel := patience()
	defer cancel()
	r := a.c.Route(Selector{ObjectName: name, ObjectTag: tag})
	m := Message{Method: "who", Payload: []byte("[]")}
	if !all {
		got, err := r.Do(ctx, m, nil)
		return []string{strings.Trim(string(got), `"`)}, err
	}
	replies, err := r.CallAll(ctx, m)
	for _, reply := range replies {
		who = append(who, strings.Trim(string(reply.Payload), `"`))
		err = errors.Join(err, reply.Err)
	}
	return who, err
}

func (a *nativeActor) leave(die bool) {
	ctx, cancel := patience()
	defer cancel()
	if die {
		cancel()
	}
	_ = a.c.Close(ctx)
}

// node is one of Pandora's clients in little.
type node struct {
	t         *testing.T
	conn      net.Conn
	n         int
	host      string
	published map[string]string

	mu      sync.Mutex
	last    uint32
	replies map[uint32]chan []byte
}

func newNode(t *testing.T, path string, l Location, n int) *node {
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	host, err := json.Marshal(l)
	require.NoError(t, err)
	a := &node{t: t, conn: conn, n: n, host: string(host), published: map[string]string{},
		replies: map[uint32]chan []byte{}}
	go a.read()
	require.Contains(t, string(a.ask(`{"action":"PANDORA_HUB_ACTION_ONLINE_UP","data":{"host":`+
		a.host+`,"needReply":true}}`)), `"success":true`)
	return a
}

// read answers messages and hands replies on, until the connection ends.
func (a *node) read() {
	for {
		head := make([]byte, wire.HeaderSize)
		if _, err := readFull(a.conn, head); err != nil {
			return
		}
		h, _ := wire.ParseHeader(head)
		body := make([]byte, h.Length)
		if _, err := readFull(a.conn, body); err != nil {
			return
		}
		var e struct {
			Action string
			Data   json.RawMessage
		}
		if err := json.Unmarshal(body, &e); err != nil {
			a.t.Errorf("%s: %v", body, err)
			return
		}
		if e.Action == "PANDORA_HUB_ACTION_MSG_DOWN" {
			a.write(fmt.Sprintf(`{"action":"response_callback_%d","data":{"success":true,"data":"%d"}}`,
				h.ID, a.n))
			continue
		}
		var id uint32
		fmt.Sscanf(e.Action, "response_callback_%d", &id)
		a.mu.Lock()
		c := a.replies[id]
		a.mu.Unlock()
		c <- e.Data
	}
}

func readFull(c net.Conn, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = c.Read(b[n:])
		n += k
	}
	return n, err
}

func (a *node) write(body string) chan []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	c := make(chan []byte, 1)
	a.replies[a.last] = c
	f := wire.Frame{Header: wire.Header{ID: a.last}, Body: []byte(body)}
	_, _ = a.conn.Write(f.AppendTo(nil))
	return c
}

func (a *node) ask(body string) []byte {
	select {
	case b := <-a.write(body):
		return b
	case <-time.After(20 * time.Second):
		a.t.Errorf("no reply to %s", body)
		return nil
	}
}

func (a *node) publishing(action, name, tag string) {
	s := a.host[:len(a.host)-1] + `,"objectName":"` + name + `"`
	if tag != "" {
		s += `,"objectTag":"` + tag + `"`
	}
	require.Contains(a.t, string(a.ask(`{"action":"PANDORA_HUB_ACTION_`+action+
		`_UP","data":{"data":{"selector":`+s+`}},"needReply":true}}`)), `"success":true`)
}

func (a *node) publish(name, tag string) error {
	if _, there := a.published[name+"#"+tag]; there {
		return errors.New("there already")
	}
	a.published[name+"#"+tag] = ""
	a.publishing("PUBLISH", name, tag)
	return nil
}

func (a *node) unpublish(name, tag string) error {
	if _, there := a.published[name+"#"+tag]; !there || tag == "" {
		return errors.New("not there") // without a tag it would take the tagged ones, too
	}
	delete(a.published, name+"#"+tag)
	a.publishing("UNPUBLISH", name, tag)
	return nil
}

func (a *node) call(name, tag string, all bool) (who []string, err error) {
	remote := `{"objectName":"` + name + `","objectTag":"` + tag + `"}`
	pkg := a.ask(fmt.Sprintf(`{"action":"PANDORA_HUB_ACTION_MSG_UP","data":{"remote":%s,`+
		`"action":"OBJECT_ACTION_INVOKE","propertyName":"who","data":[],"host":%s,"broadcast":%v,`+
		`"needReply":true}}`, remote, a.host, all))
	type reply struct {
		Success    bool
		Data       string
		Error      struct{ Message string }
		BatchReply []reply
	}
	var r reply
	if err := json.Unmarshal(pkg, &r); err != nil {
		return nil, err
	}
	if !r.Success {
		return nil, errors.New(r.Error.Message)
	}
	if !all {
		return []string{r.Data}, nil
	}
	for _, one := range r.BatchReply {
		who = append(who, one.Data)
	}
	return who, nil
}

func (a *node) leave(bool) { a.conn.Close() }
