package object

import (
	"unicode"
	"unicode/utf8"
)

// NameOf is what others call a Go method or field: its first word in small letters, as JavaScript
// writes names.
//
//	Abs -> abs     ID -> id     HTTPGet -> httpGet     ReadAll -> readAll     X2Y -> x2Y
//
// A word in capitals ends before the capital that begins the next word.
func NameOf(name string) string {
	small := make([]byte, 0, len(name))
	for i, r := range name {
		next, _ := utf8.DecodeRuneInString(name[i+utf8.RuneLen(r):])
		if !unicode.IsUpper(r) || i > 0 && unicode.IsLower(next) {
			return string(small) + name[i:]
		}
		small = utf8.AppendRune(small, unicode.ToLower(r))
	}
	return string(small)
}
