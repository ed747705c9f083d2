package object

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"unicode/utf8"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// Values cross as JSON. Those of plain types (numbers, strings, booleans, raw JSON) are read and
// written here, without reflection and, but for strings, without an allocation; all others by
// encoding/json, whose rules hold for the plain ones, too, with three differences:
//
//   - an integer may be written with a point or an exponent, when its value is whole: 5.0, 5e0;
//   - null is an error for what cannot be nil, where encoding/json leaves it as it was;
//   - what is not UTF-8 in a string is replaced as JavaScript does it.

// valueError says that a raw value is not of the type that is wanted.
type valueError struct {
	raw  string // the beginning of the value
	want string // the type
	why  string // "" when the two say it all
}

func (e *valueError) Error() string {
	text := e.raw + " is not a " + e.want
	if e.why != "" {
		text += ": " + e.why
	}
	return text
}

// maxShown is how many bytes of a value an error shows.
const maxShown = 40

func notA(raw []byte, want, why string) error {
	shown := string(raw)
	if len(shown) > maxShown {
		shown = string(raw[:js.Whole(raw[:maxShown])]) + "..."
	}
	if shown == "" {
		shown = "what is missing"
	}
	return &valueError{shown, want, why}
}

// decode reads raw, a checked JSON value, into what p points to.
func decode(raw []byte, p any) error {
	if plain, err := decodePlain(raw, p); plain {
		return err
	}
	return decodeSlow(raw, p)
}

// decodePlain is decode for the plain types. It keeps nothing of p, so that what p points to may
// lie on the stack.
func decodePlain(raw []byte, p any) (plain bool, err error) {
	switch p := p.(type) {
	case *float64:
		if js.KindOf(raw) != js.Number {
			return true, notA(raw, "float64", "")
		}
		*p = js.Float(raw)
	case *string:
		if js.KindOf(raw) != js.String {
			return true, notA(raw, "string", "")
		}
		*p = text(raw)
	case *int:
		n, err := integer(raw, strconv.IntSize, "int")
		if err != nil {
			return true, err
		}
		*p = int(n)
	case *int64:
		n, err := integer(raw, 64, "int64")
		if err != nil {
			return true, err
		}
		*p = n
	case *int32:
		n, err := integer(raw, 32, "int32")
		if err != nil {
			return true, err
		}
		*p = int32(n)
	case *bool:
		kind := js.KindOf(raw)
		if kind != js.True && kind != js.False {
			return true, notA(raw, "bool", "")
		}
		*p = kind == js.True
	case *json.RawMessage:
		*p = append((*p)[:0], raw...)
	default:
		return false, nil
	}
	return true, nil
}

// text is a raw string as encoding/json reads it: half of a surrogate pair becomes U+FFFD.
func text(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	if !js.Escaped(inner) {
		if !utf8.Valid(inner) {
			inner = js.AppendClean(nil, inner)
		}
		return string(inner)
	}
	var s string
	_ = json.Unmarshal(raw, &s) // it is a string
	return s
}

// integer reads a whole number of so many bits.
func integer(raw []byte, bits int, want string) (int64, error) {
	if js.KindOf(raw) != js.Number {
		return 0, notA(raw, want, "")
	}
	if n, err := strconv.ParseInt(string(raw), 10, bits); err == nil {
		return n, nil
	}
	f := js.Float(raw)
	limit := math.Ldexp(1, bits-1)
	if f != math.Trunc(f) || math.Abs(f) > 1<<53 || f >= limit || f < -limit {
		return 0, notA(raw, want, "")
	}
	return int64(f), nil
}

// decodeSlow is decode for all other types.
func decodeSlow(raw []byte, p any) error {
	t := reflect.TypeOf(p).Elem()
	if js.KindOf(raw) == js.Null && !nilable(t) {
		return notA(raw, t.String(), "")
	}
	if err := json.Unmarshal(raw, p); err != nil {
		return notA(raw, t.String(), err.Error())
	}
	return nil
}

// nilable says whether null is a value of type t: where nil is one, and where t reads its JSON
// itself.
func nilable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return true
	}
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// appendValue appends v as JSON.
func appendValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case float64:
		return appendFloat(dst, v)
	case string:
		return appendString(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, b...), nil
}

func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, fmt.Errorf("%g has no JSON", f)
	}
	if f == 0 && math.Signbit(f) {
		return append(dst, "-0"...), nil
	}
	return js.AppendFloat(dst, f), nil
}

func appendString(dst []byte, s string) []byte {
	if utf8.ValidString(s) {
		return js.AppendQuoted(dst, s)
	}
	return js.AppendQuoted(dst, js.AppendClean(nil, []byte(s)))
}
