package js

import (
	"encoding/binary"
	"fmt"
)

// MaxDepth is how deep arrays and objects may be nested in a body.
const MaxDepth = 10000

// SyntaxError says that a body is not JSON.
type SyntaxError struct {
	What   string // what was expected, or is wrong
	Offset int    // of the offending byte; the length of the body when it ends too early
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("js: %s at byte %d", e.What, e.Offset)
}

// DepthError says that a body is nested too deep.
type DepthError struct {
	Limit  int
	Offset int // of the bracket that is one too many
}

func (e *DepthError) Error() string {
	return fmt.Sprintf("js: nested deeper than %d at byte %d", e.Limit, e.Offset)
}

// What the syntax errors say.
const (
	wantValue  = "value expected"
	wantKey    = "key expected"
	wantColon  = "colon expected"
	wantMember = "comma or closing brace expected"
	wantItem   = "comma or closing bracket expected"
	wantEnd    = "end expected"
	badString  = "string not closed"
	badControl = "control character in string"
	badEscape  = "bad escape in string"
	badNumber  = "bad number"
	badLiteral = "bad literal"
)

// Scanner checks bodies. The zero value is ready; it is reused to save clearing its stack, and is
// not safe for concurrent use.
type Scanner struct {
	// objects has a bit for each open container: set when it is an object, clear for an array.
	objects [(MaxDepth + 63) / 64]uint64
	ascii   bool // no byte of the body above 0x7f so far
}

// Scan checks that body is one JSON value and nothing else. ascii says that no byte is above 0x7f;
// otherwise the body may hold bytes that are not UTF-8, inside of strings only, which JSON.parse
// reads as U+FFFD (see AppendClean). The error is a *SyntaxError or a *DepthError.
func (s *Scanner) Scan(body []byte) (ascii bool, err error) {
	s.ascii = true
	i, depth := space(body, 0), 0
	for {
		// Here a value begins.
		if i == len(body) {
			return false, &SyntaxError{What: wantValue, Offset: i}
		}
		c := body[i]
		switch {
		case c == '{' || c == '[':
			if depth == MaxDepth {
				return false, &DepthError{Limit: MaxDepth, Offset: i}
			}
			object := c == '{'
			s.push(depth, object)
			depth++
			i = space(body, i+1)
			if i < len(body) && body[i] == c+2 { // ']' and '}' are two behind their openers
				i++
				depth--
				break
			}
			if object {
				if i, err = s.key(body, i); err != nil {
					return false, err
				}
			}
			continue
		case c == '"':
			i, err = s.text(body, i)
		default:
			i, err = scalar(body, i)
		}
		if err != nil {
			return false, err
		}
		if i, depth, err = s.behind(body, i, depth); err != nil {
			return false, err
		}
		if depth == 0 {
			return s.ascii, nil
		}
	}
}

// behind goes on after a value: it closes containers, and stops where the next value begins, or at
// the end of the body with depth 0.
func (s *Scanner) behind(b []byte, i, depth int) (int, int, error) {
	for {
		i = space(b, i)
		if depth == 0 {
			if i < len(b) {
				return i, 0, &SyntaxError{What: wantEnd, Offset: i}
			}
			return i, 0, nil
		}
		object := s.top(depth)
		want, closer := wantItem, byte(']')
		if object {
			want, closer = wantMember, '}'
		}
		switch {
		case i < len(b) && b[i] == ',':
			i = space(b, i+1)
			if !object {
				return i, depth, nil
			}
			i, err := s.key(b, i)
			return i, depth, err
		case i < len(b) && b[i] == closer:
			i++
			depth--
		default:
			return i, depth, &SyntaxError{What: want, Offset: i}
		}
	}
}

func (s *Scanner) push(depth int, object bool) {
	bit := uint64(1) << (depth & 63)
	if object {
		s.objects[depth>>6] |= bit
	} else {
		s.objects[depth>>6] &^= bit
	}
}

