package wire

import (
	"encoding/binary"
	"slices"
)

// MaxMeta is the largest meta, in bytes.
const MaxMeta = 4096

// MaxMethod is the longest name of a method, in bytes.
const MaxMethod = 1024

// MaxTrace is the longest trace context, in bytes.
const MaxTrace = 64

// MaxAction is the longest name of an action, in bytes.
const MaxAction = 256

// MaxSelector is the longest selector, in bytes.
const MaxSelector = 2048

// MaxFiles is the largest number of descriptors that one frame may carry: SCM_MAX_FD of Linux.
const MaxFiles = 253

// The numbers of the fields of meta.
//
//	number  name     kind   meaning
//	1       method   bytes  which method is called
//	2       timeout  uint   time left to the caller, in microseconds
//	3       trace    bytes  W3C trace context, as the traceparent header writes it
//	4       route    uint   handle of a route that was resolved before
//	5       code     uint   on an error: what went wrong
//	6       files    uint   number of descriptors that travel with this frame
//	7       action   bytes  what is asked of the receiver, where that is not to call a method
//	8       selector bytes  whom a hub hands this to, where no route is given
//	9       fan      uint   to how many: 0 one of those that match, 1 all of them, 2 everybody
//	10      caller   uint   a hub's number of the peer that this comes from
//	11      key      uint   hash of what this is about: equal keys go to the same provider
const (
	fieldMethod  = 1
	fieldTimeout = 2
	fieldTrace   = 3
	fieldRoute   = 4
	fieldCode    = 5
	fieldFiles   = 6

	fieldAction   = 7
	fieldSelector = 8
	fieldFan      = 9
	fieldCaller   = 10
	fieldKey      = 11
)

// Meta is what a native frame says about its payload. The zero value is written as one byte.
// When parsed, its byte slices alias the input.
type Meta struct {
	Method    []byte
	Trace     []byte
	TimeoutUs uint64 // 0: no deadline
	Route     uint64 // 0: none
	Code      Code   // only on frames with Error
	Files     uint32
	Fan       Fan
	Action    []byte
	Selector  []byte
	Caller    uint64 // 0: not told
	Key       uint64 // 0: none
}

// Fan says how many of those that match a hub hands a call or oneway to.
type Fan uint32

// The fans.
const (
	FanOne  Fan = 0 // one of them, which the hub picks
	FanAll  Fan = 1 // each of them
	FanEach Fan = 2 // every peer there is
)

// ParseBody splits the body of a native frame (or of its first part) into meta and payload. The
// meta has to lie in it whole.
func ParseBody(body []byte) (m Meta, payload []byte, err error) {
	payload, err = m.ParseBody(body)
	return m, payload, err
}

// ParseBody is the function of that name for a Meta that is there already: it sets m, to the zero
// value on an error.
func (m *Meta) ParseBody(body []byte) (payload []byte, err error) {
	*m = Meta{}
	if len(body) > 0 && body[0] == 0 {
		return body[1:], nil
	}
	n, k := ParseUvarint(body)
	if k <= 0 {
		return nil, &SyntaxError{What: "meta length", Offset: 0}
	}
	if n > MaxMeta {
		return nil, &LimitError{What: "meta bytes", Value: n, Limit: MaxMeta}
	}
	if n > uint64(len(body)-k) {
		return nil, &LimitError{What: "meta bytes", Value: n, Limit: uint64(len(body) - k)}
	}
	end := k + int(n)
	if m.parseUsual(body[k:end]) {
		return body[end:], nil
	}
	*m = Meta{}
	if err := m.parse(body[k:end], k); err != nil {
		*m = Meta{}
		return nil, err
	}
	return body[end:], nil
}

// parseUsual is parse for the fields that nearly every call has. False says that b has others, or
// is not well-formed, and m is in any state; parse judges then.
func (m *Meta) parseUsual(b []byte) bool {
	for last := uint8(0); len(b) > 0; {
		key := b[0]
		v, n := ParseUvarint(b[1:])
		if n <= 0 || key>>1 <= last {
			return false
		}
		last, b = key>>1, b[1+n:]
		switch key {
		case fieldMethod<<1 | uint8(KindBytes):
			if v > uint64(len(b)) || v > MaxMethod {
				return false
			}
			m.Method, b = b[:v:v], b[v:]
		case fieldTimeout << 1:
			m.TimeoutUs = v
		case fieldRoute << 1:
			m.Route = v
		case fieldCaller << 1:
			m.Caller = v
		default:
			return false
		}
	}
	return true
}

