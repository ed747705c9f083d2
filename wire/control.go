package wire

import "fmt"

// Version is the newest version of the protocol that this package speaks, MinVersion the oldest.
const (
	Version    = 1
	MinVersion = 1
)

// helloMagic begins a hello, after its kind byte. With flags 0x28 and id 0 it is what makes a
// connection native.
const helloMagic = "PITHOS"

// HelloPrefix is the start of the body of every hello.
const HelloPrefix = "\x01" + helloMagic

// MaxControl is the largest body of a control frame, in bytes.
const MaxControl = 1024

// MaxCredit is the largest credit that one message can give, in bytes.
const MaxCredit = 1 << 62

// MaxRing is the largest ring of a shared-memory lane, in bytes.
const MaxRing = 1 << 40

// ControlKind is the first byte of the body of a control frame.
type ControlKind uint8

// The control messages. A kind that is not known is skipped.
const (
	KindHello      ControlKind = 1 // id 0; versions, capabilities, limits and the first credit
	KindPing       ControlKind = 2 // id is any number; is answered by a pong of the same id
	KindPong       ControlKind = 3
	KindCancel     ControlKind = 4 // id of the call that is taken back; it still gets its one reply
	KindCredit     ControlKind = 5 // bytes of calls and oneways that the receiver may send on top
	KindDrain      ControlKind = 6 // no new calls, please; the ones under way go on
	KindLaneOffer  ControlKind = 7 // a shared-memory lane is offered
	KindLaneAccept ControlKind = 8 // and accepted, or refused
	KindPlace      ControlKind = 9 // id is one more than the processor that the sender polls on
)

// String is the name of k.
func (k ControlKind) String() string {
	names := [...]string{"", "hello", "ping", "pong", "cancel", "credit", "drain",
		"lane-offer", "lane-accept", "place"}
	if k > 0 && int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("control-%d", uint8(k))
}

// Capabilities is a set of optional abilities; what both peers announce may be used.
type Capabilities uint64

// The abilities.
const (
	CapFiles Capabilities = 1 << 0 // descriptors may travel with frames
	CapLane  Capabilities = 1 << 1 // a shared-memory lane may be offered
	CapPlace Capabilities = 1 << 2 // the server may say on which processor it polls
)

// Hello is the first message of each side of a native connection. The client's says which versions
// it speaks; the server's says which one is spoken from now on (both fields the same).
type Hello struct {
	MinVersion   uint32
	MaxVersion   uint32
	Capabilities Capabilities
	MaxBody      uint32 // largest body accepted, in bytes
	Calls        uint32 // unanswered calls accepted at a time
	Bytes        uint64 // bytes of calls and oneways accepted before more credit comes
}

// Lane is an offer of a shared-memory lane, or the answer to it.
type Lane struct {
	Version  uint32
	RingSize uint64 // bytes of each of the two rings; 0 in an answer: refused
}

const (
	helloMin   = 1
	helloMax   = 2
	helloCaps  = 3
	helloBody  = 4
	helloCalls = 5
	helloBytes = 6

	creditBytes = 1

	laneVersion = 1
	laneRing    = 2
)

// ParseControl returns the kind of a control frame's body and its fields, still as bytes.
func ParseControl(body []byte) (ControlKind, []byte, error) {
	if len(body) == 0 {
		return 0, nil, &SyntaxError{What: "control kind", Offset: 0}
	}
	if len(body) > MaxControl {
		return 0, nil, controlTooLong(body)
	}
	return ControlKind(body[0]), body[1:], nil
}

func controlTooLong(body []byte) error {
	return &LimitError{What: "control bytes", Value: uint64(len(body)), Limit: MaxControl}
}

// IsHello says whether a frame begins a native connection: flags 0x28, id 0 and the magic.
func IsHello(h Header, body []byte) bool {
	return h.Flags == FlagsControl && h.ID == 0 && len(body) >= len(HelloPrefix) &&
		string(body[:len(HelloPrefix)]) == HelloPrefix
}

