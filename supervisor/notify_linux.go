package supervisor

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxNotice   = 4 << 10 // bytes of a message; what is longer is cut
	maxNoticeFd = 16
)

// A notifySocket takes the messages that the processes of one run send by sd_notify(3). It is an
// abstract socket with an address that nobody else is told. Anybody could send to it; so only what
// comes with the credentials of our own user or of root counts.
type notifySocket struct {
	address string
	conn    *net.UnixConn
}

// listenNotify calls got for each message, until close.
func listenNotify(got func(notice)) (*notifySocket, error) {
	address := "@pithos/notify/" + strings.ToLower(rand.Text())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: address})
	if err != nil {
		return nil, err
	}
	s := &notifySocket{address: address, conn: conn}
	var failed error
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		})
	}
	if err = errors.Join(err, failed); err != nil {
		conn.Close()
		return nil, fmt.Errorf("SO_PASSCRED: %w", err)
	}
	go s.read(got) // until close
	return s, nil
}

func (s *notifySocket) read(got func(notice)) {
	buf := make([]byte, maxNotice)
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxNoticeFd))
	for {
		n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		if n > 0 && trusted(oob[:oobn]) {
			got(parseNotice(string(buf[:n])))
		}
	}
}

// trusted says whether a message came from our user or from root. Files that came with it are
// closed, which is what BARRIER=1 waits for.
func trusted(oob []byte) bool {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	ok := false
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
		if cred, err := unix.ParseUnixCredentials(&m); err == nil {
			ok = cred.Uid == 0 || int(cred.Uid) == os.Geteuid()
		}
	}
	return ok
}

// close does not wait for the reader, which may wait for the loop.
func (s *notifySocket) close() {
	if s != nil {
		s.conn.Close()
	}
}
