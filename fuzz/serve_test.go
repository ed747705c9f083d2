package fuzz_test

import (
	"bytes"
	"context"
	"errors"

	"github.com/pithos-ipc/pithos/transport"
)

// nestedBit marks the numbers of calls that handlers make; they are not in the table.
const nestedBit = 1 << 31

// serve is the handler of one side. It runs on the loop.
func (m *machine) serve(side int, r *transport.Request) {
	how, n, ok := openPayload(r.Body())
	if !ok {
		m.t.Errorf("side %d: request %d of %d bytes is not as it was sent", side, n, len(r.Body()))
		return
	}
	if r.Oneway() {
		m.mu.Lock()
		m.came[side] = append(m.came[side], n)
		m.mu.Unlock()
		return
	}
	if n&nestedBit != 0 {
		m.reply(r)
		return
	}
	c := m.lookup(n)
	if c == nil || c.side == side {
		m.t.Errorf("side %d: request %d, which nobody has made", side, n)
		return
	}
	m.conduct(side, c, how, r)
}

// conduct does what c asks for.
func (m *machine) conduct(side int, c *call, how conduct, r *transport.Request) {
	select {
	case <-c.arrived:
		m.t.Errorf("call %d was handled twice", c.n)
	default:
		close(c.arrived)
	}
	switch how {
	case echo:
		m.reply(r)
	case hold:
		d := r.Detach()
		m.mu.Lock()
		m.held[side] = append(m.held[side], parked{c.n, d})
		m.mu.Unlock()
	case pooled:
		m.pool.Handler(transport.HandlerFunc(m.reply)).Serve(r)
	case fails:
		m.ended(r.Fail(codeFails, "as told"))
	case forgets:
	case panics:
		panic("as told")
	case nested:
		m.nested(c, r.Detach())
	case blocks:
		_, err := r.Conn().Call(context.Background(), nil, nil)
		m.ended(r.Reply([]byte(verdict(err))))
	case twice:
		m.reply(r)
		if err := r.Reply(nil); !errors.Is(err, transport.ErrReplied) {
			m.t.Errorf("second reply to call %d: %v", c.n, err)
		}
	}
}

// reply answers r with what its caller expects.
func (m *machine) reply(r *transport.Request) { m.ended(r.Reply(answer(r.Body()))) }

// ended wants the error of a reply to be none, or the end of the connection.
func (m *machine) ended(err error) {
	switch v := verdict(err); v {
	case "ok", "lost", "closed":
	default:
		m.t.Errorf("reply: %v", err)
	}
}

// nested calls back over the connection of r, and answers r when that call has ended.
func (m *machine) nested(c *call, r *transport.Request) {
	body := payload(echo, c.n|nestedBit, 100)
	want := answer(body)
	err := r.Conn().Go(transport.Message{Body: body}, nil, func(reply []byte, err error) {
		switch {
		case err != nil:
			m.ended(r.Fail(codeNested, verdict(err)))
		case !bytes.Equal(want, reply):
			m.t.Errorf("the call back for call %d got another reply than its own", c.n)
			fallthrough
		default:
			m.reply(r)
		}
	})
	spoil(body)
	if err != nil {
		m.ended(r.Fail(codeNested, verdict(err)))
	}
}
