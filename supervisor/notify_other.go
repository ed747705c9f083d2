//go:build !linux

package supervisor

// A notifySocket is none.
type notifySocket struct{ address string }

func listenNotify(func(notice)) (*notifySocket, error) { return nil, errNoNotify }

func (s *notifySocket) close() {}
