package supervisor

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// What the supervisor and its warden say to each other over a stream socket: a length of four
// bytes, with which files may come, and that many bytes of gob.
//
//	supervisor                          warden
//	           <────────────────────── hello
//	launch, 2 or 3 files ────────────>
//	           <─── started, a pidfd | failed
//	signal, adopt ───────────────────>
//	           <─── followed, a pidfd: an adopted one leads
//	           <─ ended: of the leader
//	           <── gone: nothing is left
//	the end of the stream: kill all ─>  ends
type message struct {
	Kind   messageKind
	Run    uint64
	Launch *launchOrder // of launch
	Signal int          // of signal
	PID    int          // of started, followed and adopt
	Text   string       // of failed
	Errno  int          // of failed
	Status uint32       // of ended: as wait(2) gives it
	Rest   bool         // of ended: something is left
}

type messageKind uint8

const (
	msgHello messageKind = iota
	msgLaunch
	msgSignal
	msgAdopt // the process of that pid is the leader when the present one has ended
	msgStarted
	msgFollowed // the leader has ended; the process of that pid is now the leader
	msgFailed
	msgEnded
	msgGone
)

// A launchOrder is what to start. Its files are stdout, stderr and, with Cgroup, the folder of it.
type launchOrder struct {
	Path   string
	Argv   []string
	Env    []string
	Dir    string
	Tag    string // the value of PITHOS_RUN
	Cgroup string // "" is none

	OpenFiles uint64 // RLIMIT_NOFILE; 0 leaves it
}

const (
	maxMessage = 64 << 20
	maxFiles   = 3
)

// writeMessage sends m with files, which stay the caller's.
func writeMessage(conn *net.UnixConn, m message, files ...int) error {
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(m); err != nil {
		return err
	}
	if body.Len() > maxMessage {
		return fmt.Errorf("message of %d bytes, limit %d", body.Len(), maxMessage)
	}
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(body.Len()))
	// Files come with the first byte.
	n, _, err := conn.WriteMsgUnix(head, oob, nil)
	if err == nil && n < len(head) {
		_, err = conn.Write(head[n:])
	}
	if err == nil {
		_, err = conn.Write(body.Bytes())
	}
	return err
}

// readMessage returns the next message and its files, which are then the caller's.
func readMessage(conn *net.UnixConn) (m message, files []int, err error) {
	head, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := conn.ReadMsgUnix(head, oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return m, nil, err
	}
	files = filesIn(oob[:oobn])
	defer func() {
		if err != nil {
			closeAll(files)
		}
	}()
	if _, err = io.ReadFull(conn, head[n:]); err != nil {
		return m, nil, err
	}
	size := binary.BigEndian.Uint32(head)
	if size > maxMessage {
		return m, nil, fmt.Errorf("message of %d bytes, limit %d", size, maxMessage)
	}
	body := make([]byte, size)
	if _, err = io.ReadFull(conn, body); err != nil {
		return m, nil, err
	}
	err = gob.NewDecoder(bytes.NewReader(body)).Decode(&m)
	return m, files, err
}

func filesIn(oob []byte) []int {
	var files []int
	messages, err := unix.ParseSocketControlMessage(oob)
	for _, m := range messages {
		if fds, rightsErr := unix.ParseUnixRights(&m); errors.Join(err, rightsErr) == nil {
			files = append(files, fds...)
		}
	}
	return files
}

func closeAll(files []int) {
	for _, fd := range files {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
