//go:build linux && !portable

package transport

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// acceptsPerTurn bounds how many connections a loop takes before it looks after the others.
const acceptsPerTurn = 64

// epollAcceptor takes connections from a listening socket, on the first loop of the group.
type epollAcceptor struct {
	l     *Listener
	loop  *loop
	fd    int
	index uint32

	mu      sync.Mutex // held while connections are taken
	over    bool       // no more are, guarded by mu
	once    sync.Once
	stopped chan struct{} // closed by the loop when it takes no more
	started chan error
}

func acceptEpoll(l *Listener) (acceptor, error) {
	a := &epollAcceptor{l: l, loop: l.group.loops.all[0], fd: l.sock.fd,
		stopped: make(chan struct{}), started: make(chan error, 1)}
	a.loop.call(func() { a.started <- a.start() })
	if err := <-a.started; err != nil {
		return nil, err
	}
	return a, nil
}

func (a *epollAcceptor) start() error {
	index, key := a.loop.claim(nil, a)
	a.index = index
	ev := unix.EpollEvent{Events: unix.EPOLLIN}
	setKey(&ev, key)
	err := unix.EpollCtl(a.loop.ep, unix.EPOLL_CTL_ADD, a.fd, &ev)
	if err != nil {
		a.loop.vacate(index)
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// ready takes what waits. The loop calls it, and who wants nobody to be left waiting.
func (a *epollAcceptor) ready() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	for range acceptsPerTurn {
		// Not unix.Accept4, which allocates for an address that nobody asks for: the hub comes by
		// for each broadcast.
		fd, _, e := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(a.fd), 0, 0,
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch e {
		case 0:
			a.welcome(socket{int(fd)})
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			a.l.refused.Add(1)
			return // asked again at the next turn; those who connect wait in the backlog
		default:
			return
		}
	}
}

func (a *epollAcceptor) welcome(s socket) {
	l := a.l
	peer, err := s.credentials()
	if err == nil {
		err = s.apply(l.set.Socket)
	}
	if err != nil {
		l.refused.Add(1)
		s.close()
		return
	}
	c := newConn(l.set, peer, l.group)
	e := newEpoll(c, s, l)
	if err := l.admit(c); err != nil {
		c.cancel(err)
		if l.set.Foreign == nil {
			farewell(s, refusalCode(err), err.Error())
		}
		s.close()
		return
	}
	e.begin()
}

// stop takes no more connections; it waits until that is so.
func (a *epollAcceptor) stop() {
	a.once.Do(func() {
		a.loop.call(func() {
			unix.EpollCtl(a.loop.ep, unix.EPOLL_CTL_DEL, a.fd, nil)
			a.loop.vacate(a.index)
			a.mu.Lock()
			a.over = true
			a.mu.Unlock()
			close(a.stopped)
		})
	})
	select {
	case <-a.stopped:
	case <-a.loop.gone: // the group was closed first
		a.mu.Lock()
		a.over = true
		a.mu.Unlock()
	}
}

// farewell tells a peer that is not let in why, as far as the socket takes it at once.
func farewell(s socket, code wire.Code, text string) {
	m := wire.Meta{Code: code}
	h := wire.Header{Flags: wire.FlagsError, Length: uint32(m.Size() + len(text))}
	_, _ = send(s.fd, [][]byte{append(m.AppendTo(h.AppendTo(nil)), text...)}, nil)
}
