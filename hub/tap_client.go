package hub

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pithos-ipc/pithos/transport"
)

// RemoteTap is a Tap of a hub in another process. It has a connection of its own, with which it
// ends.
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
	conn, err := transport.Dial(ctx, address, transport.Options{Authorize: transport.SameUser})
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
// counted in the next record. Errors: those of ctx, transport.ErrConnLost when the hub has gone.
func (t *RemoteTap) Next(ctx context.Context) ([]byte, error) {
	b, err := t.conn.Do(ctx, transport.Message{Method: methodTapped}, t.buf)
	if err != nil {
		return nil, remote(err)
	}
	if cap(b) > cap(t.buf) {
		t.buf = b[:cap(b)]
	}
	return b, nil
}

// Close ends the tap, and its connection, within ctx.
func (t *RemoteTap) Close(ctx context.Context) error { return t.conn.Close(ctx) }
