package wire

import "encoding/binary"

// HeaderSize is the length of a frame's header in bytes.
const HeaderSize = 9

// PartSize is how much of a body, in bytes, a sender puts into one native frame. Longer bodies
// travel in parts, so that other frames can go between them.
const PartSize = 256 << 10

// DefaultMaxBody is the largest body, in bytes, that a peer accepts when nothing else was agreed.
const DefaultMaxBody = 16 << 20

// Flags is the first byte of a header.
//
//	0x80    0x40    0x20    0x10    0x08    0x04    0x02  0x01
//	oneway  request native  error   control part    zero  zero
type Flags uint8

// The bits of Flags.
const (
	Oneway  Flags = 0x80 // no reply will come
	Request Flags = 0x40 // a reply is expected
	Native  Flags = 0x20 // the body is native, not Pandora's JSON
	Error   Flags = 0x10 // the reply carries a code and a text
	Control Flags = 0x08 // hello, ping, pong, cancel, credit, drain, lane offer and accept
	Part    Flags = 0x04 // more of this body follows
)

// The legal combinations of native flags; the first four also with Part.
const (
	FlagsCall    = Native | Request // 0x60
	FlagsOneway  = Native | Oneway  // 0xA0
	FlagsReply   = Native           // 0x20
	FlagsError   = Native | Error   // 0x30
	FlagsControl = Native | Control // 0x28
)

// Check says whether f is a legal combination on a native connection; if not, the error is a
// FlagsViolation.
func (f Flags) Check() error {
	switch f &^ Part {
	case FlagsCall, FlagsOneway, FlagsReply, FlagsError:
		return nil
	case FlagsControl:
		if f&Part == 0 {
			return nil
		}
	}
	return FlagsViolation(f)
}

// Header is the fixed start of every frame.
type Header struct {
	Flags  Flags
	ID     uint32
	Length uint32 // of the body, in bytes
}

// ParseHeader reads a header from the start of b. It reports false when b is shorter than
// HeaderSize; nothing else can go wrong here.
func ParseHeader(b []byte) (Header, bool) {
	if len(b) < HeaderSize {
		return Header{}, false
	}
	return Header{
		Flags:  Flags(b[0]),
		ID:     binary.BigEndian.Uint32(b[1:5]),
		Length: binary.BigEndian.Uint32(b[5:9]),
	}, true
}

// AppendTo appends the HeaderSize bytes of h to dst.
func (h Header) AppendTo(dst []byte) []byte {
	dst = append(dst, byte(h.Flags))
	dst = binary.BigEndian.AppendUint32(dst, h.ID)
	return binary.BigEndian.AppendUint32(dst, h.Length)
}

// Put writes h over the first HeaderSize bytes of b, which must have them.
func (h Header) Put(b []byte) {
	_ = b[HeaderSize-1]
	b[0] = byte(h.Flags)
	binary.BigEndian.PutUint32(b[1:5], h.ID)
	binary.BigEndian.PutUint32(b[5:9], h.Length)
}

// Frame is a header and its whole body. Body aliases the bytes that were parsed.
type Frame struct {
	Header
	Body []byte
}

// ParseFrame reads one frame from the start of b and says how many bytes it took. It takes 0 bytes
// without an error when the frame is not all there yet. A length over maxBody is a LimitError, as
// soon as the header is there. The flags are not judged: they mean something on a native connection
// only (Flags.Check).
func ParseFrame(b []byte, maxBody uint32) (Frame, int, error) {
	h, ok := ParseHeader(b)
	if !ok {
		return Frame{}, 0, nil
	}
	if h.Length > maxBody {
		return Frame{}, 0, &LimitError{What: "body bytes", Value: uint64(h.Length),
			Limit: uint64(maxBody)}
	}
	if uint64(len(b)-HeaderSize) < uint64(h.Length) {
		return Frame{}, 0, nil
	}
	n := HeaderSize + int(h.Length)
	return Frame{Header: h, Body: b[HeaderSize:n:n]}, n, nil
}

// AppendTo appends f to dst. Length is taken from Body.
func (f Frame) AppendTo(dst []byte) []byte {
	f.Length = uint32(len(f.Body))
	return append(f.Header.AppendTo(dst), f.Body...)
}
