package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pithos-ipc/pithos/wire"
)

// dialect says how the bodies of a stream are read.
type dialect uint8

const (
	dialectUnknown dialect = iota // no frame with a body has come
	dialectSilent                 // only frames with flags 0 have: a hello may still come
	dialectNative
	dialectPandora
)

// maxParts is how many bodies may be in parts at a time before a stream is taken for garbage.
const maxParts = 1 << 16

// metaRoom is the longest meta together with its length.
const metaRoom = wire.MaxMeta + 3

// dumper prints the frames of one stream. It holds no more than one body, or the start of it.
type dumper struct {
	in      *bufio.Reader
	out     *bufio.Writer
	maxBody uint32
	width   int
	json    bool
	dialect dialect
	at      int64        // where the frame begins, in bytes from the start of the stream
	body    bytes.Buffer // what is kept of its body
	parts   map[partKey]struct{}
}

// partKey names a body of which parts have come, and not the last one.
type partKey struct {
	flags wire.Flags // without Part
	id    uint32
}

// run prints a line for each frame until the stream ends or goes wrong. What a tap has written is
// told by how it begins.
func (d *dumper) run() error {
	const name = len(wire.TapMagic) - 1 // the last byte is the version
	switch magic, _ := d.in.Peek(len(wire.TapMagic)); {
	case string(magic) == wire.TapMagic:
		return d.tapped()
	case len(magic) > name && string(magic[:name]) == wire.TapMagic[:name]:
		return fmt.Errorf("a file of pithos tap in version %d of its form; this reads version %d",
			magic[name], wire.TapMagic[name])
	}
	if d.json {
		return errors.New("--json: only for what a tap has written")
	}
	for {
		more, err := d.next()
		if err != nil || !more {
			return errors.Join(d.out.Flush(), err)
		}
		if d.in.Buffered() == 0 { // whoever follows a live stream sees what has come
			if err := d.out.Flush(); err != nil {
				return err
			}
		}
	}
}

// next prints one frame; it reports false at the end of the stream.
func (d *dumper) next() (bool, error) {
	var head [wire.HeaderSize]byte
	n, err := io.ReadFull(d.in, head[:])
	if err == io.EOF {
		return false, nil
	}
	if err == io.ErrUnexpectedEOF {
		return false, fmt.Errorf("frame at byte %d: %d of %d bytes of its header: %w", d.at, n,
			wire.HeaderSize, errCut)
	}
	if err != nil {
		return false, err
	}
	h, _ := wire.ParseHeader(head[:])
	if err := d.read(h); err != nil {
		return false, err
	}
	if err := d.decide(h); err != nil {
		return false, d.place(err)
	}
	what, err := d.describe(h)
	if err != nil {
		return false, d.place(err)
	}
	words := flagWords(h.Flags)
	fmt.Fprintf(d.out, "%d: %s, id %d, %s", d.at, words, h.ID, byteWords(int(h.Length)))
	if what != "" {
		d.out.WriteString(": " + what)
	}
	d.at += wire.HeaderSize + int64(h.Length)
	return true, d.out.WriteByte('\n')
}

// read takes the body of h off the stream. What is kept grows with what comes.
func (d *dumper) read(h wire.Header) error {
	limit, keep := uint64(d.maxBody), int64(h.Length)
	if d.dialect == dialectNative || h.Flags.Check() == nil && d.dialect == dialectUnknown {
		limit += metaRoom
		keep = min(keep, metaRoom+int64(d.width)*utf8.UTFMax)
	}
	if uint64(h.Length) > limit {
		return fmt.Errorf("frame at byte %d: %s: body of %d bytes, limit %d", d.at,
			flagWords(h.Flags), h.Length, limit)
	}
	if d.body.Cap() > 1<<20 {
		d.body = bytes.Buffer{}
	}
	d.body.Reset()
	n, err := io.CopyN(&d.body, d.in, keep)
	if err == nil {
		var m int64
		m, err = io.CopyN(io.Discard, d.in, int64(h.Length)-keep)
		n += m
	}
	if err == io.EOF {
		return fmt.Errorf("frame at byte %d: %s: %d of %d bytes of its body: %w", d.at,
			flagWords(h.Flags), n, h.Length, errCut)
	}
	return err
}

