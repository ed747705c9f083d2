package wire

// MaxMeta is the largest meta, in bytes.
const MaxMeta = 4096

// MaxMethod is the longest name of a method, in bytes.
const MaxMethod = 1024

// MaxTrace is the longest trace context, in bytes.
const MaxTrace = 64

// The numbers of the fields of meta.
//
//	number  name     kind   meaning
//	1       method   bytes  which method is called
//	2       timeout  uint   time left to the caller, in microseconds
//	3       trace    bytes  W3C trace context, as the traceparent header writes it
//	4       route    uint   handle of a route that was resolved before
//	5       code     uint   on an error: what went wrong
//	6       files    uint   number of descriptors that travel with this frame
const (
	fieldMethod  = 1
	fieldTimeout = 2
	fieldTrace   = 3
	fieldRoute   = 4
	fieldCode    = 5
	fieldFiles   = 6
)

// Meta is what a native frame says about its payload. The zero value is written as one byte.
// When parsed, Method and Trace alias the input.
type Meta struct {
	Method    []byte
	Trace     []byte
	TimeoutUs uint64 // 0: no deadline
	Route     uint64 // 0: none
	Code      Code   // only on frames with Error
	Files     uint32
}

// ParseBody splits the body of a native frame (or of its first part) into meta and payload. The
// meta has to lie in it whole.
func ParseBody(body []byte) (Meta, []byte, error) {
	if len(body) > 0 && body[0] == 0 {
		return Meta{}, body[1:], nil
	}
	n, k := ParseUvarint(body)
	if k <= 0 {
		return Meta{}, nil, &SyntaxError{What: "meta length", Offset: 0}
	}
	if n > MaxMeta {
		return Meta{}, nil, &LimitError{What: "meta bytes", Value: n, Limit: MaxMeta}
	}
	if n > uint64(len(body)-k) {
		return Meta{}, nil, &LimitError{What: "meta bytes", Value: n, Limit: uint64(len(body) - k)}
	}
	end := k + int(n)
	m, err := parseMeta(body[k:end])
	return m, body[end:], err
}

func parseMeta(b []byte) (Meta, error) {
	var m Meta
	s := fields{rest: b}
	for {
		off := s.off
		f, ok, err := s.next()
		if !ok {
			return m, err
		}
		if err := m.set(f, off); err != nil {
			return Meta{}, err
		}
	}
}

// set takes one field over; a number that is not known changes nothing.
func (m *Meta) set(f Field, off int) error {
	switch f.Number {
	case fieldMethod:
		m.Method = f.Bytes
		return f.limited(KindBytes, "method bytes", MaxMethod, off)
	case fieldTimeout:
		m.TimeoutUs = f.Uint
		return f.want(KindUint, off)
	case fieldTrace:
		m.Trace = f.Bytes
		return f.limited(KindBytes, "trace bytes", MaxTrace, off)
	case fieldRoute:
		m.Route = f.Uint
		return f.want(KindUint, off)
	case fieldCode:
		m.Code = Code(f.Uint)
		return f.limited(KindUint, "code", 1<<32-1, off)
	case fieldFiles:
		m.Files = uint32(f.Uint)
		return f.limited(KindUint, "files", MaxFiles, off)
	}
	return nil
}

// MaxFiles is the largest number of descriptors that one frame may carry: SCM_MAX_FD of Linux.
const MaxFiles = 253

// limited checks the kind of f and that its value, or its length, is within limit.
func (f Field) limited(k Kind, what string, limit uint64, off int) error {
	if err := f.want(k, off); err != nil {
		return err
	}
	v := f.Uint
	if k == KindBytes {
		v = uint64(len(f.Bytes))
	}
	if v > limit {
		return &LimitError{What: what, Value: v, Limit: limit}
	}
	return nil
}

// Size is the number of bytes that AppendTo appends.
func (m *Meta) Size() int {
	n := m.fieldsSize()
	return SizeUvarint(uint64(n)) + n
}

func (m *Meta) fieldsSize() int {
	n := 0
	if len(m.Method) > 0 {
		n += 1 + SizeUvarint(uint64(len(m.Method))) + len(m.Method)
	}
	if m.TimeoutUs > 0 {
		n += 1 + SizeUvarint(m.TimeoutUs)
	}
	if len(m.Trace) > 0 {
		n += 1 + SizeUvarint(uint64(len(m.Trace))) + len(m.Trace)
	}
	if m.Route > 0 {
		n += 1 + SizeUvarint(m.Route)
	}
	if m.Code > 0 {
		n += 1 + SizeUvarint(uint64(m.Code))
	}
	if m.Files > 0 {
		n += 1 + SizeUvarint(uint64(m.Files))
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
	if m.Files > MaxFiles {
		return &LimitError{What: "files", Value: uint64(m.Files), Limit: MaxFiles}
	}
	return nil
}

// AppendTo appends metaLen and the fields that are not zero. The fields must be within their limits
// (Check); the payload follows.
func (m *Meta) AppendTo(dst []byte) []byte {
	n := m.fieldsSize()
	if n == 0 {
		return append(dst, 0)
	}
	dst = AppendUvarint(dst, uint64(n))
	if len(m.Method) > 0 {
		dst = AppendBytes(dst, fieldMethod, m.Method)
	}
	if m.TimeoutUs > 0 {
		dst = AppendUint(dst, fieldTimeout, m.TimeoutUs)
	}
	if len(m.Trace) > 0 {
		dst = AppendBytes(dst, fieldTrace, m.Trace)
	}
	if m.Route > 0 {
		dst = AppendUint(dst, fieldRoute, m.Route)
	}
	if m.Code > 0 {
		dst = AppendUint(dst, fieldCode, uint64(m.Code))
	}
	if m.Files > 0 {
		dst = AppendUint(dst, fieldFiles, uint64(m.Files))
	}
	return dst
}
