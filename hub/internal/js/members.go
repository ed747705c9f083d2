package js

import "bytes"

// Members walks over the members of an object, in the order in which they are written.
type Members struct {
	b []byte
	i int // of the next key, or of the closing brace
}

// MembersOf begins the walk over the object raw; anything that is not an object has no members.
func MembersOf(raw []byte) Members {
	if KindOf(raw) != Object {
		return Members{}
	}
	return Members{b: raw, i: space(raw, 1)}
}

// Next returns the next member: its key as a raw string, and its raw value.
func (m *Members) Next() (key, value []byte, ok bool) {
	if m.i >= len(m.b)-1 {
		return nil, nil, false
	}
	b, i := m.b, m.i
	n := skipString(b, i)
	key = b[i:n:n]
	i = space(b, space(b, n)+1)
	n = skip(b, i)
	value = b[i:n:n]
	i = space(b, n)
	if i < len(b) && b[i] == ',' {
		i = space(b, i+1)
	}
	m.i = i
	return key, value, true
}

// Fields finds the members of the object raw that have the given keys, compared after their escapes
// are resolved, and puts their raw values into values, which has the length of keys. Of repeated
// keys the last counts; nil means that there is none. What is not an object has no members.
func Fields(raw []byte, keys []string, values [][]byte) {
	clear(values)
	m := MembersOf(raw)
	for {
		key, value, ok := m.Next()
		if !ok {
			return
		}
		for i := range keys {
			if Is(key, keys[i]) {
				values[i] = value
				break
			}
		}
	}
}

// Field is the raw value of one member, as Fields finds it.
func Field(raw []byte, name string) []byte {
	var found []byte
	m := MembersOf(raw)
	for {
		key, value, ok := m.Next()
		if !ok {
			return found
		}
		if Is(key, name) {
			found = value
		}
	}
}

// skip is the index behind the value that begins at b[i].
func skip(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipContainer(b, i)
	}
	for i < len(b) && b[i] > ' ' && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		i++
	}
	return i
}

func skipContainer(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return i
}

// skipString is the index behind the string that begins at b[i].
func skipString(b []byte, i int) int {
	i++
	for {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return len(b)
		}
		end := i + n
		slashes := 0
		for end-slashes > i && b[end-slashes-1] == '\\' {
			slashes++
		}
		i = end + 1
		if slashes&1 == 0 {
			return i
		}
	}
}
