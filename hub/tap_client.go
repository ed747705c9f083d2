package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

// RemoteTap is a Tap of a hub in another process. It has a connection of its own, with which it
// ends. It neither busy-polls nor takes shared memory: a few messages a second are in no hurry, and
// the processors belong to those whose frames are recorded.
type RemoteTap struct {
	conn *transport.Conn
	buf  []byte
}

// OpenTap connects to the hub at address, as location, and taps it, within ctx. Errors: those of
// transport.Dial, *RemoteError.
func OpenTap(ctx context.Context, address string, location Location, o TapOptions) (*RemoteTap,
	error) {
	host, err := json.Marshal(location)
	if err != nil {
		return nil, fmt.Errorf("hub: location: %w", err)
	}
	options, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("hub: tap: %w", err)
	}
	conn, err := transport.Dial(ctx, address, transport.Options{Authorize: transport.SameUser,
		BusyPoll: new(time.Duration), Socket: transport.SocketOptions{Lane: transport.LaneOff}})
	if err != nil {
		return nil, err
	}
	t := &RemoteTap{conn: conn}
	for _, m := range [...]transport.Message{
		{Method: methodOnline, Body: host}, {Method: methodTap, Body: options},
	} {
		if _, err := conn.Do(ctx, m, nil); err != nil {
			conn.Abort(nil)
			<-conn.Done()
			return nil, remote(err)
		}
	}
	return t, nil
}

// Next waits until something was recorded, and returns it: whole records, one after the other, for
// wire.ParseTapRecord, valid until Next is called again. What the reader does not take in time is
// counted in the next record. Errors: those of ctx, ErrClosed after Stop when all was returned,
// transport.ErrConnLost when the hub has gone.
func (t *RemoteTap) Next(ctx context.Context) ([]byte, error) {
	b, err := t.conn.Do(ctx, transport.Message{Method: methodTapped}, t.buf)
	if err != nil {
		return nil, remote(err)
	}
	if len(b) == 0 {
		return nil, ErrClosed
	}
	if cap(b) > cap(t.buf) {
		t.buf = b[:cap(b)]
	}
	return b, nil
}

// Stop ends the recording within ctx: from then on Next returns what is left, and then ErrClosed,
// so that every frame until then is recorded or counted. It may be called while Next waits.
func (t *RemoteTap) Stop(ctx context.Context) error {
	_, err := t.conn.Do(ctx, transport.Message{Method: methodUntap}, nil)
	return remote(err)
}

// Close ends the tap, and its connection, within ctx.
func (t *RemoteTap) Close(ctx context.Context) error { return t.conn.Close(ctx) }
