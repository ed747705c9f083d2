package wire

import (
	"encoding/binary"
	"errors"
)

// TapMagic is how a file of tap records begins; its last byte is the version of the format.
const TapMagic = "PITHTAP\x01"

// MaxTapRecord is the longest tap record in bytes, without its length.
const MaxTapRecord = 1 << 20

// MaxTapName is the longest name of a peer or an object in a tap record, in bytes.
const MaxTapName = 4096

// ErrCut says that bytes end inside what they should hold whole.
var ErrCut = errors.New("wire: it ends there")

// The numbers of the fields of a tap record.
//
//	number  name    kind   meaning
//	1       time    uint   when the frame was read, in ns since 1970-01-01 UTC
//	2       kind    uint   see TapKind
//	3       id      uint   of the frame as it came
//	4       size    uint   of its payload in bytes
//	5       from    bytes  name of the peer that it came from; absent: the hub itself
//	6       to      bytes  name of the peer that it went to; absent: none, or many
//	7       object  bytes  that it is about
//	8       method  bytes  that it calls, or what was asked of the hub
//	9       took    uint   on a reply or an error: ns since its call was read
//	10      sent    uint   id of the frame as it left
//	11      copies  uint   how many peers it went to
//	12      code    uint   on an error: what went wrong
//	13      lost    uint   frames before this one that were not recorded
//	14      body    bytes  the start of the payload
const (
	tapTime = iota + 1
	tapKind
	tapID
	tapSize
	tapFrom
	tapTo
	tapObject
	tapMethod
	tapTook
	tapSent
	tapCopies
	tapCode
	tapLost
	tapBody
)

// TapKind says what kind of frame a tap record is about.
type TapKind uint8

// The kinds of frames that a hub passes on, and those that it handles itself.
const (
	TapNote    TapKind = 0 // no frame: only Lost counts
	TapCall    TapKind = 1
	TapReply   TapKind = 2
	TapError   TapKind = 3
	TapOneway  TapKind = 4
	TapControl TapKind = 5 // what the hub itself was asked: online, publish, ...
)

var tapKindNames = [...]string{"note", "call", "reply", "error", "oneway", "control"}

// String is the name of k in words.
func (k TapKind) String() string {
	if int(k) < len(tapKindNames) {
		return tapKindNames[k]
	}
	return "unknown"
}

// ParseTapKind is the kind that String names.
func ParseTapKind(name string) (TapKind, bool) {
	for i, n := range tapKindNames {
		if n == name {
			return TapKind(i), true
		}
	}
	return 0, false
}

// TapRecord is one frame as a tap of a hub has seen it. When parsed, its byte slices alias the
// input.
type TapRecord struct {
	Time   uint64 // ns since 1970-01-01 UTC
	Kind   TapKind
	ID     uint32 // as it came
	Size   uint64 // of the payload in bytes
	From   []byte
	To     []byte
	Object []byte
	Method []byte
	Took   uint64 // ns
	Sent   uint32 // id as it left
	Copies uint32
	Code   Code
	Lost   uint64
	Body   []byte // the start of the payload
}

// AppendTo appends the record: the length of what follows, big-endian, and the fields that are not
// zero. Names must be within MaxTapName, and all of it within MaxTapRecord.
//
//	+----------------+------------+
//	| length, uint32 | fields ... |
//	+----------------+------------+
func (r *TapRecord) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendNumber(dst, tapTime, r.Time)
	dst = appendNumber(dst, tapKind, uint64(r.Kind))
	dst = appendNumber(dst, tapID, uint64(r.ID))
	dst = appendNumber(dst, tapSize, r.Size)
	dst = appendText(dst, tapFrom, r.From)
	dst = appendText(dst, tapTo, r.To)
	dst = appendText(dst, tapObject, r.Object)
	dst = appendText(dst, tapMethod, r.Method)
	dst = appendNumber(dst, tapTook, r.Took)
	dst = appendNumber(dst, tapSent, uint64(r.Sent))
	dst = appendNumber(dst, tapCopies, uint64(r.Copies))
	dst = appendNumber(dst, tapCode, uint64(r.Code))
	dst = appendNumber(dst, tapLost, r.Lost)
	dst = appendText(dst, tapBody, r.Body)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// ParseTapRecord reads the record at the start of b and returns it with the number of its bytes. It
// gives ErrCut when b ends inside it.
func ParseTapRecord(b []byte) (TapRecord, int, error) {
	if len(b) < 4 {
		return TapRecord{}, 0, ErrCut
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if n > MaxTapRecord {
		return TapRecord{}, 0, &LimitError{What: "tap record bytes", Value: n,
			Limit: MaxTapRecord}
	}
	if uint64(len(b)-4) < n {
		return TapRecord{}, 0, ErrCut
	}
	end := 4 + int(n)
	var r TapRecord
	if err := r.parse(b[4:end], 4); err != nil {
		return TapRecord{}, 0, err
	}
	return r, end, nil
}

// parse sets r from the fields in b, which begins off bytes into the record. A number that is not
// known changes nothing.
func (r *TapRecord) parse(b []byte, off int) error {
	s := fields{rest: b, off: off}
	for s.next() {
		switch s.field.Number {
		case tapTime:
			r.Time = s.uint("time", maxUint64)
		case tapKind:
			r.Kind = TapKind(s.uint("kind", maxUint8))
		case tapID:
			r.ID = uint32(s.uint("id", maxUint32))
		case tapSize:
			r.Size = s.uint("size", maxUint64)
		case tapFrom:
			r.From = s.bytes("from bytes", MaxTapName)
		case tapTo:
			r.To = s.bytes("to bytes", MaxTapName)
		case tapObject:
			r.Object = s.bytes("object bytes", MaxTapName)
		case tapMethod:
			r.Method = s.bytes("method bytes", MaxTapName)
		case tapTook:
			r.Took = s.uint("took", maxUint64)
		case tapSent:
			r.Sent = uint32(s.uint("sent", maxUint32))
		case tapCopies:
			r.Copies = uint32(s.uint("copies", maxUint32))
		case tapCode:
			r.Code = Code(s.uint("code", maxUint32))
		case tapLost:
			r.Lost = s.uint("lost", maxUint64)
		case tapBody:
			r.Body = s.bytes("body bytes", MaxTapRecord)
		}
	}
	return s.err
}
