package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxSunPath is the longest path that fits into a socket address, in bytes.
const maxSunPath = 107

// socket is a connected Unix stream socket, close-on-exec and non-blocking. It has one owner.
type socket struct {
	fd int
}

func (s socket) close() { unix.Close(s.fd) }

func (s socket) credentials() (Credentials, error) { return credentialsOf(s.fd) }

// apply sets the options that are not zero.
func (s socket) apply(o SocketOptions) error {
	for _, opt := range [...]struct {
		name     int
		value    int
		constant string
	}{{unix.SO_SNDBUF, o.SendBuffer, "SO_SNDBUF"}, {unix.SO_RCVBUF, o.ReceiveBuffer, "SO_RCVBUF"}} {
		if opt.value <= 0 {
			continue
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, opt.name, opt.value); err != nil {
			return os.NewSyscallError("setsockopt "+opt.constant, err)
		}
	}
	return nil
}

// netConn hands the socket over to package net.
func (s socket) netConn() (*net.UnixConn, error) {
	f := os.NewFile(uintptr(s.fd), "unix")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// dialSocket connects to address within ctx. A server whose backlog is full is asked again.
func dialSocket(ctx context.Context, address string) (socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return socket{}, os.NewSyscallError("socket", err)
	}
	err = connect(ctx, fd, address)
	if err != nil {
		unix.Close(fd)
		return socket{}, err
	}
	return socket{fd}, nil
}

