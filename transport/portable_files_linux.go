package transport

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// canPassFiles says that descriptors can travel here.
const canPassFiles = true

// filesSpace is the room that n descriptors need beside the bytes of a message.
func filesSpace(n int) int { return unix.CmsgSpace(4 * n) }

// readFiles reads once, with the descriptors that come along, close-on-exec.
func readFiles(nc *net.UnixConn, p, oob []byte) (int, []*os.File, error) {
	n, m, flags, _, err := nc.ReadMsgUnix(p, oob)
	if m == 0 && flags&unix.MSG_CTRUNC == 0 {
		return n, nil, err
	}
	var files []*os.File
	messages, perr := unix.ParseSocketControlMessage(oob[:m])
	for _, c := range messages {
		if c.Header.Level != unix.SOL_SOCKET || c.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, rerr := unix.ParseUnixRights(&c)
		if rerr != nil {
			perr = rerr
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	if flags&unix.MSG_CTRUNC != 0 {
		perr = &LimitError{What: "descriptors with one frame (cut by the kernel)",
			Value: int64(len(files)) + 1, Limit: int64(len(files))}
	}
	if perr != nil {
		closeFiles(files)
		return 0, nil, &ProtocolError{fmt.Errorf("receive descriptors: %w", perr)}
	}
	return n, files, err
}

// copyFiles returns close-on-exec copies of the descriptors, for the time until they are sent.
func copyFiles(files []File) ([]int, error) {
	fds := make([]int, 0, len(files))
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			closeCopies(fds)
			return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
		}
		fds = append(fds, fd)
	}
	runtime.KeepAlive(files)
	return fds, nil
}

func closeCopies(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// writeFiles writes p as a message of its own with the descriptors on its first byte.
func writeFiles(nc *net.UnixConn, p []byte, fds []int) error {
	n, _, err := nc.WriteMsgUnix(p, unix.UnixRights(fds...), nil)
	if err != nil || n == len(p) {
		return err
	}
	_, err = nc.Write(p[n:])
	return err
}

// connCredentials asks the kernel who is at the other end of nc.
func connCredentials(nc *net.UnixConn) (Credentials, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return Credentials{}, err
	}
	var peer Credentials
	cerr := raw.Control(func(fd uintptr) { peer, err = credentialsOf(int(fd)) })
	if cerr != nil {
		return Credentials{}, cerr
	}
	return peer, err
}