// decide finds out what kind of stream this is, from the first frames with a body.
func (d *dumper) decide(h wire.Header) error {
	if h.Length == 0 || d.dialect == dialectNative || d.dialect == dialectPandora {
		return nil
	}
	switch {
	case wire.IsHello(h, d.body.Bytes()), d.dialect == dialectUnknown && h.Flags.Check() == nil:
		d.dialect = dialectNative
	case h.Flags == 0:
		d.dialect = dialectSilent
	case d.dialect == dialectSilent, h.Flags&^(wire.Oneway|wire.Request) == 0:
		d.dialect = dialectPandora
	default:
		return h.Flags.Check()
	}
	return nil
}

// describe says what is in the body that was read.
func (d *dumper) describe(h wire.Header) (string, error) {
	if d.dialect != dialectNative {
		return d.foreign(h)
	}
	if err := h.Flags.Check(); err != nil {
		return "", err
	}
	if h.Flags == wire.FlagsControl {
		if h.Length > wire.MaxControl {
			return "", &wire.LimitError{What: "control bytes", Value: uint64(h.Length),
				Limit: wire.MaxControl}
		}
		return control(d.body.Bytes())
	}
	k := partKey{h.Flags &^ wire.Part, h.ID}
	_, open := d.parts[k]
	switch {
	case h.Flags&wire.Part == 0:
		delete(d.parts, k)
	case len(d.parts) >= maxParts:
		return "", &wire.LimitError{What: "bodies in parts", Value: maxParts + 1, Limit: maxParts}
	default:
		d.parts[k] = struct{}{}
	}
	if open {
		return "continued, payload " + d.payload(d.body.Bytes(), int(h.Length)), nil
	}
	m, rest, err := wire.ParseBody(d.body.Bytes())
	if err != nil {
		return "", err
	}
	name := "payload "
	if h.Flags&wire.Error != 0 {
		name = "text "
	}
	meta := d.body.Len() - len(rest)
	return metaWords(m, h.Flags) + name + d.payload(rest, int(h.Length)-meta), nil
}

// foreign says what is in a body that is not native.
func (d *dumper) foreign(h wire.Header) (string, error) {
	if h.Length == 0 {
		return "", nil
	}
	if !json.Valid(d.body.Bytes()) {
		var v any
		return "", json.Unmarshal(d.body.Bytes(), &v)
	}
	return show(d.body.Bytes(), int(h.Length), d.width), nil
}

// place says where in the stream err, which is about the body, belongs.
func (d *dumper) place(err error) error {
	body := d.at + wire.HeaderSize
	var s *wire.SyntaxError
	var j *json.SyntaxError
	switch {
	case errors.As(err, &s):
		return fmt.Errorf("byte %d: malformed %s, in the frame at byte %d", body+int64(s.Offset),
			s.What, d.at)
	case errors.As(err, &j):
		return fmt.Errorf("byte %d: not JSON: %s, in the frame at byte %d",
			body+max(0, j.Offset-1), j, d.at)
	}
	return fmt.Errorf("frame at byte %d: %s", d.at, strings.TrimPrefix(err.Error(), "wire: "))
}

// payload says how long a payload is, and shows its start, which b holds.
func (d *dumper) payload(b []byte, size int) string {
	if size == 0 || d.width == 0 {
		return byteWords(size)
	}
	return byteWords(size) + ": " + show(b, size, d.width)
}

