package daemon

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/transport"
)

// A Client is a connection to the daemon. The end of a call's context ends the wait, not what was
// asked for.
type Client struct {
	conn *transport.Conn
}

// Dial connects to the daemon at address.
func Dial(ctx context.Context, address string) (*Client, error) {
	conn, err := transport.Dial(ctx, address, transport.Options{Authorize: transport.SameUser})
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close(context.Background()) }

// call asks for a method. What the daemon says to it in an error is the error, in its words.
func (c *Client) call(ctx context.Context, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	reply, err := c.conn.Do(ctx, transport.Message{Method: method, Body: body}, nil)
	if remote, ok := errors.AsType[*transport.RemoteError](err); ok {
		return errors.New(remote.Text)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(reply, out)
}

// Hello asks who the daemon is.
func (c *Client) Hello(ctx context.Context) (h Hello, err error) {
	err = c.call(ctx, methodHello, nothing{}, &h)
	return h, err
}

// Start starts an application in an environment, and waits until it is ready. A registry that is
// not empty stands in for the file's, until a Reload says another.
func (c *Client) Start(ctx context.Context, f *procfile.File, registry string, env []string) (
	a App, err error) {
	text, err := f.Marshal()
	if err != nil {
		return a, err
	}
	req := startRequest{File: f.Path, Text: string(text), Env: env, Registry: registry}
	err = c.call(ctx, methodStart, req, &a)
	return a, err
}

// Reload carries a file over to the application that runs, and replaces its instances, or those of
// some processes, one after the other. An empty registry is that of Start, if it had one, else the
// file's.
func (c *Client) Reload(ctx context.Context, f *procfile.File, registry string,
	env, processes []string) (r Reloaded, err error) {
	text, err := f.Marshal()
	if err != nil {
		return r, err
	}
	req := startRequest{File: f.Path, Text: string(text), Env: env, Targets: processes,
		Registry: registry}
	err = c.call(ctx, methodReload, req, &r)
	return r, err
}

// Stop stops applications, which the daemon then forgets, or processes of them.
func (c *Client) Stop(ctx context.Context, list ...string) error {
	return c.call(ctx, methodStop, targets{list}, &nothing{})
}

// Restart stops the processes of applications, or single ones, and starts them again.
func (c *Client) Restart(ctx context.Context, list ...string) error {
	return c.call(ctx, methodRestart, targets{list}, &nothing{})
}

// Resume starts processes that were stopped, or have failed.
func (c *Client) Resume(ctx context.Context, list ...string) error {
	return c.call(ctx, methodResume, targets{list}, &nothing{})
}

// Scale changes how many instances of a process run.
func (c *Client) Scale(ctx context.Context, target string, n int) error {
	return c.call(ctx, methodScale, scaleRequest{target, n}, &nothing{})
}

// Status returns how applications do: all, or those of the list.
func (c *Client) Status(ctx context.Context, list ...string) (apps []App, err error) {
	err = c.call(ctx, methodStatus, targets{list}, &apps)
	return apps, err
}

// Exit stops everything, the daemon last, and returns when it has ended.
func (c *Client) Exit(ctx context.Context) error {
	if err := c.call(ctx, methodExit, nothing{}, &nothing{}); err != nil {
		return err
	}
	select {
	case <-c.conn.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
