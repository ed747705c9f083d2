package transport

import (
	"context"
	"net"
	"sync"
)

// ListenNet listens at the path, or abstract name after '@', of a Unix socket for those who serve
// something else there with package net, such as HTTP. A path gets the same care as Listen's: the
// socket has mode 0600 from its first moment on, a live server's is not replaced, and Close removes
// the file. Who connects is not checked further. Errors are *OpError.
func ListenNet(address string) (net.Listener, error) {
	sock, err := bindSocket(address, SocketOptions{})
	if err != nil {
		return nil, &OpError{"listen", address, err}
	}
	l, err := sock.netListener()
	if err != nil {
		sock.close()
		return nil, &OpError{"listen", address, err}
	}
	return &netListener{Listener: l, sock: sock, address: address}, nil
}

// DialNet connects to a Unix socket for those who speak something else there with package net. The
// address is as for Dial: a path of any length, or an abstract name after '@'. A server whose
// backlog is full is waited for until ctx ends. Errors are *OpError.
func DialNet(ctx context.Context, address string) (net.Conn, error) {
	s, err := dialSocket(ctx, address)
	if err != nil {
		return nil, &OpError{"dial", address, err}
	}
	c, err := s.netConn()
	if err != nil {
		return nil, &OpError{"dial", address, err}
	}
	return c, nil
}

// netListener is a listener of package net that knows the name it was given.
type netListener struct {
	net.Listener
	sock    *bound
	address string
	once    sync.Once
}

// Addr is the address that was asked for.
func (l *netListener) Addr() net.Addr { return &net.UnixAddr{Name: l.address, Net: "unix"} }

// Close ends the listener and removes its file. Closing again does nothing.
func (l *netListener) Close() (err error) {
	l.once.Do(func() {
		err = l.Listener.Close()
		l.sock.close()
	})
	return err
}
