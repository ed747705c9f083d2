package js

import "unicode/utf8"

const replacement = "\uFFFD"

// AppendClean appends b, decoded as UTF-8 with replacement and encoded again: what is not UTF-8
// turns into U+FFFD, one for each longest run of bytes that could have begun a character (the
// "maximal subpart" of the Unicode standard, chapter 3.9, which the decoders of Node and of
// browsers follow). Go's own functions replace byte by byte, or whole runs.
func AppendClean(dst, b []byte) []byte {
	start := 0
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		if r, n := utf8.DecodeRune(b[i:]); r != utf8.RuneError || n > 1 {
			i += n
			continue
		}
		dst = append(append(dst, b[start:i]...), replacement...)
		i += subpart(b[i:])
		start = i
	}
	return append(dst, b[start:]...)
}

// subpart is how many bytes of b, which does not begin with a whole character, are the beginning of
// one; at least 1.
func subpart(b []byte) int {
	low, high, more := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		more = 1
	case c >= 0xe0 && c <= 0xef:
		more = 2
		if c == 0xe0 {
			low = 0xa0 // shorter forms exist below
		} else if c == 0xed {
			high = 0x9f // surrogates above
		}
	case c >= 0xf0 && c <= 0xf4:
		more = 3
		if c == 0xf0 {
			low = 0x90
		} else if c == 0xf4 {
			high = 0x8f
		}
	}
	n := 1
	for n <= more && n < len(b) && b[n] >= low && b[n] <= high {
		low, high = 0x80, 0xbf
		n++
	}
	return n
}

// Whole is the length of b, which is UTF-8 but for a character cut off at its end, without that
// character.
func Whole(b []byte) int {
	n := len(b)
	for i := n - 1; i >= 0 && i >= n-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return n
}
