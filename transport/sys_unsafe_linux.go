//go:build linux && !portable

package transport

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the hot path. Those that cannot block are raw: they do not tell the
// scheduler, which costs more than the call. The race detector does not see what the kernel reads
// and writes, so in its builds the bytes go through a copy that it does see, and through the calls
// of package unix, which tell it that what was before a write is before the read of its bytes.

// maxVecs is how many pieces one write takes.
const maxVecs = 16

// raceChunk is how many bytes one read or write takes in builds with the race detector.
const raceChunk = 16 << 10

// recv reads what is there into b, without waiting.
func recv(fd int, b []byte) (int, unix.Errno) {
	if raceEnabled {
		var scratch [raceChunk]byte // on the stack: most reads of one that polls find nothing
		n, err := unix.Read(fd, scratch[:min(len(b), raceChunk)])
		if err != nil {
			return 0, errno(err)
		}
		copy(b, scratch[:n])
		return n, 0
	}
	return rawRecv(fd, b)
}

func rawRecv(fd int, b []byte) (int, unix.Errno) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
		if e == 0 {
			return int(n), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// send writes as much of vecs as the socket takes, without waiting and without SIGPIPE. files, when
// there are some, travel with the first byte.
func send(fd int, vecs [][]byte, files []int) (int, unix.Errno) {
	if raceEnabled {
		joined := make([]byte, 0, raceChunk)
		for _, v := range vecs {
			joined = append(joined, v[:min(len(v), raceChunk-len(joined))]...)
		}
		if len(files) == 0 {
			n, err := unix.Write(fd, joined)
			return max(n, 0), errno(err)
		}
		vecs = [][]byte{joined}
	}
	if len(vecs) == 1 && len(files) == 0 {
		return sendOne(fd, vecs[0])
	}
	var iov [maxVecs]unix.Iovec
	n := 0
	for _, v := range vecs {
		if len(v) == 0 {
			continue
		}
		if n == maxVecs {
			break
		}
		iov[n].Base = unsafe.SliceData(v)
		iov[n].SetLen(len(v))
		n++
	}
	var m unix.Msghdr
	m.Iov = &iov[0]
	m.SetIovlen(n)
	if len(files) > 0 {
		rights := unix.UnixRights(files...)
		m.Control = unsafe.SliceData(rights)
		m.SetControllen(len(rights))
	}
	for {
		n, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if e == 0 {
			return int(n), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func sendOne(fd int, b []byte) (int, unix.Errno) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if e == 0 {
			return int(n), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// recvFiles is recv for connections on which descriptors may travel: those that came with the bytes
// are appended to files. EPROTO says that some of them were cut off.
func recvFiles(fd int, b []byte, files []*os.File) (int, []*os.File, unix.Errno) {
	oob := make([]byte, unix.CmsgSpace(4*scmMaxFD))
	n, oobn, flags, _, err := unix.Recvmsg(fd, b, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, oobn, flags, _, err = unix.Recvmsg(fd, b, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return 0, files, errno(err)
	}
	if oobn > 0 {
		files = appendRights(files, oob[:oobn])
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return n, files, unix.EPROTO
	}
	return n, files, 0
}

// scmMaxFD is the most descriptors that Linux sends with one message.
const scmMaxFD = 253

func appendRights(files []*os.File, oob []byte) []*os.File {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return files
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files
}

func errno(err error) unix.Errno {
	if err == nil {
		return 0
	}
	if e, ok := err.(unix.Errno); ok {
		return e
	}
	return unix.EIO
}

// notify adds one to an eventfd.
func notify(fd int) {
	one := uint64(1)
	unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8)
}

// epollPoll takes the events that are there, without waiting.
func epollPoll(ep int, events []unix.EpollEvent) int {
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// waitSocket blocks until fd has what events ask for, or the time is over. It reports false then.
func waitSocket(fd int, events int16, d time.Duration) bool {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	ts := unix.NsecToTimespec(int64(d))
	n, _, _ := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1,
		uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	return int(n) == 1
}

// processor is one more than the number of the processor that the caller runs on; 0 where the
// kernel does not tell.
func processor() uint32 {
	var cpu uint32
	_, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	if e != 0 {
		return 0
	}
	return cpu + 1
}
