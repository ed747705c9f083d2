//go:build !linux

package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// socket is a connected Unix stream socket. It has one owner.
type socket struct {
	conn *net.UnixConn
}

func (s socket) close() { s.conn.Close() }

// credentials are not known on this system.
func (s socket) credentials() (Credentials, error) { return Credentials{}, nil }

func (s socket) apply(o SocketOptions) error {
	var errs []error
	if o.SendBuffer > 0 {
		errs = append(errs, s.conn.SetWriteBuffer(o.SendBuffer))
	}
	if o.ReceiveBuffer > 0 {
		errs = append(errs, s.conn.SetReadBuffer(o.ReceiveBuffer))
	}
	return errors.Join(errs...)
}

func (s socket) netConn() (*net.UnixConn, error) { return s.conn, nil }

func overflowUID() uint32 { return 1<<32 - 1 }

func dialSocket(ctx context.Context, address string) (socket, error) {
	if address != "" && address[0] == '@' {
		return socket{}, fmt.Errorf("abstract addresses exist on Linux only: %w",
			errors.ErrUnsupported)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", address)
	if err != nil {
		return socket{}, err
	}
	return socket{c.(*net.UnixConn)}, nil
}

// bound is a listening socket.
type bound struct {
	listener net.Listener
}

func (b *bound) close() { b.listener.Close() }

func (b *bound) netListener() (net.Listener, error) { return b.listener, nil }

// bindSocket replaces a socket file on which nobody listens. Without a lock two servers that start
// at the same moment may both succeed; the later one has the file then.
func bindSocket(address string, _ SocketOptions) (*bound, error) {
	if address == "" || address[0] == '@' {
		return nil, fmt.Errorf("address %q: %w", address, errors.ErrUnsupported)
	}
	if st, err := os.Lstat(address); err == nil {
		if st.Mode()&fs.ModeSocket == 0 {
			return nil, &fs.PathError{Op: "bind", Path: address,
				Err: errors.New("exists and is not a socket")}
		}
		if c, err := net.Dial("unix", address); err == nil {
			c.Close()
			return nil, ErrInUse
		}
		os.Remove(address)
	}
	l, err := net.Listen("unix", address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(address, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return &bound{l}, nil
}

func adoptListener(f *os.File) (*bound, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return &bound{l}, nil
}

func adoptConn(f *os.File) (socket, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return socket{}, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return socket{}, fmt.Errorf("not a Unix stream socket: %s", c.LocalAddr().Network())
	}
	return socket{u}, nil
}
