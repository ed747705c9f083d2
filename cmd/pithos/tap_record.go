package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pithos-ipc/pithos/wire"
)

// recordPrinter prints what a tap has recorded.
//
//	01:00:00.000000 call  web -> calculator  math.abs  id 7>562, 7 bytes: [-1234]
//	01:00:00.000018 reply calculator -> web  math.abs  id 562>9, 4 bytes, took 18us: 1234
type recordPrinter struct {
	out   *bufio.Writer
	width int  // characters shown of a payload
	json  bool // an object for each record
	zone  *time.Location
}

// print prints one record.
func (p *recordPrinter) print(r *wire.TapRecord) error {
	if p.json {
		return p.printJSON(r)
	}
	if r.Lost > 0 {
		fmt.Fprintf(p.out, "(%d frames not recorded)\n", r.Lost)
	}
	if r.Kind == wire.TapNote {
		return nil
	}
	at := time.Unix(0, int64(r.Time)).In(p.zone)
	fmt.Fprintf(p.out, "%s %-7s %s", at.Format("15:04:05.000000"), r.Kind, endpoints(r))
	if name := called(r); name != "" {
		p.out.WriteString("  " + name)
	}
	fmt.Fprintf(p.out, "  id %d", r.ID)
	if r.Sent != 0 {
		fmt.Fprintf(p.out, ">%d", r.Sent)
	}
	fmt.Fprintf(p.out, ", %s", byteWords(int(r.Size)))
	if r.Took > 0 {
		fmt.Fprintf(p.out, ", took %s", rounded(time.Duration(r.Took)))
	}
	if r.Code > 0 {
		fmt.Fprintf(p.out, ", code %d (%s)", uint32(r.Code), r.Code)
	}
	if len(r.Body) > 0 && p.width > 0 {
		p.out.WriteString(": " + show(r.Body, int(r.Size), p.width))
	}
	return p.out.WriteByte('\n')
}

// endpoints says from whom to whom.
func endpoints(r *wire.TapRecord) string {
	from, to := "hub", "hub"
	if len(r.From) > 0 {
		from = show(r.From, len(r.From), maxWidth)
	}
	switch {
	case len(r.To) > 0:
		to = show(r.To, len(r.To), maxWidth)
	case r.Copies > 1:
		to = fmt.Sprintf("%d peers", r.Copies)
	case r.Copies == 0 && r.Kind != wire.TapControl:
		to = "nobody"
	}
	return from + " -> " + to
}

// called is the object and the method of r, as in object.method.
func called(r *wire.TapRecord) string {
	var parts []string
	for _, name := range [][]byte{r.Object, r.Method} {
		if len(name) > 0 {
			parts = append(parts, show(name, len(name), maxWidth))
		}
	}
	return strings.Join(parts, ".")
}

// rounded leaves three digits or so of d.
func rounded(d time.Duration) time.Duration {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
}

// recordJSON is a record as an object. A payload that is JSON, and whole, is there as it is; other
// text as a string, and what is no text as bytes, which JSON has in base 64.
type recordJSON struct {
	Time   time.Time       `json:"time"`
	Kind   string          `json:"kind"`
	ID     uint32          `json:"id"`
	Sent   uint32          `json:"sent,omitempty"`
	Size   uint64          `json:"size"`
	From   string          `json:"from,omitempty"`
	To     string          `json:"to,omitempty"`
	Copies uint32          `json:"copies,omitempty"`
	Object string          `json:"object,omitempty"`
	Method string          `json:"method,omitempty"`
	TookUs float64         `json:"took_us,omitempty"`
	Code   uint32          `json:"code,omitempty"`
	Error  string          `json:"error,omitempty"`
	Lost   uint64          `json:"lost,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
	Text   string          `json:"text,omitempty"`
	Bytes  []byte          `json:"bytes,omitempty"`
}

func (p *recordPrinter) printJSON(r *wire.TapRecord) error {
	j := recordJSON{Time: time.Unix(0, int64(r.Time)).UTC(), Kind: r.Kind.String(), ID: r.ID,
		Sent: r.Sent, Size: r.Size, From: string(r.From), To: string(r.To), Copies: r.Copies,
		Object: string(r.Object), Method: string(r.Method), TookUs: float64(r.Took) / 1e3,
		Code: uint32(r.Code), Lost: r.Lost}
	if r.Code != 0 {
		j.Error = r.Code.String()
	}
	switch whole := uint64(len(r.Body)) == r.Size; {
	case whole && json.Valid(r.Body):
		j.Body = r.Body
	case utf8.Valid(r.Body):
		j.Text = string(r.Body)
	default:
		j.Bytes = r.Body
	}
	return json.NewEncoder(p.out).Encode(j)
}

// tapped prints what a tap has written to a file.
func (d *dumper) tapped() error {
	p := &recordPrinter{out: d.out, width: d.width, json: d.json, zone: time.Local}
	d.at = int64(len(wire.TapMagic))
	_, _ = d.in.Discard(len(wire.TapMagic)) // it was peeked at
	for {
		r, err := d.record()
		if err == io.EOF {
			return d.out.Flush()
		}
		if err == nil {
			err = p.print(&r)
		}
		if err != nil {
			return errors.Join(d.out.Flush(), err)
		}
		if d.in.Buffered() == 0 {
			if err := d.out.Flush(); err != nil {
				return err
			}
		}
	}
}

// record reads one record. It is good until the next one is read.
func (d *dumper) record() (wire.TapRecord, error) {
	var length [4]byte
	n, err := io.ReadFull(d.in, length[:])
	if err == io.EOF {
		return wire.TapRecord{}, err
	}
	if err == io.ErrUnexpectedEOF {
		return wire.TapRecord{}, fmt.Errorf("record at byte %d: %d of 4 bytes of its length: %w",
			d.at, n, errCut)
	}
	if err != nil {
		return wire.TapRecord{}, err
	}
	size := binary.BigEndian.Uint32(length[:])
	d.body.Reset()
	d.body.Write(length[:])
	if size <= wire.MaxTapRecord { // else the parser says so
		_, err = io.CopyN(&d.body, d.in, int64(size))
	}
	if err == io.EOF {
		return wire.TapRecord{}, fmt.Errorf("record at byte %d: %d of %d bytes: %w", d.at,
			d.body.Len()-len(length), size, errCut)
	}
	if err != nil {
		return wire.TapRecord{}, err
	}
	r, k, err := wire.ParseTapRecord(d.body.Bytes())
	if err != nil {
		return r, fmt.Errorf("record at byte %d: %s", d.at,
			strings.TrimPrefix(err.Error(), "wire: "))
	}
	d.at += int64(k)
	return r, nil
}