// parse sets m from the fields in b, which begins off bytes into the body. A number that is not
// known changes nothing.
func (m *Meta) parse(b []byte, off int) error {
	s := fields{rest: b, off: off}
	for s.next() {
		switch s.field.Number {
		case fieldMethod:
			m.Method = s.bytes("method bytes", MaxMethod)
		case fieldTimeout:
			m.TimeoutUs = s.uint("timeout", maxUint64)
		case fieldTrace:
			m.Trace = s.bytes("trace bytes", MaxTrace)
		case fieldRoute:
			m.Route = s.uint("route", maxUint64)
		case fieldCode:
			m.Code = Code(s.uint("code", maxUint32))
		case fieldFiles:
			m.Files = uint32(s.uint("files", MaxFiles))
		case fieldAction:
			m.Action = s.bytes("action bytes", MaxAction)
		case fieldSelector:
			m.Selector = s.bytes("selector bytes", MaxSelector)
		case fieldFan:
			m.Fan = Fan(s.uint("fan", maxUint32))
		case fieldCaller:
			m.Caller = s.uint("caller", maxUint64)
		case fieldKey:
			m.Key = s.uint("key", maxUint64)
		}
	}
	return s.err
}

// Empty says that m has no field to write: it takes one byte then.
func (m *Meta) Empty() bool {
	return len(m.Method)|len(m.Trace)|int(m.Files) == 0 &&
		m.TimeoutUs|m.Route|uint64(m.Code) == 0 && !m.routes()
}

// routes says whether m has fields that only a hub and its peers use.
func (m *Meta) routes() bool {
	return len(m.Action)|len(m.Selector) != 0 || uint64(m.Fan)|m.Caller|m.Key != 0
}

// Size is the number of bytes that AppendTo appends.
func (m *Meta) Size() int {
	if m.Empty() {
		return 1
	}
	n := m.fieldsSize()
	return SizeUvarint(uint64(n)) + n
}

func (m *Meta) fieldsSize() int {
	n := sizeText(m.Method) + sizeNumber(m.TimeoutUs) + sizeText(m.Trace) + sizeNumber(m.Route) +
		sizeNumber(uint64(m.Code)) + sizeNumber(uint64(m.Files))
	if m.routes() {
		n += sizeText(m.Action) + sizeText(m.Selector) + sizeNumber(uint64(m.Fan)) +
			sizeNumber(m.Caller) + sizeNumber(m.Key)
	}
	return n
}

// Check says whether every field of m is within its limit.
func (m *Meta) Check() error {
	if n := uint64(len(m.Method)); n > MaxMethod {
		return &LimitError{What: "method bytes", Value: n, Limit: MaxMethod}
	}
	if n := uint64(len(m.Trace)); n > MaxTrace {
		return &LimitError{What: "trace bytes", Value: n, Limit: MaxTrace}
	}
	if n := uint64(len(m.Action)); n > MaxAction {
		return &LimitError{What: "action bytes", Value: n, Limit: MaxAction}
	}
	if n := uint64(len(m.Selector)); n > MaxSelector {
		return &LimitError{What: "selector bytes", Value: n, Limit: MaxSelector}
	}
	if m.Files > MaxFiles {
		return &LimitError{What: "files", Value: uint64(m.Files), Limit: MaxFiles}
	}
	return nil
}

// AppendTo appends metaLen and the fields that are not zero. The fields must be within their limits
// (Check); the payload follows.
func (m *Meta) AppendTo(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 0) // for the length, if it is short
	dst = appendText(dst, fieldMethod, m.Method)
	dst = appendNumber(dst, fieldTimeout, m.TimeoutUs)
	dst = appendText(dst, fieldTrace, m.Trace)
	dst = appendNumber(dst, fieldRoute, m.Route)
	dst = appendNumber(dst, fieldCode, uint64(m.Code))
	dst = appendNumber(dst, fieldFiles, uint64(m.Files))
	if m.routes() {
		dst = appendText(dst, fieldAction, m.Action)
		dst = appendText(dst, fieldSelector, m.Selector)
		dst = appendNumber(dst, fieldFan, uint64(m.Fan))
		dst = appendNumber(dst, fieldCaller, m.Caller)
		dst = appendNumber(dst, fieldKey, m.Key)
	}
	n := len(dst) - at - 1
	if n < 0x80 {
		dst[at] = byte(n)
		return dst
	}
	var length [binary.MaxVarintLen64]byte
	return slices.Replace(dst, at, at+1, AppendUvarint(length[:0], uint64(n))...)
}
