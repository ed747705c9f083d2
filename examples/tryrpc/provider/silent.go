package main

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// patience is how long a new connection may take to send its first request when the server is about
// to end.
const patience = 500 * time.Millisecond

// silent are the connections that have not sent anything yet. Clients open some in reserve, and
// Shutdown would wait 5 s for them.
type silent struct {
	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu
}

// track is for http.Server.ConnState.
func (s *silent) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.conns[c] = true
	} else {
		delete(s.conns, c)
	}
}

// close closes them.
func (s *silent) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}
