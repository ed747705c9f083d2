package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// tap begins the tap of a peer, which has one at a time. It ends with the connection.
func (h *Hub) tap(s *socket, body []byte) error {
	var o TapOptions
	if len(body) > 0 {
		if err := json.Unmarshal(body, &o); err != nil {
			return err
		}
	}
	if s.tap.Load() != nil {
		return errors.New("this connection taps already")
	}
	t, err := h.Tap(o)
	if err != nil {
		return err
	}
	s.tap.Store(t)
	if s.conn.Err() != nil { // it has ended, and may not have seen the tap
		t.Close()
	}
	return nil
}

// untap ends the tap of a peer. What it has recorded can still be fetched.
func (h *Hub) untap(s *socket) error {
	t := s.tap.Load()
	if t == nil {
		return errNoTap
	}
	t.Close()
	return nil
}

var errNoTap = errors.New("this connection does not tap: call " + methodTap + " first")

// tapped replies with what the tap of a peer has recorded, when there is something and its turn has
// come, and with nothing when it has ended and all was fetched. A peer that is slow to ask has the
// tap leave frames out, and holds up nobody.
func (h *Hub) tapped(s *socket, r *transport.Request) error {
	t := s.tap.Load()
	if t == nil {
		return errNoTap
	}
	if t.asked.Add(1) > maxAsked {
		t.asked.Add(-1)
		return &commandError{wire.CodeOverloaded,
			fmt.Sprintf("calls of %s without a reply: %d, limit %d", methodTapped, maxAsked+1,
				maxAsked)}
	}
	d := r.Detach()
	h.ending.Go(func() {
		defer t.asked.Add(-1)
		ctx, cancel := context.WithCancel(d.Context())
		defer cancel()
		defer context.AfterFunc(h.serving, cancel)()
		t.serving.Lock()
		defer t.serving.Unlock()
		b, err := t.Next(ctx)
		if err == nil || errors.Is(err, ErrClosed) {
			err = d.Reply(b)
		}
		if err != nil {
			_ = d.Fail(wire.CodeDraining, fmt.Sprint("tap: ", err))
		}
	})
	return errLater
}

// maxAsked is how many calls of methodTapped a peer may have under way: the next one may come
// before the last one has wholly ended.
const maxAsked = 2
