//go:build !linux

package transport

// Activated returns none: sockets are passed to a process so on Linux only.
func Activated(Options) ([]*Listener, error) { return nil, nil }
