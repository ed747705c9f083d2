package bench

import (
	"sync/atomic"
	"unsafe"
)

// word returns the 8 bytes at offset at of shared memory as a word that both processes read and
// write atomically. at is a multiple of 8 inside mem, which is mapped at a page and outlives the
// word.
func word(mem []byte, at int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&mem[at : at+8][0]))
}
