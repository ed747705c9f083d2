package wire

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// What a KindUint is checked against where the protocol sets no limit of its own.
const (
	maxUint8  = math.MaxUint8
	maxUint32 = math.MaxUint32
	maxUint64 = math.MaxUint64
)

// Kind says how the value of a field is written.
type Kind uint8

// The two kinds of fields.
const (
	KindUint  Kind = 0 // a uvarint
	KindBytes Kind = 1 // a uvarint that counts the bytes which follow
)

// MaxFieldNumber is the largest number a field can have.
const MaxFieldNumber = 1 << 20

// Field is one field as parsed. Bytes aliases the input.
type Field struct {
	Number uint32
	Kind   Kind
	Uint   uint64 // KindUint
	Bytes  []byte // KindBytes
}

// ParseUvarint reads a uvarint from the start of b and returns it with the number of its bytes.
// The number is 0 when b ends inside it, and negative when it is over 64 bits or longer than it
// needs to be (a value has one encoding only).
func ParseUvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return parseUvarintSlow(b)
}

// parseUvarintSlow is ParseUvarint for more than one byte, or none; apart, so that the other is
// inlined.
func parseUvarintSlow(b []byte) (uint64, int) {
	v, n := binary.Uvarint(b)
	if n > 1 && b[n-1] == 0 {
		return 0, -n
	}
	return v, n
}

// AppendUvarint appends v in base 128, least significant group first.
func AppendUvarint(dst []byte, v uint64) []byte {
	if v < 0x80 {
		return append(dst, byte(v))
	}
	return binary.AppendUvarint(dst, v)
}

// SizeUvarint is the number of bytes that AppendUvarint appends for v.
func SizeUvarint(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// ParseField reads the field at the start of b and returns it with the number of its bytes.
// The fields of a message are all there when they are parsed, so an end inside one is an error.
func ParseField(b []byte) (Field, int, error) {
	var f Field
	n, err := f.parse(b)
	if err != nil {
		return Field{}, 0, err
	}
	return f, n, nil
}

// parse sets f, which it leaves in any state on an error, and returns the number of its bytes.
func (f *Field) parse(b []byte) (int, error) {
	key, n := ParseUvarint(b)
	if n <= 0 {
		return 0, &SyntaxError{What: "field key", Offset: 0}
	}
	if key>>1 == 0 || key>>1 > MaxFieldNumber {
		return 0, &LimitError{What: "field number", Value: key >> 1, Limit: MaxFieldNumber}
	}
	v, m := ParseUvarint(b[n:])
	if m <= 0 {
		return 0, &SyntaxError{What: "field value", Offset: n}
	}
	n += m
	f.Number, f.Kind = uint32(key>>1), Kind(key&1)
	if f.Kind == KindUint {
		f.Uint, f.Bytes = v, nil
		return n, nil
	}
	if v > uint64(len(b)-n) {
		return 0, &LimitError{What: "field bytes", Value: v, Limit: uint64(len(b) - n)}
	}
	end := n + int(v)
	f.Uint, f.Bytes = 0, b[n:end:end]
	return end, nil
}

// AppendUint appends a KindUint field.
func AppendUint(dst []byte, number uint32, v uint64) []byte {
	dst = AppendUvarint(dst, uint64(number)<<1)
	return AppendUvarint(dst, v)
}

// AppendBytes appends a KindBytes field, from bytes or from a string.
func AppendBytes[T ~string | ~[]byte](dst []byte, number uint32, v T) []byte {
	dst = AppendUvarint(dst, uint64(number)<<1|uint64(KindBytes))
	dst = AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// appendNumber appends a KindUint field, unless it is 0.
func appendNumber(dst []byte, number uint32, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return AppendUint(dst, number, v)
}

// appendText appends a KindBytes field, unless it is empty.
func appendText(dst []byte, number uint32, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return AppendBytes(dst, number, v)
}

// sizeNumber is the number of bytes that appendNumber appends for a field whose number is below 64.
func sizeNumber(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + SizeUvarint(v)
}

// sizeText is the number of bytes that appendText appends, likewise.
func sizeText(v []byte) int {
	if len(v) == 0 {
		return 0
	}
	return 1 + SizeUvarint(uint64(len(v))) + len(v)
}

// fields steps through the fields of a message in rising order of their numbers, until the first
// error, which it keeps:
//
//	s := fields{rest: b}
//	for s.next() {
//		switch s.field.Number {
//		case fieldRoute:
//			m.Route = s.uint("route", maxUint64)
//		}
//	}
//	return s.err
type fields struct {
	rest  []byte
	off   int   // of rest, from the start of the message
	at    int   // of field, likewise
	field Field // the one that next has read; its number is 0 before the first
	err   error
}

// next reads the next field; it reports false at the end and after an error.
func (s *fields) next() bool {
	if len(s.rest) == 0 || s.err != nil {
		return false
	}
	last := s.field.Number
	n, err := s.field.parse(s.rest)
	if err != nil {
		s.err = s.place(err)
		return false
	}
	if s.field.Number <= last {
		s.err = &SyntaxError{What: "field order", Offset: s.off}
		return false
	}
	s.at, s.off, s.rest = s.off, s.off+n, s.rest[n:]
	return true
}

// place counts the offset of err, which parse counted from the field, from the message.
func (s *fields) place(err error) error {
	if e, ok := err.(*SyntaxError); ok {
		e.Offset += s.off
	}
	return err
}

// uint is the value of the field that next has read, which must be a KindUint of at most limit; if
// it is not, 0.
func (s *fields) uint(what string, limit uint64) uint64 {
	switch {
	case s.field.Kind != KindUint:
		s.err = &SyntaxError{What: "field kind", Offset: s.at}
	case s.field.Uint > limit:
		s.err = &LimitError{What: what, Value: s.field.Uint, Limit: limit}
	default:
		return s.field.Uint
	}
	return 0
}

// bytes is the value of the field that next has read, which must be a KindBytes of at most limit
// bytes; nil if it is not.
func (s *fields) bytes(what string, limit int) []byte {
	switch n := len(s.field.Bytes); {
	case s.field.Kind != KindBytes:
		s.err = &SyntaxError{What: "field kind", Offset: s.at}
	case n > limit:
		s.err = &LimitError{What: what, Value: uint64(n), Limit: uint64(limit)}
	default:
		return s.field.Bytes
	}
	return nil
}
