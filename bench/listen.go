package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// session is the server's end of a connection.
type session interface {
	io.Closer // ends serve; may be called before, during and after it
	serve()   // answers calls until the connection has ended
}

// server accepts connections for a baseline, and serves each in a goroutine, until Close.
type server struct {
	listener *net.UnixListener
	wait     sync.WaitGroup

	mu       sync.Mutex
	sessions map[session]struct{} // guarded by mu; nil after Close
}

// listen starts a server. start makes a session of a connection; nil refuses it.
func listen(path string, start func(*net.UnixConn) session) (*server, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	s := &server{listener: l, sessions: make(map[session]struct{})}
	s.wait.Go(func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			if c := start(conn); c != nil {
				s.keep(c)
			}
		}
	})
	return s, nil
}

// keep serves c and remembers it as long as it lasts.
func (s *server) keep(c session) {
	s.wait.Go(func() {
		c.serve()
		s.mu.Lock()
		delete(s.sessions, c)
		s.mu.Unlock()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions == nil {
		_ = c.Close()
		return
	}
	s.sessions[c] = struct{}{}
}

// Close ends the listener and every session, and waits for them.
func (s *server) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.sessions {
		err = errors.Join(err, c.Close())
	}
	s.sessions = nil
	s.mu.Unlock()
	s.wait.Wait()
	return err
}

func dial(path string) (*net.UnixConn, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return conn, nil
}