func byteWords(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// show is the start of a payload of size bytes, width characters of it: as text where it is text,
// else in hexadecimal.
func show(b []byte, size, width int) string {
	var text strings.Builder
	n, i := 0, 0
	for ; i < len(b) && n < width; n++ {
		r, k := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && k <= 1 {
			if size > len(b) && !utf8.FullRune(b[i:]) {
				break
			}
			short := b[:min(len(b), max(1, width/2))]
			return "0x" + hex.EncodeToString(short) + dots(size > len(short))
		}
		if unicode.IsPrint(r) {
			text.WriteRune(r)
		} else { // as an escape: nothing here may reach the terminal's own language
			q := strconv.QuoteRune(r)
			text.WriteString(q[1 : len(q)-1])
		}
		i += k
	}
	return text.String() + dots(i < size)
}

func dots(more bool) string {
	if more {
		return "..."
	}
	return ""
}

// flagWords are the names of the bits of f.
func flagWords(f wire.Flags) string {
	names := [...]string{"oneway", "request", "native", "error", "control", "part", "0x02", "0x01"}
	var words []string
	for i, name := range names {
		if f&(0x80>>i) != 0 {
			words = append(words, name)
		}
	}
	if words == nil {
		return "no flags"
	}
	return strings.Join(words, " ")
}

// metaWords are the fields of m, each followed by a comma.
func metaWords(m wire.Meta, f wire.Flags) string {
	var b strings.Builder
	if len(m.Method) > 0 {
		fmt.Fprintf(&b, "method %q, ", m.Method)
	}
	if m.TimeoutUs > 0 {
		fmt.Fprintf(&b, "timeout %s, ", microseconds(m.TimeoutUs))
	}
	if len(m.Trace) > 0 {
		fmt.Fprintf(&b, "trace %q, ", m.Trace)
	}
	if m.Route > 0 {
		fmt.Fprintf(&b, "route %d, ", m.Route)
	}
	if m.Code > 0 || f&wire.Error != 0 {
		fmt.Fprintf(&b, "code %d (%s), ", uint32(m.Code), m.Code)
	}
	if m.Files > 0 {
		fmt.Fprintf(&b, "%d descriptors, ", m.Files)
	}
	return b.String() + routingWords(m)
}

// routingWords are the fields of m that only a hub and its peers use.
func routingWords(m wire.Meta) string {
	var b strings.Builder
	if len(m.Action) > 0 {
		fmt.Fprintf(&b, "action %q, ", m.Action)
	}
	if len(m.Selector) > 0 {
		fmt.Fprintf(&b, "selector %q, ", m.Selector)
	}
	if m.Fan > 0 {
		fmt.Fprintf(&b, "fan %d, ", m.Fan)
	}
	if m.Caller > 0 {
		fmt.Fprintf(&b, "caller %d, ", m.Caller)
	}
	if m.Key > 0 {
		fmt.Fprintf(&b, "key %d, ", m.Key)
	}
	return b.String()
}

// microseconds shows n of them; more than a Duration holds stay a number.
func microseconds(n uint64) string {
	if n > uint64((1<<63-1)/time.Microsecond) {
		return fmt.Sprintf("%d us", n)
	}
	return (time.Duration(n) * time.Microsecond).String()
}

// control says what a control message is about.
func control(body []byte) (string, error) {
	k, fields, err := wire.ParseControl(body)
	if err != nil {
		return "", err
	}
	switch k {
	case wire.KindHello:
		h, err := wire.ParseHello(body)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("hello, version %s, capabilities %s, body %d, calls %d, bytes %d",
			rangeOf(h.MinVersion, h.MaxVersion), capabilityWords(h.Capabilities), h.MaxBody,
			h.Calls, h.Bytes), nil
	case wire.KindCredit:
		n, err := wire.ParseCredit(fields)
		return fmt.Sprintf("credit, bytes %d", n), err
	case wire.KindLaneOffer, wire.KindLaneAccept:
		l, err := wire.ParseLane(fields)
		return fmt.Sprintf("%s, version %d, ring %d", k, l.Version, l.RingSize), err
	}
	if len(fields) > 0 {
		return fmt.Sprintf("%s, %s of fields", k, byteWords(len(fields))), nil
	}
	return k.String(), nil
}

// capabilityWords are the names of the bits of c.
func capabilityWords(c wire.Capabilities) string {
	var words []string
	for _, known := range [...]struct {
		bit  wire.Capabilities
		name string
	}{{wire.CapFiles, "files"}, {wire.CapLane, "lane"}, {wire.CapPlace, "place"}} {
		if c&known.bit != 0 {
			words = append(words, known.name)
		}
		c &^= known.bit
	}
	if c != 0 {
		words = append(words, fmt.Sprintf("0x%x", uint64(c)))
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, "+")
}
