package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The frames of the baselines: the header of package wire, written again, so that a baseline shares
// no code with what it is compared with.
//
//	 0       1               5                9
//	+-------+---------------+----------------+------...
//	| flags | id (BE)       | length (BE)    | body
//	+-------+---------------+----------------+------...
const headerLen = 9

const (
	flagsCall  = 0x60 // request, native
	flagsReply = 0x20 // native
	flagsError = 0x30 // native, error
)

var (
	errTooLong   = errors.New("bench: body over the limit")
	errNotCall   = errors.New("bench: frame that is neither call nor reply")
	errManyCalls = errors.New("bench: too many calls under way")
	errSmallBuf  = errors.New("bench: reply longer than the buffer")
	errNoWaiter  = errors.New("bench: reply to a call that nobody made")
)

type header struct {
	flags  byte
	id     uint32
	length int
}

// putHeader writes the header over the first headerLen bytes of b.
func putHeader(b []byte, flags byte, id uint32, length int) {
	_ = b[headerLen-1]
	b[0] = flags
	binary.BigEndian.PutUint32(b[1:5], id)
	binary.BigEndian.PutUint32(b[5:9], uint32(length))
}

// parseHeader reads a header and holds its length against limit.
func parseHeader(b []byte, limit int) (header, error) {
	_ = b[headerLen-1]
	h := header{
		flags:  b[0],
		id:     binary.BigEndian.Uint32(b[1:5]),
		length: int(binary.BigEndian.Uint32(b[5:9])),
	}
	if h.length > limit {
		return h, fmt.Errorf("%w: %d bytes of at most %d", errTooLong, h.length, limit)
	}
	return h, nil
}

// appendFrame appends a frame whose body is head and then body.
func appendFrame(dst []byte, flags byte, id uint32, head, body []byte) []byte {
	var h [headerLen]byte
	putHeader(h[:], flags, id, len(head)+len(body))
	return append(append(append(dst, h[:]...), head...), body...)
}
