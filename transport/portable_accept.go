package transport

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// portableAcceptor takes connections with one goroutine.
type portableAcceptor struct {
	l    *Listener
	nl   net.Listener
	quit chan struct{}
	wg   sync.WaitGroup
}

func acceptPortable(l *Listener) (acceptor, error) {
	nl, err := l.sock.netListener()
	if err != nil {
		return nil, err
	}
	a := &portableAcceptor{l: l, nl: nl, quit: make(chan struct{})}
	a.wg.Go(a.loop)
	return a, nil
}

func (a *portableAcceptor) stop() {
	close(a.quit)
	_ = a.nl.Close()
	a.wg.Wait()
}

// ready has nothing to do: the goroutine takes connections as they come.
func (a *portableAcceptor) ready() {}

// loop accepts until stop. Without descriptors or memory it tries again a little later.
func (a *portableAcceptor) loop() {
	for pause := time.Millisecond; ; {
		nc, err := a.nl.Accept()
		if err == nil {
			pause = time.Millisecond
			a.take(nc.(*net.UnixConn))
			continue
		}
		select {
		case <-a.quit:
			return
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		}
	}
}

// take admits one connection and starts it, or refuses it.
func (a *portableAcceptor) take(nc *net.UnixConn) {
	peer, err := connCredentials(nc)
	if err != nil {
		_ = nc.Close()
		return
	}
	s := a.l.set
	if n := s.Socket.SendBuffer; n > 0 {
		_ = nc.SetWriteBuffer(n)
	}
	if n := s.Socket.ReceiveBuffer; n > 0 {
		_ = nc.SetReadBuffer(n)
	}
	c := newConn(s, peer, a.l.group)
	e := newPortable(c, nc, a.l)
	if err := a.l.admit(c); err != nil {
		c.cancel(err)
		if s.Foreign == nil {
			e.farewell(refusalCode(err), err.Error())
		}
		_ = nc.Close()
		return
	}
	e.begin()
}

// refusalCode is what a peer is told that is not let in.
func refusalCode(err error) wire.Code {
	var limit *LimitError
	switch {
	case errors.As(err, &limit):
		return wire.CodeOverloaded
	case errors.Is(err, ErrClosed):
		return wire.CodeDraining
	}
	return wire.CodeDenied
}
