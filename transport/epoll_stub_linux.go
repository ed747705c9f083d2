//go:build linux && !portable

package transport

import "context"

type loops struct{}

func (l *loops) start(int) error { return nil }
func (l *loops) stop() error     { return nil }

func acceptEpoll(l *Listener) (acceptor, error) { return acceptPortable(l) }
func startEpoll(ctx context.Context, c *Conn, s socket, l *Listener) error {
	return startPortable(ctx, c, s, l)
}
