package transport

import (
	"fmt"
	"os"
)

// Credentials say who was at the other end when it connected or, for a server's, when it began to
// listen, by the kernel's word. A pid may have been reused since: it is information, never proof.
// A server behind LISTEN_FDS shows the uid of its activator.
type Credentials struct {
	Known bool // false where the system cannot tell; the rest means nothing then
	UID   uint32
	GID   uint32
	PID   int32
}

// String shows c for logs.
func (c Credentials) String() string {
	if !c.Known {
		return "unknown peer"
	}
	return fmt.Sprintf("uid %d gid %d pid %d", c.UID, c.GID, c.PID)
}

// SameUser accepts peers of this process's effective uid, and root. A uid that the kernel shows
// because it has no number for the real one here (the overflow uid) equals nobody's, its own
// neither. Where the system cannot tell who the peer is, the permissions of the socket's directory
// are all there is, and SameUser accepts.
func SameUser(c Credentials) error {
	if !c.Known {
		return nil
	}
	if c.UID == 0 || c.UID == uint32(os.Geteuid()) && c.UID != overflowUID() {
		return nil
	}
	return fmt.Errorf("%w: %s, want uid %d or root", ErrDenied, c, os.Geteuid())
}

// AnyUser accepts everybody.
func AnyUser(Credentials) error { return nil }
