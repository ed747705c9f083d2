package bench

import (
	"io"
	"net"
)

func servePlain(s Setup) (io.Closer, error) {
	return listen(s.Path, func(conn *net.UnixConn) session {
		m, err := newMux(conn, s, answer)
		if err != nil {
			return nil
		}
		return m
	})
}

func dialPlain(s Setup) (Conn, error) {
	conn, err := dial(s.Path)
	if err != nil {
		return nil, err
	}
	m, err := newMux(conn, s, nil)
	if err != nil {
		return nil, err
	}
	go m.serve()
	return m, nil
}
