//go:build amd64 || arm64

package transport

// goroutineID returns a number that no other goroutine has as long as the calling one runs: the
// address of what the runtime keeps about it, which does not move. A loop remembers its own, so
// that a call from one of its handlers or callbacks is recognised.
func goroutineID() uintptr
