package bench

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// attempt writes to a connection of package net what the socket takes at once. It keeps its
// closure, so that a write allocates nothing. It belongs to one goroutine at a time.
type attempt struct {
	conn syscall.RawConn
	call func(fd uintptr) bool
	b    []byte
	n    int
}

func (a *attempt) init(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	a.conn = raw
	a.call = func(fd uintptr) bool {
		if n, err := unix.Write(int(fd), a.b); err == nil {
			a.n = n
		}
		return true // never wait for the descriptor
	}
	return nil
}

// write returns how many bytes of b it wrote. An error writes none: the next real write meets it.
func (a *attempt) write(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	a.b, a.n = b, 0
	_ = a.conn.Write(a.call)
	a.b = nil
	return a.n
}
