package transport

import (
	"os"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// partKey says which body a part belongs to: calls, oneways and replies count for themselves.
type partKey struct {
	flags wire.Flags // call, oneway or reply; errors are replies
	id    uint32
}

// assemblies are the bodies of which some parts are here. Loop only.
type assemblies struct {
	table map[partKey]*portAssembly
	count map[wire.Flags]int
}

// portAssembly is one body on its way in: metaLen | meta | payload so far.
type portAssembly struct {
	flags   wire.Flags
	body    []byte
	head    int        // bytes of metaLen and meta
	size    int        // of the payload so far, discarded or not
	charged int64      // for body
	cost    int64      // credit used by the parts
	files   []*os.File // came with the first part
	begun   time.Time  // when the first part came
	refused error      // the rest is thrown away, the call answered with overloaded
}

// incoming is a whole body.
type incoming struct {
	portAssembly
	owned bool // body has memory of its own
}

// assemble adds f to the body that it is part of and says whether that is whole now. cost is the
// credit that the frame has used.
func (e *portable) assemble(f frame, cost int64) (incoming, bool, error) {
	key := partKey{f.Flags &^ (wire.Part | wire.Error), f.ID}
	a := e.parts.table[key]
	if a == nil {
		in, err := e.firstPart(f, cost)
		if err != nil {
			return in, false, err
		}
		if f.Flags&wire.Part == 0 {
			e.trace(false, f.Header, len(f.Body))
			return in, true, nil
		}
		e.trace(false, f.Header, 0)
		return in, false, e.keep(key, in)
	}
	if a.flags != f.Flags&^wire.Part {
		return incoming{}, false, &ProtocolError{errParts}
	}
	if err := e.nextPart(key, a, f); err != nil {
		return incoming{}, false, err
	}
	a.cost += cost
	if f.Flags&wire.Part != 0 {
		e.trace(false, f.Header, 0)
		return incoming{}, false, nil
	}
	e.trace(false, f.Header, a.head+a.size)
	e.parts.remove(key)
	e.refund(a.charged)
	return incoming{portAssembly: *a, owned: true}, true, nil
}

// firstPart checks the frame that begins a body, whole or not.
func (e *portable) firstPart(f frame, cost int64) (incoming, error) {
	in := incoming{owned: f.owned}
	meta, payload, err := wire.ParseBody(f.Body)
	if err != nil {
		return in, &ProtocolError{err}
	}
	in.flags, in.body, in.cost = f.Flags&^wire.Part, f.Body, cost
	in.head, in.size = len(f.Body)-len(payload), len(payload)
	if meta.TimeoutUs > 0 {
		in.begun = time.Now()
	}
	if err := e.checkSize(in.size); err != nil {
		return in, err
	}
	in.files, err = e.in.takeFiles(f, int(meta.Files))
	return in, err
}

func (e *portable) checkSize(n int) error {
	if limit := e.set.Limits.MaxBody; n > limit {
		return &ProtocolError{&LimitError{What: "body bytes", Value: int64(n), Limit: int64(limit)}}
	}
	return nil
}

// keep begins an assembly with its first part.
func (e *portable) keep(key partKey, in incoming) error {
	if n := e.parts.count[key.flags]; n >= e.set.Limits.MaxCalls && key.flags != wire.FlagsReply {
		closeFiles(in.files)
		return &ProtocolError{&LimitError{What: "bodies begun", Value: int64(n) + 1,
			Limit: int64(e.set.Limits.MaxCalls)}}
	}
	a := in.portAssembly
	a.body = nil
	e.parts.add(key, &a)
	return e.store(key, &a, in.body)
}

// nextPart adds a part to a.
func (e *portable) nextPart(key partKey, a *portAssembly, f frame) error {
	a.size += len(f.Body)
	if err := e.checkSize(a.size); err != nil {
		return err
	}
	return e.store(key, a, f.Body)
}

// store appends p to a, unless its bytes are not wanted any more.
func (e *portable) store(key partKey, a *portAssembly, p []byte) error {
	if a.refused != nil || key.flags == wire.FlagsReply && e.abandoned(key.id) {
		e.forget(a)
		return nil
	}
	if need := len(a.body) + len(p); need > cap(a.body) {
		grown := max(need, min(2*cap(a.body), a.head+e.set.Limits.MaxBody))
		if err := e.charge(int64(grown - cap(a.body))); err != nil {
			if key.flags != wire.FlagsCall {
				return err
			}
			a.refused = err
			e.forget(a)
			return nil
		}
		a.charged += int64(grown - cap(a.body))
		a.body = append(make([]byte, 0, grown), a.body...)
	}
	a.body = append(a.body, p...)
	return nil
}

// forget throws away what is here of a.
func (e *portable) forget(a *portAssembly) {
	e.refund(a.charged)
	a.body, a.charged = nil, 0
	closeFiles(a.files)
	a.files = nil
}

func (e *portable) abandoned(id uint32) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.calls.table[id]
	return c == nil || c.state == callTomb
}

func (p *assemblies) add(key partKey, a *portAssembly) {
	if p.count == nil {
		p.count = make(map[wire.Flags]int)
	}
	p.table[key] = a
	p.count[key.flags]++
}

func (p *assemblies) remove(key partKey) {
	delete(p.table, key)
	p.count[key.flags]--
}

// close closes the descriptors of bodies that never became whole.
func (p *assemblies) close() {
	for _, a := range p.table {
		closeFiles(a.files)
	}
	clear(p.table)
}