// top says whether the innermost of depth open containers is an object.
func (s *Scanner) top(depth int) bool {
	depth--
	return s.objects[depth>>6]>>(depth&63)&1 != 0
}

// key reads a member's key and the colon; the result is where its value begins.
func (s *Scanner) key(b []byte, i int) (int, error) {
	if i == len(b) || b[i] != '"' {
		return i, &SyntaxError{What: wantKey, Offset: i}
	}
	i, err := s.text(b, i)
	if err != nil {
		return i, err
	}
	i = space(b, i)
	if i == len(b) || b[i] != ':' {
		return i, &SyntaxError{What: wantColon, Offset: i}
	}
	return space(b, i+1), nil
}

// text reads the string that begins at b[i], and returns the index behind it.
func (s *Scanner) text(b []byte, i int) (int, error) {
	start := i
	i++
	for {
		i = s.plain(b, i)
		if i == len(b) {
			return i, &SyntaxError{What: badString, Offset: start}
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c != '\\':
			return i, &SyntaxError{What: badControl, Offset: i}
		case i+1 == len(b):
			return i, &SyntaxError{What: badString, Offset: start}
		case b[i+1] == 'u':
			if len(b)-i < 6 {
				return i, &SyntaxError{What: badEscape, Offset: i}
			}
			if _, ok := hex4(b[i+2:]); !ok {
				return i, &SyntaxError{What: badEscape, Offset: i}
			}
			i += 6
		case unescaped[b[i+1]] == 0:
			return i, &SyntaxError{What: badEscape, Offset: i}
		default:
			i += 2
		}
	}
}

// Masks with the same byte in all eight places.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain is the index of the next quote, backslash or control character, or len(b).
func (s *Scanner) plain(b []byte, i int) int {
	for len(b)-i >= 8 {
		// A byte is found by the borrow of a subtraction. Borrows run upwards only, so that the
		// lowest hit is a true one; the plain loop below then looks at it.
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^'"'*ones, x^'\\'*ones
		hit := (x - 0x20*ones) & ^x
		hit |= (quote - ones) & ^quote
		hit |= (slash - ones) & ^slash
		if x&highs != 0 {
			s.ascii = false
		}
		if hit&highs != 0 {
			break
		}
		i += 8
	}
	for i < len(b) {
		switch c := b[i]; {
		case c == '"' || c == '\\' || c < 0x20:
			return i
		case c >= 0x80:
			s.ascii = false
		}
		i++
	}
	return i
}

// scalar reads the number or literal that begins at b[i], and returns the index behind it.
func scalar(b []byte, i int) (int, error) {
	switch b[i] {
	case 't':
		return literal(b, i, "true")
	case 'f':
		return literal(b, i, "false")
	case 'n':
		return literal(b, i, "null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return number(b, i)
	}
	return i, &SyntaxError{What: wantValue, Offset: i}
}

func literal(b []byte, i int, word string) (int, error) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, &SyntaxError{What: badLiteral, Offset: i}
	}
	return i + len(word), nil
}

// number reads  -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
func number(b []byte, i int) (int, error) {
	start := i
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if n := digits(b, i); n > i {
		i = n
	} else {
		return i, &SyntaxError{What: badNumber, Offset: start}
	}
	if i < len(b) && b[i] == '.' {
		n := digits(b, i+1)
		if n == i+1 {
			return i, &SyntaxError{What: badNumber, Offset: start}
		}
		i = n
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		n := digits(b, i)
		if n == i {
			return i, &SyntaxError{What: badNumber, Offset: start}
		}
		i = n
	}
	return i, nil
}

// digits is the index behind the decimal digits that begin at b[i].
func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' < 10 {
		i++
	}
	return i
}

// space is the index of the first byte that is not white space, from i on.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// Value is the raw value that body, which Scan has accepted, consists of.
func Value(body []byte) []byte {
	i, n := space(body, 0), len(body)
	for n > i && (body[n-1] == ' ' || body[n-1] == '\n' || body[n-1] == '\t' || body[n-1] == '\r') {
		n--
	}
	return body[i:n:n]
}
