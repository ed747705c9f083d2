package transport

import (
	"context"
	"os"
)

// Dial connects to the server at address (see Listen) and says hello. It returns when the server
// has answered, within ctx and Limits.HelloTimeout. Errors are *OpError; a peer without a version
// in common gives one that wraps wire.ErrNoVersion.
//
// With Options.Foreign it says no hello and returns once connected: frames of the server go there
// as they are, WriteFrame writes them, and what needs a native peer gives ErrNotNative.
func Dial(ctx context.Context, address string, o Options) (*Conn, error) {
	s := o.settings(false)
	ctx, cancel := context.WithTimeout(ctx, s.Limits.HelloTimeout)
	defer cancel()
	f, err := dialSocket(ctx, address)
	if err != nil {
		return nil, &OpError{"dial", address, err}
	}
	c, err := open(ctx, f, s)
	if err != nil {
		return nil, &OpError{"dial", address, err}
	}
	return c, nil
}

// ConnFile makes a connection of a connected Unix stream socket that is there already, as the side
// that says hello first, if any does. f stays the caller's.
func ConnFile(ctx context.Context, f *os.File, o Options) (*Conn, error) {
	s := o.settings(false)
	ctx, cancel := context.WithTimeout(ctx, s.Limits.HelloTimeout)
	defer cancel()
	d, err := adoptConn(f)
	if err != nil {
		return nil, &OpError{"open", f.Name(), err}
	}
	c, err := open(ctx, d, s)
	if err != nil {
		return nil, &OpError{"open", f.Name(), err}
	}
	return c, nil
}

// ServeFile makes a connection of a connected Unix stream socket that is there already, as the side
// that waits for the hello. f stays the caller's.
func ServeFile(f *os.File, o Options) (*Conn, error) {
	if o.Authorize == nil {
		o.Authorize = SameUser
	}
	s := o.settings(true)
	d, err := adoptConn(f)
	if err != nil {
		return nil, &OpError{"open", f.Name(), err}
	}
	c, err := open(context.Background(), d, s)
	if err != nil {
		return nil, &OpError{"open", f.Name(), err}
	}
	return c, nil
}

// open starts an engine on a connected socket, which it owns from now on, and waits for the answer
// to the hello of a side that greets.
func open(ctx context.Context, f socket, s *settings) (*Conn, error) {
	peer, err := f.credentials()
	if err == nil {
		err = s.laneBuilt()
	}
	if err == nil && s.Authorize != nil {
		err = s.Authorize(peer)
	}
	if err == nil {
		err = f.apply(s.Socket)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	g := s.Group
	if g == nil {
		if g, err = newOwnGroup(s, 1); err != nil {
			f.close()
			return nil, err
		}
	}
	c := newConn(s, peer, g)
	c.ownGroup = s.Group == nil
	if err := startConn(ctx, c, f); err != nil {
		c.cancel(err)
		if c.ownGroup {
			g.Close()
		}
		return nil, err
	}
	return c, nil
}
