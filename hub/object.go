package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// maxServing is how many messages of others a client handles at once. Further ones are answered
// with an error.
const maxServing = 1024

// Handler answers the calls of an object's methods: m.Property is the method. What it returns is
// sent as encoding/json writes it. Its context ends with the time that the caller has given, and
// with the connection. Each call has a goroutine of its own.
type Handler func(ctx context.Context, m Message) (any, error)

// object is what a client has published.
type object struct {
	name, tag string
	handler   Handler
}

// Publish lets others call an object at this client: those that select its name and, when it has
// one, its tag. h may be called before Publish returns. A name is published under a tag once.
func (c *Client) Publish(ctx context.Context, name, tag string, h Handler) error {
	same := func(o object) bool { return o.name == name && o.tag == tag }
	c.mu.Lock()
	taken := slices.ContainsFunc(c.objects, same)
	if !taken {
		c.objects = append(c.objects, object{name, tag, h})
	}
	c.mu.Unlock()
	if taken {
		return fmt.Errorf("hub: object %q with tag %q is published already", name, tag)
	}
	selector := map[string]any{"selector": Selector{c.location, name, tag}}
	_, err := c.ask(ctx, "PANDORA_HUB_ACTION_PUBLISH_UP", c.request(selector), 0)
	if err != nil {
		c.mu.Lock()
		c.objects = slices.DeleteFunc(c.objects, same)
		c.mu.Unlock()
		return fmt.Errorf("hub: publish %q: %w", name, err)
	}
	return nil
}

// find returns who answers for an object: of the same tag, else of none, else, when no tag is asked
// for, of any.
func (c *Client) find(name, tag string) Handler {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found Handler
	for _, o := range c.objects {
		switch {
		case o.name != name:
		case o.tag == tag:
			return o.handler
		case o.tag == "", tag == "" && found == nil:
			found = o.handler
		}
	}
	return found
}

// incoming takes the frames of the hub.
type incoming struct{ c *Client }

// Frame hands replies to those who wait for them, and messages to a goroutine. What is no JSON ends
// the connection.
func (i incoming) Frame(conn *transport.Conn, f wire.Frame) error {
	var e struct {
		Action string
		Data   json.RawMessage
	}
	if err := json.Unmarshal(f.Body, &e); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return nil // not an envelope: ignored, as Pandora's clients do
		}
		return fmt.Errorf("hub: frame %d: %w", f.ID, err)
	}
	if e.Action == "PANDORA_HUB_ACTION_MSG_DOWN" {
		i.c.take(conn, f.ID, e.Data)
		return nil
	}
	if text, ok := strings.CutPrefix(e.Action, replyPrefix); ok && text != "" {
		if id, ok := parseID([]byte(text)); ok {
			i.c.settle(id, e.Data)
		}
	}
	return nil
}

// settle hands a reply to who waits for it, if anybody does.
func (c *Client) settle(id uint32, pkg json.RawMessage) {
	c.mu.Lock()
	reply := c.waiting[id]
	delete(c.waiting, id)
	c.mu.Unlock()
	if reply != nil {
		reply <- pkg // there is room: each id has one reply
	}
}

// downward is a message that comes from the hub.
type downward struct {
	Action    string
	Host      json.RawMessage
	Remote    Selector
	NeedReply bool
	Timeout   float64 // in ms
	Property  string  `json:"propertyName"`
	Data      json.RawMessage
	whole     json.RawMessage
}

// answer is a reply package. The hub hands it to the caller as it is.
type answer struct {
	Host    Location        `json:"host"`
	Remote  json.RawMessage `json:"remote,omitempty"`
	Success bool            `json:"success"`
	Data    any             `json:"data,omitempty"`
	Error   any             `json:"error,omitempty"`
}

// take has a message answered, on a goroutine.
func (c *Client) take(conn *transport.Conn, id uint32, raw json.RawMessage) {
	var d downward
	_ = json.Unmarshal(raw, &d) // it is JSON; what is of another kind stays empty
	d.whole = raw
	select {
	case c.serving <- struct{}{}:
	default:
		c.reply(conn, id, &d, nil, fmt.Errorf("hub: messages being handled: %d, limit %d",
			maxServing+1, maxServing))
		return
	}
	go func() { // waited for by Close
		defer func() { <-c.serving }()
		data, err := c.serve(conn, &d)
		c.reply(conn, id, &d, data, err)
	}()
}

// serve does what a message asks for.
func (c *Client) serve(conn *transport.Conn, d *downward) (data any, err error) {
	if d.Action == ActionEcho {
		return map[string]any{"echo": d.whole}, nil
	}
	h := c.find(d.Remote.ObjectName, d.Remote.ObjectTag)
	switch {
	case d.Action != ActionInvoke:
		return nil, fmt.Errorf("hub: nobody here serves the action %q", d.Action)
	case h == nil:
		return nil, fmt.Errorf("hub: nobody here serves the object %q with tag %q",
			d.Remote.ObjectName, d.Remote.ObjectTag)
	}
	m := Message{Action: d.Action, Property: d.Property, Data: d.Data, Remote: d.Remote}
	_ = json.Unmarshal(d.Host, &m.Host) // a host of another form is nobody
	ctx := conn.Context()
	if ms := min(d.Timeout, maxTimeout.Seconds()*1000); ms > 0 {
		m.Timeout = time.Duration(ms * float64(time.Millisecond))
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.Timeout)
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("hub: handler of %q panicked: %v", d.Remote.ObjectName, p)
		}
	}()
	return h(ctx, m)
}

// reply answers the message d that came with id. Where even the error cannot be written, the
// connection ends, so that the caller is told by the hub.
func (c *Client) reply(conn *transport.Conn, id uint32, d *downward, data any, err error) {
	if !d.NeedReply {
		return
	}
	write := func(a answer) error {
		a.Host, a.Remote = c.location, d.Host
		body, err := json.Marshal(map[string]any{"action": replyPrefix + fmt.Sprint(id), "data": a})
		if err != nil {
			return err
		}
		return conn.WriteFrame(wire.Header{ID: c.id()}, body)
	}
	if err == nil {
		err = write(answer{Success: true, Data: data})
	}
	if err == nil {
		return
	}
	why := map[string]any{"message": err.Error()}
	if errors.Is(err, context.DeadlineExceeded) {
		why["name"] = timeoutClass // the caller's time is over, which it may not know yet
	}
	if err := write(answer{Error: why}); err != nil {
		conn.Abort(err)
	}
}
