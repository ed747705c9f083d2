package js

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// container is an object or array of which a part has been written.
type container struct {
	end   byte   // that closes it
	parts []part // that are left
	begun bool   // one has been written
}

// part is a member of an object, or without a key an item of an array.
type part struct{ key, value []byte }

// AppendStringified appends what JSON.stringify makes of the raw value once JSON.parse has read it:
// no white space, of repeated keys the last value at the place of the first, keys that are indices
// of arrays in front, numbers and strings in their one form. It allocates, and takes time with the
// square of the depth: it is for what people are shown.
func AppendStringified(dst, raw []byte) []byte {
	var open []container
	for value := raw; ; {
		switch KindOf(value) {
		case Object:
			dst, open = append(dst, '{'), append(open, container{end: '}', parts: members(value)})
		case Array:
			dst, open = append(dst, '['), append(open, container{end: ']', parts: items(value)})
		case Number:
			if f := Float(value); math.IsInf(f, 0) {
				dst = append(dst, "null"...)
			} else {
				dst = AppendFloat(dst, f)
			}
		case String:
			dst = AppendText(dst, AppendString(nil, value))
		default:
			dst = append(dst, value...)
		}
		for len(open) > 0 && len(open[len(open)-1].parts) == 0 {
			dst = append(dst, open[len(open)-1].end)
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return dst
		}
		c := &open[len(open)-1]
		if c.begun {
			dst = append(dst, ',')
		}
		if c.end == '}' {
			dst = append(AppendText(dst, c.parts[0].key), ':')
		}
		value, c.parts, c.begun = c.parts[0].value, c.parts[1:], true
	}
}

// members are those of the object raw in the order in which JavaScript lists them.
func members(raw []byte) []part {
	var all []part
	at := make(map[string]int)
	for m := MembersOf(raw); ; {
		key, value, ok := m.Next()
		if !ok {
			break
		}
		text := AppendString(nil, key)
		if i, had := at[string(text)]; had {
			all[i].value = value
			continue
		}
		at[string(text)] = len(all)
		all = append(all, part{text, value})
	}
	slices.SortStableFunc(all, func(a, b part) int {
		return cmp.Compare(index(a.key), index(b.key))
	})
	return all
}

// index is the number of a key that is an index of an array, or for others one beyond all of them.
func index(key []byte) uint64 {
	const beyond = math.MaxUint32
	n, err := strconv.ParseUint(string(key), 10, 32)
	if err != nil || len(key) > 1 && key[0] == '0' {
		return beyond
	}
	return n
}

func items(raw []byte) []part {
	var all []part
	for s := ItemsOf(raw); ; {
		value, ok := s.Next()
		if !ok {
			return all
		}
		all = append(all, part{value: value})
	}
}

// AppendText appends text in the form of AppendString as a JSON string. Lone surrogates, which have
// three bytes of their own there and are not UTF-8, are escaped.
func AppendText(dst, text []byte) []byte {
	if utf8.Valid(text) {
		return AppendQuoted(dst, text)
	}
	dst = append(dst, '"')
	for len(text) > 0 {
		_, n := utf8.DecodeRune(text)
		if r := text; n == 1 && len(r) > 2 && r[0] == 0xED && r[1] >= 0xA0 {
			dst = fmt.Appendf(dst, `\u%04x`, 0xD000|uint(r[1]&0x3F)<<6|uint(r[2]&0x3F))
			text = text[3:]
			continue
		}
		dst = AppendEscaped(dst, text[:n])
		text = text[n:]
	}
	return append(dst, '"')
}
