package transport

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// overflowUID is what the kernel shows for uids that have no number in this user namespace.
func overflowUID() uint32 {
	b, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return 65534
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 65534
	}
	return uint32(n)
}

// credentialsOf asks the kernel who is at the other end of fd.
func credentialsOf(fd int) (Credentials, error) {
	u, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Credentials{}, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	return Credentials{Known: true, UID: u.Uid, GID: u.Gid, PID: u.Pid}, nil
}
