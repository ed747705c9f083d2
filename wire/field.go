package wire

import "encoding/binary"

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
	v, n := binary.Uvarint(b)
	if n > 1 && b[n-1] == 0 {
		return 0, -n
	}
	return v, n
}

// AppendUvarint appends v in base 128, least significant group first.
func AppendUvarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// SizeUvarint is the number of bytes that AppendUvarint appends for v.
func SizeUvarint(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// ParseField reads the field at the start of b and returns it with the number of its bytes.
// The fields of a message are all there when they are parsed, so an end inside one is an error.
func ParseField(b []byte) (Field, int, error) {
	key, n := ParseUvarint(b)
	if n <= 0 {
		return Field{}, 0, &SyntaxError{What: "field key", Offset: 0}
	}
	if key>>1 == 0 || key>>1 > MaxFieldNumber {
		return Field{}, 0, &LimitError{What: "field number", Value: key >> 1, Limit: MaxFieldNumber}
	}
	f := Field{Number: uint32(key >> 1), Kind: Kind(key & 1)}
	v, m := ParseUvarint(b[n:])
	if m <= 0 {
		return Field{}, 0, &SyntaxError{What: "field value", Offset: n}
	}
	n += m
	if f.Kind == KindUint {
		f.Uint = v
		return f, n, nil
	}
	if v > uint64(len(b)-n) {
		return Field{}, 0, &LimitError{What: "field bytes", Value: v, Limit: uint64(len(b) - n)}
	}
	end := n + int(v)
	f.Bytes = b[n:end:end]
	return f, end, nil
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

// fields steps through the fields of a message in rising order of their numbers.
type fields struct {
	rest []byte
	off  int
	last uint32
}

// next returns the next field; ok is false at the end and on an error.
func (s *fields) next() (f Field, ok bool, err error) {
	if len(s.rest) == 0 {
		return Field{}, false, nil
	}
	f, n, err := ParseField(s.rest)
	if err != nil {
		return Field{}, false, err
	}
	if f.Number <= s.last {
		return Field{}, false, &SyntaxError{What: "field order", Offset: s.off}
	}
	s.last, s.off, s.rest = f.Number, s.off+n, s.rest[n:]
	return f, true, nil
}

// want reports a field of a known number that came in the other kind.
func (f Field) want(k Kind, off int) error {
	if f.Kind != k {
		return &SyntaxError{What: "field kind", Offset: off}
	}
	return nil
}