// ParseHello reads the body of a hello.
func ParseHello(body []byte) (Hello, error) {
	if len(body) < len(HelloPrefix) || string(body[:len(HelloPrefix)]) != HelloPrefix {
		return Hello{}, &SyntaxError{What: "hello magic", Offset: 0}
	}
	if len(body) > MaxControl {
		return Hello{}, controlTooLong(body)
	}
	var h Hello
	s := fields{rest: body[len(HelloPrefix):], off: len(HelloPrefix)}
	for s.next() { // a number that is not known changes nothing, here and below
		switch s.field.Number {
		case helloMin:
			h.MinVersion = uint32(s.uint("hello min version", maxUint32))
		case helloMax:
			h.MaxVersion = uint32(s.uint("hello max version", maxUint32))
		case helloCaps:
			h.Capabilities = Capabilities(s.uint("hello capabilities", maxUint64))
		case helloBody:
			h.MaxBody = uint32(s.uint("hello max body", maxUint32))
		case helloCalls:
			h.Calls = uint32(s.uint("hello calls", maxUint32))
		case helloBytes:
			h.Bytes = s.uint("hello bytes", MaxCredit)
		}
	}
	if s.err == nil {
		s.err = h.check()
	}
	if s.err != nil {
		return Hello{}, s.err
	}
	return h, nil
}

// check refuses a hello without versions, or with an empty range of them.
func (h *Hello) check() error {
	if h.MinVersion == 0 || h.MaxVersion < h.MinVersion {
		return &SyntaxError{What: fmt.Sprintf("hello version range %d to %d", h.MinVersion,
			h.MaxVersion), Offset: len(HelloPrefix)}
	}
	return nil
}

// AppendTo appends the whole frame of h, header included.
func (h *Hello) AppendTo(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	dst = append(dst, HelloPrefix...)
	dst = AppendUint(dst, helloMin, uint64(h.MinVersion))
	dst = AppendUint(dst, helloMax, uint64(h.MaxVersion))
	dst = AppendUint(dst, helloCaps, uint64(h.Capabilities))
	dst = AppendUint(dst, helloBody, uint64(h.MaxBody))
	dst = AppendUint(dst, helloCalls, uint64(h.Calls))
	dst = AppendUint(dst, helloBytes, h.Bytes)
	return finishControl(dst, at, 0)
}

// Negotiate returns the version to speak with the sender of h: the newest that both know. The error
// wraps ErrNoVersion and names both ranges.
func (h *Hello) Negotiate(lowest, newest uint32) (uint32, error) {
	v := min(h.MaxVersion, newest)
	if v < h.MinVersion || v < lowest {
		return 0, fmt.Errorf("%w: peer speaks %d to %d, this side %d to %d",
			ErrNoVersion, h.MinVersion, h.MaxVersion, lowest, newest)
	}
	return v, nil
}

// AppendControl appends the whole frame of a message without fields: ping, pong, cancel, drain.
func AppendControl(dst []byte, k ControlKind, id uint32) []byte {
	dst = Header{Flags: FlagsControl, ID: id, Length: 1}.AppendTo(dst)
	return append(dst, byte(k))
}

// AppendCredit appends the whole frame of a credit message for n more bytes.
func AppendCredit(dst []byte, n uint64) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	dst = append(dst, byte(KindCredit))
	dst = AppendUint(dst, creditBytes, n)
	return finishControl(dst, at, 0)
}

// ParseCredit reads the fields of a credit message, as ParseControl returned them.
func ParseCredit(fieldBytes []byte) (n uint64, err error) {
	s := fields{rest: fieldBytes, off: 1}
	for s.next() {
		if s.field.Number == creditBytes {
			n = s.uint("credit bytes", MaxCredit)
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	return n, nil
}

// AppendTo appends the whole frame of l under kind KindLaneOffer or KindLaneAccept.
func (l *Lane) AppendTo(dst []byte, k ControlKind) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	dst = append(dst, byte(k))
	dst = AppendUint(dst, laneVersion, uint64(l.Version))
	dst = AppendUint(dst, laneRing, l.RingSize)
	return finishControl(dst, at, 0)
}

// ParseLane reads the fields of a lane offer or accept, as ParseControl returned them.
func ParseLane(fieldBytes []byte) (l Lane, err error) {
	s := fields{rest: fieldBytes, off: 1}
	for s.next() {
		switch s.field.Number {
		case laneVersion:
			l.Version = uint32(s.uint("lane version", maxUint32))
		case laneRing:
			l.RingSize = s.uint("lane ring bytes", MaxRing)
		}
	}
	if s.err != nil {
		return Lane{}, s.err
	}
	return l, nil
}

// finishControl writes the header of the control frame that begins at dst[at].
func finishControl(dst []byte, at int, id uint32) []byte {
	n := len(dst) - at - HeaderSize
	Header{Flags: FlagsControl, ID: id, Length: uint32(n)}.Put(dst[at:])
	return dst
}
