package hub

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// The keys that take part in matching. A location has the first four, a selector has all; the key
// tag is Pandora's, which nothing of its own sets.
const (
	keyClientID = iota
	keyAppName
	keyProcessName
	keyPID
	keyObjectName
	keyTag
	keyObjectTag // last: the fallback to providers without a tag looks at all but this one
	numKeys
)

// selectorSize is about what a selector without texts takes in memory, in bytes, with the pointers
// to it.
const selectorSize = 320

var selectorKeys = []string{
	keyClientID:    "clientId",
	keyAppName:     "appName",
	keyProcessName: "processName",
	keyPID:         "pid",
	keyObjectName:  "objectName",
	keyTag:         "tag",
	keyObjectTag:   "objectTag",
}

// atom is the value of one key, ready for comparing.
type atom struct {
	// kind is js.Undefined for everything that JavaScript takes for false, js.True, js.Number,
	// js.String, or js.Object for arrays and objects, which equal nothing.
	kind   js.Kind
	number float64
	text   []byte // of a string, escapes resolved
}

// free says that the atom does not restrict when it is asked for, and equals nothing that is.
func (a *atom) free() bool { return a.kind == js.Undefined }

// equals is JavaScript's === for atoms that are not free.
func (a *atom) equals(b *atom) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case js.String:
		return bytes.Equal(a.text, b.text)
	case js.Number:
		return a.number == b.number
	case js.True:
		return true
	}
	return false
}

// selector is what is asked for, or what is published.
type selector [numKeys]atom

// parse reads the selector raw, a value of a checked body. What is not an object has no keys, and
// so matches everything. Texts alias raw or the returned scratch, to which text with escapes goes.
func (s *selector) parse(raw, scratch []byte) []byte {
	var values [numKeys][]byte
	js.Fields(raw, selectorKeys, values[:])
	for i, v := range values {
		a := &s[i]
		*a = atom{}
		if !js.Truthy(v) {
			continue
		}
		switch a.kind = js.KindOf(v); a.kind {
		case js.Array:
			a.kind = js.Object
		case js.Number:
			a.number = js.Float(v)
		case js.String:
			a.text = v[1 : len(v)-1]
			if js.Escaped(a.text) {
				start := len(scratch)
				scratch = js.AppendString(scratch, v)
				a.text = scratch[start:len(scratch):len(scratch)]
			}
		}
	}
	return scratch
}

// clone returns a copy that aliases nothing.
func (s *selector) clone() *selector {
	n := 0
	for i := range s {
		n += len(s[i].text)
	}
	c, texts := *s, make([]byte, 0, n)
	for i := range c {
		if t := c[i].text; len(t) > 0 {
			start := len(texts)
			texts = append(texts, t...)
			c[i].text = texts[start:len(texts):len(texts)]
		}
	}
	return &c
}

// size is about what s takes in memory, in bytes.
func (s *selector) size() int {
	n := selectorSize
	for i := range s {
		n += len(s[i].text)
	}
	return n
}

// all says that s restricts nothing.
func (s *selector) all() bool {
	for i := range s {
		if !s[i].free() {
			return false
		}
	}
	return true
}

// matches says whether every key that s sets equals the one of p, which is published.
func (s *selector) matches(p *selector) bool {
	for i := range s {
		if !s[i].free() && !s[i].equals(&p[i]) {
			return false
		}
	}
	return true
}

// fallsBack says whether providers without a tag may stand in for s when its tag is not found: when
// it names an object, too. Pandora's own providers look the object up by its bare name then.
func (s *selector) fallsBack() bool {
	return !s[keyObjectTag].free() && !s[keyObjectName].free()
}

// appendKey appends a form of s that is the same for all selectors that match alike.
func (s *selector) appendKey(dst []byte) []byte {
	for i := range s {
		a := &s[i]
		dst = append(dst, byte(a.kind))
		switch a.kind {
		case js.Number:
			dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(a.number))
		case js.String:
			dst = binary.AppendUvarint(dst, uint64(len(a.text)))
			dst = append(dst, a.text...)
		}
	}
	return dst
}
