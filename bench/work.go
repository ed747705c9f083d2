package bench

import (
	"encoding/binary"
	"errors"
	"slices"
)

// The work of a call, the same in every row: the caller writes every byte of the body, the handler
// reads every byte of it and writes every byte of a reply of the same length, and the caller reads
// every byte of that. So no row can win by moving bytes that nobody touches.
//
//	body   word i = seed + i        (64-bit little-endian words, wrapping)
//	s      = sum of the body's words
//	reply  word i = s + i
//
// Bodies are a multiple of 8 bytes long.

// errWrongReply reports a reply that is not the answer to its body.
var errWrongReply = errors.New("bench: the reply does not fit its body")

// fill writes seed, seed+1, ... over the words of b.
func fill(b []byte, seed uint64) {
	for ; len(b) >= 32; b = b[32:] {
		binary.LittleEndian.PutUint64(b[0:8], seed)
		binary.LittleEndian.PutUint64(b[8:16], seed+1)
		binary.LittleEndian.PutUint64(b[16:24], seed+2)
		binary.LittleEndian.PutUint64(b[24:32], seed+3)
		seed += 4
	}
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, seed)
		seed++
	}
}

// sum adds the words of b; four sums, so that the additions do not wait for each other.
func sum(b []byte) uint64 {
	var s0, s1, s2, s3 uint64
	for ; len(b) >= 32; b = b[32:] {
		s0 += binary.LittleEndian.Uint64(b[0:8])
		s1 += binary.LittleEndian.Uint64(b[8:16])
		s2 += binary.LittleEndian.Uint64(b[16:24])
		s3 += binary.LittleEndian.Uint64(b[24:32])
	}
	for ; len(b) >= 8; b = b[8:] {
		s0 += binary.LittleEndian.Uint64(b)
	}
	return s0 + s1 + s2 + s3
}

// sumOf returns what sum gives for n bytes that fill wrote with seed.
func sumOf(n int, seed uint64) uint64 {
	words := uint64(n / 8)
	return words*seed + words*(words-1)/2
}

// answer is the handler of every row: it appends the reply for body to dst and returns dst. It
// keeps neither, and allocates only when dst is too small.
func answer(body, dst []byte) []byte {
	at := len(dst)
	dst = slices.Grow(dst, len(body))[:at+len(body)]
	fill(dst[at:], sum(body))
	return dst
}

// check reports whether reply is the answer to the body of n bytes that fill wrote with seed.
func check(reply []byte, n int, seed uint64) error {
	if len(reply) != n || sum(reply) != sumOf(n, sumOf(n, seed)) {
		return errWrongReply
	}
	return nil
}
