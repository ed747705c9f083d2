package js

import (
	"bytes"
	"math"
	"strconv"
)

// Kind is what a raw value is.
type Kind uint8

// The kinds of raw values.
const (
	Undefined Kind = iota // an empty slice
	Null
	False
	True
	Number
	String
	Array
	Object
)

// KindOf tells the kind of raw by its first byte.
func KindOf(raw []byte) Kind {
	if len(raw) == 0 {
		return Undefined
	}
	switch raw[0] {
	case '"':
		return String
	case '{':
		return Object
	case '[':
		return Array
	case 't':
		return True
	case 'f':
		return False
	case 'n':
		return Null
	}
	return Number
}

// Truthy says whether JavaScript takes raw for true: all but undefined, null, false, the empty
// string and the numbers that are zero (0, -0, 0.0, 0e5, 1e-400) is.
func Truthy(raw []byte) bool {
	switch KindOf(raw) {
	case Undefined, Null, False:
		return false
	case String:
		return len(raw) > 2
	case Number:
		return Float(raw) != 0
	}
	return true
}

// Equal says whether a === b in JavaScript. Arrays and objects that come out of two places are
// never equal, whatever they hold.
func Equal(a, b []byte) bool {
	kind := KindOf(a)
	if kind != KindOf(b) {
		return false
	}
	switch kind {
	case Number:
		return Float(a) == Float(b)
	case String:
		return equalStrings(a, b)
	case Array, Object:
		return false
	}
	return true
}

func equalStrings(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	a, b = a[1:len(a)-1], b[1:len(b)-1]
	var abuf, bbuf [4]byte
	var x, y []byte // what is left of the last character of either
	for {
		if len(x) == 0 {
			x, a = chunk(a, abuf[:0])
		}
		if len(y) == 0 {
			y, b = chunk(b, bbuf[:0])
		}
		n := min(len(x), len(y))
		if n == 0 {
			return len(x) == len(y)
		}
		if !bytes.Equal(x[:n], y[:n]) {
			return false
		}
		x, y = x[n:], y[n:]
	}
}

// chunk returns the beginning of b as text, in buf when it is an escape, and the rest of b.
func chunk(b, buf []byte) (text, rest []byte) {
	if len(b) > 0 && b[0] == '\\' {
		r, n := escape(b, 0)
		return appendRune(buf, r), b[n:]
	}
	n := bytes.IndexByte(b, '\\')
	if n < 0 {
		n = len(b)
	}
	return b[:n], b[n:]
}

// Float is the value of a raw number: the nearest float64, infinite when it is too large.
func Float(raw []byte) float64 {
	if len(raw) <= 9 {
		if n, ok := small(raw); ok {
			return n
		}
	}
	f, _ := strconv.ParseFloat(string(raw), 64) // the only error left is the range, with ±Inf
	return f
}

// small reads what is only digits.
func small(raw []byte) (float64, bool) {
	n := 0
	for _, c := range raw {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return float64(n), len(raw) > 0
}

// ToNumber is what Number(value) gives in JavaScript: numbers are themselves, strings are read as
// number literals, true is 1, false and null are 0, arrays are read as the strings that they turn
// into, and the rest is NaN.
func ToNumber(raw []byte) float64 {
	var buf [64]byte
	switch KindOf(raw) {
	case Number:
		return Float(raw)
	case String:
		return stringToNumber(AppendString(buf[:0], raw))
	case Array:
		return stringToNumber(AppendToString(buf[:0], raw))
	case True:
		return 1
	case False, Null:
		return 0
	}
	return math.NaN()
}

// stringToNumber reads what StringToNumber of ECMA-262 takes: nothing is 0; white space around is
// ignored; decimal literals with an optional sign, Infinity, 0x, 0o and 0b.
func stringToNumber(text []byte) float64 {
	text = trim(text)
	if len(text) == 0 {
		return 0
	}
	if len(text) > 2 && text[0] == '0' {
		switch text[1] | 0x20 {
		case 'x':
			return radix(text[2:], 16)
		case 'o':
			return radix(text[2:], 8)
		case 'b':
			return radix(text[2:], 2)
		}
	}
	body, sign := text, 1.0
	if text[0] == '+' || text[0] == '-' {
		body = text[1:]
		if text[0] == '-' {
			sign = -1
		}
	}
	if string(body) == "Infinity" {
		return math.Inf(int(sign))
	}
	if !decimal(body) {
		return math.NaN()
	}
	f, _ := strconv.ParseFloat(string(text), 64)
	return f
}

// decimal says whether b is digits with a point somewhere, and perhaps an exponent.
func decimal(b []byte) bool {
	i := digits(b, 0)
	n := i
	if i < len(b) && b[i] == '.' {
		end := digits(b, i+1)
		n += end - i - 1
		i = end
	}
	if n == 0 {
		return false
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		end := digits(b, i)
		return end > i && end == len(b)
	}
	return i == len(b)
}

func radix(b []byte, base float64) float64 {
	f := 0.0
	for _, c := range b {
		d := 99.0
		switch {
		case c-'0' < 10:
			d = float64(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			d = float64(c|0x20-'a') + 10
		}
		if d >= base {
			return math.NaN()
		}
		f = f*base + d
	}
	return f
}

// trim cuts what String.prototype.trim does: the white space and line ends of ECMA-262.
func trim(b []byte) []byte {
	const cut = "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008" +
		"\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
	return bytes.Trim(b, cut)
}

// AppendToString appends what String(value) gives in JavaScript.
func AppendToString(dst, raw []byte) []byte {
	if KindOf(raw) == Array {
		return appendJoined(dst, raw)
	}
	return appendItem(dst, raw)
}

// appendItem is AppendToString for what is not an array.
func appendItem(dst, raw []byte) []byte {
	switch KindOf(raw) {
	case Undefined:
		return append(dst, "undefined"...)
	case Number:
		return AppendFloat(dst, Float(raw))
	case String:
		return AppendString(dst, raw)
	case Object:
		return append(dst, "[object Object]"...)
	}
	return append(dst, raw...)
}

// appendJoined appends the items of an array with commas between, as Array.prototype.toString does:
// null is nothing, and an array inside is joined, too, so that its brackets fall away.
func appendJoined(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == ',':
			dst = append(dst, c)
			i++
		case c == '[' || c == ']' || c <= ' ':
			i++
		default:
			n := skip(raw, i)
			if c != 'n' {
				dst = appendItem(dst, raw[i:n])
			}
			i = n
		}
	}
	return dst
}

// AppendFloat appends f as JavaScript prints numbers (ECMA-262, Number::toString): the shortest
// digits that give f again, without an exponent from 1e-6 up to 1e21.
func AppendFloat(dst []byte, f float64) []byte {
	switch {
	case f != f:
		return append(dst, "NaN"...)
	case f == 0:
		return append(dst, '0')
	case math.IsInf(f, 0):
		if f < 0 {
			dst = append(dst, '-')
		}
		return append(dst, "Infinity"...)
	}
	if a := math.Abs(f); a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go writes at least two digits of exponent, JavaScript as few as there are.
	if n := len(dst); n >= 4 && dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}
