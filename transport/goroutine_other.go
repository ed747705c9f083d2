//go:build !amd64 && !arm64

package transport

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutineID returns a number that no other goroutine has as long as the calling one runs: the one
// that stack traces show. Slow; the other platforms have a few instructions for it.
func goroutineID() uintptr {
	var b [64]byte
	s := bytes.TrimPrefix(b[:runtime.Stack(b[:], false)], []byte("goroutine "))
	s, _, _ = bytes.Cut(s, []byte(" "))
	n, _ := strconv.ParseUint(string(s), 10, 64)
	return uintptr(n)
}
