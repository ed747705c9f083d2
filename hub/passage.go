package hub

import (
	"strconv"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// passage is a frame that passes the hub, as a tap gets to see it. What it refers to is borrowed.
type passage struct {
	kind    wire.TapKind
	at      time.Duration // when it was read
	id      uint32        // as it came
	sent    uint32        // as it left, where that is known
	from    *peer         // nil: the hub itself
	to      *peer         // nil: nobody, or many
	copies  int           // how many peers get it
	object  string        // that was asked for, or ""
	method  []byte        // that is called, or
	called  string        // its name where that is kept
	payload []byte        // of Pandora's messages and replies the whole package
	code    wire.Code
	took    time.Duration // of a reply: since the call
	counted bool          // by taps.passed, once it has been shown
}

// pass shows a frame to those who tap. It allocates nothing, and keeps nothing.
//
// Who calls it has found somebody by taps.on, which is one atomic load and all that a frame pays
// when nobody taps.
func (p *passage) pass(list *[]*Tap) {
	for _, t := range *list {
		if p.counted && t.derives() {
			t.shown.Add(1)
		}
		if (!t.filtered || t.wants(p)) && t.leave() {
			t.record(p)
		}
	}
}

// spent says whether none of those who tap has leave to record a frame, whatever it is. Then it
// need not be shown. It is for frames that taps.passed counts afterwards, shown or not: nobody else
// counts this one, as another atomic addition for each frame cost 3 % of 3 million calls a second.
func spent(list *[]*Tap) bool {
	for _, t := range *list {
		if !t.derives() || t.credit.Load() > 0 {
			return false
		}
	}
	return true
}

func callKind(oneway bool) wire.TapKind {
	if oneway {
		return wire.TapOneway
	}
	return wire.TapCall
}

func replyKind(failed bool) wire.TapKind {
	if failed {
		return wire.TapError
	}
	return wire.TapReply
}

// titleOf is the name of a peer by its location, as a tap shows it: with its number, since many may
// be called the same.
func titleOf(seq uint64, location string) []byte {
	name := shortName(location)
	b := append([]byte(nil), name[:min(len(name), maxTapText-24)]...)
	return strconv.AppendUint(append(b, '#'), seq, 10)
}

// title is what a tap calls the peer; nothing when there is none.
func (p *peer) title() []byte {
	if p == nil {
		return nil
	}
	if b := p.label.Load(); b != nil {
		return *b
	}
	return nil
}

// renameLocked sets the location that p has told.
func (p *peer) renameLocked(location string) {
	p.name = location[:min(len(location), maxName)]
	p.label.Store(new(titleOf(p.seq, p.name)))
}
