package transport

import (
	"context"
	"errors"
)

func acceptPortable(l *Listener) (acceptor, error) { return nil, errors.ErrUnsupported }

func startPortable(ctx context.Context, c *Conn, s socket, l *Listener) error {
	return errors.ErrUnsupported
}
