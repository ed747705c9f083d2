package hub

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// DefaultTimeout is how long Invoke waits where neither its context nor the message says so: as
// long as Pandora's clients do.
const DefaultTimeout = 5 * time.Second

// Client is a process at a hub: it calls others, and answers them. It speaks Pandora's protocol
// with encoding/json, so that Node clients may be at the other end. It is the first client, made to
// be simple; the native one, which is made to be fast, comes later.
//
//	Invoke -> waiting[id] -> frame -> hub        hub -> frame -> object -> Handler -> reply
//	   ^                               |         (each on a goroutine of its own)
//	   +---------- reply <-------------+
//
// A client does not reconnect: when the hub goes away, what waits fails, and Done is closed. All
// methods may be used by any number of goroutines.
type Client struct {
	conn     *transport.Conn // immutable after Dial
	location Location        // immutable
	serving  chan struct{}   // a token for each Handler that runs

	mu      sync.Mutex
	lastID  uint32                          // of the frames to the hub; guarded by mu
	waiting map[uint32]chan json.RawMessage // who waits for the reply to an id; guarded by mu
	objects []object                        // what is published; guarded by mu
	closed  bool                            // guarded by mu
}

// Location says who a client is, and where.
type Location struct {
	AppName     string `json:"appName,omitempty"`
	ProcessName string `json:"processName,omitempty"`
	PID         string `json:"pid,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

// Selector says whom a message is for: all who have every field that it sets.
type Selector struct {
	Location
	ObjectName string `json:"objectName,omitempty"`
	ObjectTag  string `json:"objectTag,omitempty"`
}

// Message is what one client sends to another.
type Message struct {
	// Action is what is asked for. "" means ActionInvoke.
	Action string
	// Property is the method of an object, for ActionInvoke.
	Property string
	// Data is sent as encoding/json writes it; for ActionInvoke it is a list of arguments. In a
	// message that was received it is a json.RawMessage.
	Data any
	// Timeout is how long the sender waits for the reply; 0: as long as its context lets it, or,
	// without a deadline there, DefaultTimeout.
	Timeout time.Duration
	// Host is who has sent a message that was received, and Remote whom it was sent to.
	Host   Location
	Remote Selector
}

// The actions that clients know.
const (
	ActionInvoke = "OBJECT_ACTION_INVOKE" // call a method of an object
	ActionEcho   = "echo"                 // every client answers with the message itself
)

// Args decodes the arguments of a message that was received into the pointers given. Missing ones
// leave theirs as it is, further ones are ignored.
func (m *Message) Args(into ...any) error {
	raw, _ := m.Data.(json.RawMessage)
	if len(raw) == 0 {
		return nil
	}
	var args []json.RawMessage
	if err := json.Unmarshal(raw, &args); err != nil {
		return fmt.Errorf("hub: arguments: %w", err)
	}
	for i := range min(len(args), len(into)) {
		if err := json.Unmarshal(args[i], into[i]); err != nil {
			return fmt.Errorf("hub: argument %d: %w", i, err)
		}
	}
	return nil
}

// RemoteError is a reply that says why something was not done, by the hub or by another client.
type RemoteError struct {
	Name    string          `json:"name"` // the class, where it is told
	Message string          `json:"message"`
	Raw     json.RawMessage `json:"-"` // the error as it came
}

func (e *RemoteError) Error() string { return "hub: remote: " + e.Message }

// Is lets errors.Is find transport.ErrDeadline and context.DeadlineExceeded in the hub's timeout.
func (e *RemoteError) Is(target error) bool {
	return e.Name == timeoutClass &&
		(target == transport.ErrDeadline || target == context.DeadlineExceeded)
}

// Dial connects to the hub at path (see PandoraPath) and goes online as location, within ctx. A
// ClientID and a PID that are missing are filled in. The hub has to run as this user or as root,
// as the folder of its socket may be open to everybody.
func Dial(ctx context.Context, path string, location Location) (*Client, error) {
	if location.ClientID == "" {
		location.ClientID = rand.Text()
	}
	if location.PID == "" {
		location.PID = strconv.Itoa(os.Getpid())
	}
	c := &Client{location: location, waiting: make(map[uint32]chan json.RawMessage),
		serving: make(chan struct{}, maxServing)}
	o := transport.Options{Foreign: incoming{c}, Authorize: transport.SameUser}
	o.Limits.MaxBody = Limits{}.withDefaults().frame()
	o.Limits.Outbox = DefaultMaxOutbox
	conn, err := transport.Dial(ctx, path, o)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	if _, err := c.ask(ctx, "PANDORA_HUB_ACTION_ONLINE_UP", c.request(nil), 0); err != nil {
		conn.Abort(nil)
		<-conn.Done()
		return nil, fmt.Errorf("hub: go online: %w", err)
	}
	return c, nil
}

// Location is who this client is.
func (c *Client) Location() Location { return c.location }

// Done is closed when the connection to the hub is over.
func (c *Client) Done() <-chan struct{} { return c.conn.Done() }

// Invoke sends m to one of those that to selects, and returns the data of the reply, nil when it
// has none. Errors: *RemoteError, those of ctx, transport.ErrConnLost when the hub goes away before
// the reply, and what transport.Conn.WriteFrame gives. The hub cuts a client off that sends more
// than its largest body.
func (c *Client) Invoke(ctx context.Context, to Selector, m Message) (json.RawMessage, error) {
	timeout := m.Timeout
	if d, ok := ctx.Deadline(); ok {
		left := time.Until(d)
		if timeout <= 0 || left < timeout {
			timeout = left
		}
	} else if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return c.ask(ctx, "PANDORA_HUB_ACTION_MSG_UP", c.up(to, m, timeout), timeout)
}

// Send sends m to one of those that to selects. Nobody answers; when there is nobody, the message
// is lost. It never waits: without room it gives transport.ErrFull.
func (c *Client) Send(to Selector, m Message) error {
	return c.write("PANDORA_HUB_ACTION_MSG_UP", c.up(to, m, 0), c.id())
}

// Close goes offline, so that no new calls come, waits for the handlers that run, and ends the
// connection, all within ctx. Calls under way fail with transport.ErrClosed. Closing again waits
// for the end of the connection. It is not for a Handler to call.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if !first {
		<-c.conn.Done()
		return nil
	}
	_, err := c.ask(ctx, "PANDORA_HUB_ACTION_OFFLINE_UP", c.request(nil), 0)
	if errors.Is(err, transport.ErrConnLost) {
		err = nil
	}
	for range cap(c.serving) { // all the tokens: nobody runs, and nobody will
		select {
		case c.serving <- struct{}{}:
			continue
		case <-ctx.Done():
			err = errors.Join(err, fmt.Errorf("hub: handlers still run: %w", ctx.Err()))
		}
		break
	}
	return errors.Join(err, c.conn.Close(ctx))
}

// request is the package of what the hub itself answers.
func (c *Client) request(data any) any {
	return map[string]any{"host": c.location, "data": data, "needReply": true}
}

// upward is a message on its way to the hub.
type upward struct {
	Remote    Selector `json:"remote"`
	Action    string   `json:"action"`
	Broadcast bool     `json:"broadcast"`
	Host      Location `json:"host"`
	NeedReply bool     `json:"needReply"`
	Timeout   float64  `json:"timeout,omitempty"` // in ms
	Property  string   `json:"propertyName,omitempty"`
	Data      any      `json:"data,omitempty"`
}

// up is m on its way to the hub. A reply is due when timeout is not 0.
func (c *Client) up(to Selector, m Message, timeout time.Duration) any {
	if m.Action == "" {
		m.Action = ActionInvoke
	}
	return upward{Remote: to, Action: m.Action, Host: c.location, NeedReply: timeout != 0,
		Timeout: timeout.Seconds() * 1000, Property: m.Property, Data: m.Data}
}

// ask sends a frame and waits for the data of its reply, for timeout at most if that is not 0.
func (c *Client) ask(ctx context.Context, action string, pkg any, timeout time.Duration) (
	json.RawMessage, error) {
	if timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	reply := make(chan json.RawMessage, 1)
	id := c.await(reply)
	defer c.forget(id)
	if err := c.write(action, pkg, id); err != nil {
		return nil, err
	}
	select {
	case pkg := <-reply:
		return parseReply(pkg)
	case <-ctx.Done():
		return nil, fmt.Errorf("hub: no reply: %w", ctx.Err())
	case <-c.conn.Done():
	}
	select {
	case pkg := <-reply: // the last thing that came
		return parseReply(pkg)
	default:
		return nil, fmt.Errorf("hub: no reply: %w", c.conn.Err())
	}
}

// parseReply returns the data of a reply package, or the error that it carries.
func parseReply(pkg json.RawMessage) (json.RawMessage, error) {
	var r struct {
		Success bool
		Data    json.RawMessage
		Error   json.RawMessage
	}
	if len(pkg) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(pkg, &r); err != nil {
		return nil, fmt.Errorf("hub: reply: %w", err)
	}
	if r.Success {
		return r.Data, nil
	}
	e := &RemoteError{Raw: r.Error}
	if json.Unmarshal(r.Error, e) != nil || e.Message == "" {
		e.Message = string(r.Error) // not every provider throws an Error
	}
	return nil, e
}

// await returns the id of the next frame, the reply to which goes to reply.
func (c *Client) await(reply chan json.RawMessage) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.idLocked()
	c.waiting[id] = reply
	return id
}

func (c *Client) forget(id uint32) {
	c.mu.Lock()
	delete(c.waiting, id)
	c.mu.Unlock()
}

// id is the number of the next frame.
func (c *Client) id() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idLocked()
}

func (c *Client) idLocked() uint32 {
	for {
		if c.lastID++; c.lastID >= maxID {
			c.lastID = 1
		}
		if c.waiting[c.lastID] == nil {
			return c.lastID
		}
	}
}

// write queues a frame.
func (c *Client) write(action string, pkg any, id uint32) error {
	body, err := json.Marshal(map[string]any{"action": action, "data": pkg})
	if err != nil {
		return fmt.Errorf("hub: encode: %w", err)
	}
	return c.conn.WriteFrame(wire.Header{ID: id}, body)
}