func connect(ctx context.Context, fd int, address string) error {
	name, done, err := addressName(address)
	if err != nil {
		return err
	}
	defer done()
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: name})
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EAGAIN: // the backlog is full
		default:
			return os.NewSyscallError("connect", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// addressName is the name under which the socket of address is reached: the address itself or, for
// a path that is too long, its folder's descriptor and its last element. done releases that.
func addressName(address string) (name string, done func(), err error) {
	if address == "" || address == "@" {
		return "", nil, fmt.Errorf("empty address: %w", unix.EINVAL)
	}
	if len(address) <= maxSunPath {
		return address, func() {}, nil
	}
	if address[0] == '@' {
		return "", nil, &LimitError{What: "bytes of an abstract address",
			Value: int64(len(address)), Limit: maxSunPath}
	}
	dir, err := openDir(filepath.Dir(address))
	if err != nil {
		return "", nil, err
	}
	name = procName(dir, filepath.Base(address))
	if len(name) > maxSunPath {
		unix.Close(dir)
		return "", nil, &LimitError{What: "bytes of a socket's file name",
			Value: int64(len(filepath.Base(address))),
			Limit: int64(maxSunPath - len(procName(dir, "")))}
	}
	return name, func() { unix.Close(dir) }, nil
}

func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// procName reaches name in the folder that dir is open on, however long its path is.
func procName(dir int, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name
}

// bound is a listening socket, with the file and the lock that go with it.
type bound struct {
	fd     int
	dir    int    // folder of the file, or -1
	lock   int    // held lock file, or -1
	name   string // of the file in dir
	ino    uint64 // of the file, so that a stranger's is never removed
	closed bool
}

// close closes the socket, removes its file and gives the lock up. Called once by its owner.
func (b *bound) close() {
	if b.closed {
		return
	}
	b.closed = true
	if b.dir >= 0 {
		var st unix.Stat_t
		err := unix.Fstatat(b.dir, b.name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Ino == b.ino {
			unix.Unlinkat(b.dir, b.name, 0)
		}
		unix.Close(b.dir)
	}
	unix.Close(b.fd)
	if b.lock >= 0 {
		unix.Close(b.lock)
	}
}

// netListener returns a listener of package net on the same socket.
func (b *bound) netListener() (net.Listener, error) {
	fd, err := unix.FcntlInt(uintptr(b.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	f := os.NewFile(uintptr(fd), "unix")
	defer f.Close()
	l, err := net.FileListener(f)
	if err == nil {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
	}
	return l, err
}

// bindSocket makes a listening socket at address.
func bindSocket(address string, o SocketOptions) (*bound, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	b := &bound{fd: fd, dir: -1, lock: -1}
	if address != "" && address[0] == '@' {
		err = b.bindAbstract(address, o)
	} else {
		err = b.bindPath(address, o)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bound) bindAbstract(address string, o SocketOptions) error {
	name, _, err := addressName(address)
	if err != nil {
		return err
	}
	if err := unix.Bind(b.fd, &unix.SockaddrUnix{Name: name}); err != nil {
		if err == unix.EADDRINUSE {
			return ErrInUse
		}
		return os.NewSyscallError("bind", err)
	}
	return b.listen(o)
}

func (b *bound) listen(o SocketOptions) error {
	n := o.Backlog
	if n <= 0 {
		n = 1024
	}
	return os.NewSyscallError("listen", unix.Listen(b.fd, n))
}

// bindPath binds under a private name and renames the file into place, so that the socket is never
// there with other permissions than its own, nor before it listens. With SocketOptions.Named it
// binds the name itself, which is refused to whoever connects before it listens.
func (b *bound) bindPath(path string, o SocketOptions) error {
	name := filepath.Base(path)
	if path == "" || name == "." || name == ".." || name == "/" {
		return fmt.Errorf("no file name in %q: %w", path, unix.EINVAL)
	}
	dir, err := openDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	private := fmt.Sprintf(".%08x.%d", rand.Uint32(), os.Getpid())
	if err := b.claim(dir, name); err != nil {
		unix.Close(dir)
		return err
	}
	shown := procName(dir, private)
	if o.Named && len(path) <= maxSunPath {
		private, shown = name, path
		_ = unix.Unlinkat(dir, name, 0) // a stale one; if it stays, bind says so
	}
	if err := unix.Bind(b.fd, &unix.SockaddrUnix{Name: shown}); err != nil {
		unix.Close(dir)
		return os.NewSyscallError("bind", err)
	}
	b.dir, b.name = dir, private
	var st unix.Stat_t
	if err := unix.Fstatat(dir, private, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	b.ino = st.Ino
	if err := unix.Fchmodat(dir, private, 0o600, 0); err != nil {
		return os.NewSyscallError("fchmodat", err)
	}
	if err := b.listen(o); err != nil {
		return err
	}
	if private == name {
		return nil
	}
	if err := unix.Renameat(dir, private, dir, name); err != nil {
		return os.NewSyscallError("renameat", err)
	}
	b.name = name
	return nil
}

// claim takes the lock of a name and makes sure that nobody lives there.
func (b *bound) claim(dir int, name string) error {
	lock, err := unix.Openat(dir, name+".lock",
		unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return &fs.PathError{Op: "open", Path: name + ".lock", Err: err}
	}
	b.lock = lock
	if err := unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if err == unix.EWOULDBLOCK {
			return ErrInUse
		}
		return os.NewSyscallError("flock", err)
	}
	var st unix.Stat_t
	err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return &fs.PathError{Op: "bind", Path: name, Err: errors.New("exists and is not a socket")}
	}
	return probe(procName(dir, name))
}

// probe gives ErrInUse when somebody listens on the socket file at name. Only a refused connect is
// proof that nobody does.
func probe(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err {
	case unix.ECONNREFUSED, unix.ENOENT:
		return nil
	case nil, unix.EAGAIN:
		return ErrInUse
	default:
		return os.NewSyscallError("connect", err)
	}
}

// duplicate returns a close-on-exec, non-blocking copy of f's descriptor after a check of its kind.
func duplicate(f *os.File, listening int) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	check := func(s uintptr) {
		var v int
		if v, err = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
			err = os.NewSyscallError("getsockopt SO_DOMAIN", err)
			return
		}
		t, _ := unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_TYPE)
		a, _ := unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if v != unix.AF_UNIX || t != unix.SOCK_STREAM || a != listening {
			err = fmt.Errorf("want a Unix stream socket with SO_ACCEPTCONN %d, got domain %d, "+
				"type %d, SO_ACCEPTCONN %d", listening, v, t, a)
			return
		}
		if fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			err = os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
			return
		}
		err = os.NewSyscallError("fcntl O_NONBLOCK", unix.SetNonblock(fd, true))
	}
	if cerr := raw.Control(check); cerr != nil {
		return -1, cerr
	}
	if err != nil && fd >= 0 {
		unix.Close(fd)
	}
	return fd, err
}

func adoptListener(f *os.File) (*bound, error) {
	fd, err := duplicate(f, 1)
	if err != nil {
		return nil, err
	}
	return &bound{fd: fd, dir: -1, lock: -1}, nil
}

func adoptConn(f *os.File) (socket, error) {
	fd, err := duplicate(f, 0)
	return socket{fd}, err
}
