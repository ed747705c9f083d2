package js

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unescaped is what follows a backslash, mapped to what it stands for; 0 is not an escape. The u is
// not in it.
var unescaped = [256]byte{
	'"': '"', '\\': '\\', '/': '/',
	'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (rune, bool) {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c-'0' < 10:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// escape reads the escape that begins at b[i]. What it stands for is a byte, a rune or, alone, half
// a surrogate pair; two escapes that make a pair are read together.
func escape(b []byte, i int) (r rune, next int) {
	if b[i+1] != 'u' {
		return rune(unescaped[b[i+1]]), i + 2
	}
	r, _ = hex4(b[i+2:])
	i += 6
	if r >= 0xd800 && r < 0xdc00 && len(b)-i >= 6 && b[i] == '\\' && b[i+1] == 'u' {
		low, _ := hex4(b[i+2:])
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, i + 6
		}
	}
	return r, i
}

// appendRune is utf8.AppendRune that also takes lone surrogates, which get the three bytes that
// their number would have. So every JavaScript string has exactly one form in bytes, and two are
// equal when their bytes are.
func appendRune(dst []byte, r rune) []byte {
	if r >= 0xd800 && r < 0xe000 {
		return append(dst, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
	}
	return utf8.AppendRune(dst, r)
}

// Escaped says whether the raw string has escapes. Without them its text is what is between the
// quotes, as it is.
func Escaped(raw []byte) bool {
	for _, c := range raw {
		if c == '\\' {
			return true
		}
	}
	return false
}

// AppendString appends the text of a raw string, quotes and escapes resolved. Lone surrogates,
// which have no UTF-8, get three bytes of their own.
func AppendString(dst, raw []byte) []byte {
	b := raw[1 : len(raw)-1]
	for i := 0; i < len(b); {
		n := i
		for n < len(b) && b[n] != '\\' {
			n++
		}
		dst = append(dst, b[i:n]...)
		if i = n; i < len(b) {
			var r rune
			r, i = escape(b, i)
			dst = appendRune(dst, r)
		}
	}
	return dst
}

// Is says whether raw is a string whose text is want, in the form of AppendString.
func Is(raw []byte, want string) bool {
	if len(raw) < 2 || raw[0] != '"' {
		return false
	}
	b := raw[1 : len(raw)-1]
	if len(b) <= len(want) {
		// What is escaped is always longer than what it stands for.
		return string(b) == want && !Escaped(b)
	}
	var buf [4]byte
	for i := 0; i < len(b); {
		piece := b[i : i+1 : i+1]
		if b[i] == '\\' {
			var r rune
			r, i = escape(b, i)
			piece = appendRune(buf[:0], r)
		} else {
			i++
		}
		if len(want) < len(piece) || want[:len(piece)] != string(piece) {
			return false
		}
		want = want[len(piece):]
	}
	return want == ""
}

// AppendQuoted appends text as a JSON string. Bytes above 0x7f stay as they are.
func AppendQuoted[T string | []byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	dst = AppendEscaped(dst, text)
	return append(dst, '"')
}

// AppendEscaped appends text as it has to look inside of a JSON string, without the quotes.
func AppendEscaped[T string | []byte](dst []byte, text T) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := range len(text) {
		c := text[i]
		if c != '"' && c != '\\' && c >= 0x20 {
			continue
		}
		dst = append(dst, text[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, text[start:]...)
}
