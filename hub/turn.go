package hub

import (
	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/transport"
)

// maxKept is the size in bytes from which on the buffers of a turn are not kept for the next one.
const maxKept = 64 << 10

// turn is what the hub needs while it handles one frame. Turns are reused.
type turn struct {
	scanner  js.Scanner
	clean    []byte    // the body, when it was not UTF-8
	scratch  []byte    // texts of wanted that had escapes, keys, words of errors
	out      []byte    // a body that is being built
	pieces   [3][]byte // of a body that is being sent
	id       uint32    // of the message
	ids      []uint32  // of the frames to found
	wanted   selector
	found    selection
	natives  []*target         // of found
	shared   *transport.Shared // the body for Pandora's peers, if it is shared
	envelope [2][]byte
	message  [numMessageKeys][]byte
}

// release lets go of everything that belongs to others.
func (t *turn) release() {
	t.found.reset()
	clear(t.natives)
	t.natives = t.natives[:0]
	t.shared.Release()
	t.shared = nil
	t.pieces = [3][]byte{}
	t.envelope = [2][]byte{}
	t.message = [numMessageKeys][]byte{}
	t.wanted = selector{}
	for _, b := range []*[]byte{&t.clean, &t.scratch, &t.out} {
		if cap(*b) > maxKept {
			*b = nil
		}
	}
}

// whole is a body in one piece.
func (t *turn) whole(body []byte) [][]byte {
	t.pieces[0] = body
	return t.pieces[:1]
}

// reply is the body of a reply to id, with the package as it is.
func (t *turn) reply(id uint32, pkg []byte) [][]byte {
	t.out = appendReplyHead(t.out[:0], id)
	if len(pkg) > 0 {
		t.out = append(t.out, `,"data":`...)
	}
	n := len(t.out)
	t.out = append(t.out, tail...)
	t.pieces = [3][]byte{t.out[:n:n], pkg, t.out[n:]}
	return t.pieces[:]
}

// framed is a value between what goes in front of it and behind it.
func (t *turn) framed(head string, value []byte) [][]byte {
	t.out = append(t.out[:0], head...)
	n := len(t.out)
	t.out = append(t.out, tail...)
	t.pieces = [3][]byte{t.out[:n:n], value, t.out[n:]}
	return t.pieces[:]
}

// share has those who were found share the message of p, if that is worth while. It returns where
// the message lies then.
func (t *turn) share(p *peer, raw []byte) []byte {
	if !worthSharing(len(raw), t.found.targets) {
		return raw
	}
	if t.shared = p.share(t.framed(downHead, raw)...); t.shared == nil {
		return raw
	}
	return t.shared.Bytes()[len(downHead):][:len(raw)]
}
