package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/pithos-ipc/pithos/wire"
)

// The errors that callers branch on. Compare with errors.Is.
var (
	// ErrClosed says that this side has closed the connection, or the listener. Wraps
	// net.ErrClosed.
	ErrClosed = fmt.Errorf("transport: closed: %w", net.ErrClosed)
	// ErrConnLost says that the connection ended while the call was under way, or before it could
	// be sent; the call may have been carried out or not. It is never retried silently.
	ErrConnLost = errors.New("transport: connection lost")
	// ErrOnLoop says that a handler or callback on the loop asked for something that would block
	// it.
	ErrOnLoop = errors.New("transport: would block the loop")
	// ErrFull says that the outbox, or the credit that the peer gave, has no room for this frame
	// now.
	ErrFull = errors.New("transport: no room to send")
	// ErrDraining says that the peer, or this side, takes no new calls on this connection.
	ErrDraining = errors.New("transport: draining")
	// ErrReplied says that the request has had its one reply already, or wants none.
	ErrReplied = errors.New("transport: already replied")
	// ErrNotNative says that the peer does not speak the native protocol.
	ErrNotNative = errors.New("transport: peer is not native")
	// ErrNative says that raw frames have no place on a connection whose peer is native.
	ErrNative = errors.New("transport: peer is native")
	// ErrNoFiles says that the peer did not agree to receive descriptors.
	ErrNoFiles = errors.New("transport: descriptors were not negotiated")
	// ErrDenied says that the credentials of the peer were refused by the policy.
	ErrDenied = errors.New("transport: peer not allowed")
	// ErrInUse says that a live server listens on the address already.
	ErrInUse = errors.New("transport: address in use by a live server")
	// ErrDeadline says that the time of a call or of a send was over. Wraps os.ErrDeadlineExceeded
	// and context.DeadlineExceeded.
	ErrDeadline = fmt.Errorf("transport: %w", errors.Join(os.ErrDeadlineExceeded,
		context.DeadlineExceeded))
)

// LimitError says that something is over a limit of this side or of the peer.
type LimitError struct {
	What  string // what was counted, with its unit
	Value int64
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("transport: %s: %d, limit %d", e.What, e.Value, e.Limit)
}

// RemoteError is the error reply of a peer.
type RemoteError struct {
	Code wire.Code
	Text string
}

// remoteError is the error that a frame with this code and text reports.
func remoteError(code wire.Code, text []byte) *RemoteError {
	return &RemoteError{Code: codeOf(code), Text: string(text)}
}

// codeOf is the code that an error frame counts as: one without any has failed.
func codeOf(c wire.Code) wire.Code {
	if c == wire.CodeOK {
		return wire.CodeFailed
	}
	return c
}

func (e *RemoteError) Error() string {
	if e.Text == "" {
		return "transport: remote: " + e.Code.String()
	}
	return "transport: remote: " + e.Code.String() + ": " + e.Text
}

// Is lets errors.Is find the local error that means the same as the code.
func (e *RemoteError) Is(target error) bool {
	switch e.Code {
	case wire.CodeDeadline:
		return target == ErrDeadline || target == context.DeadlineExceeded ||
			target == os.ErrDeadlineExceeded
	case wire.CodeCanceled:
		return target == context.Canceled
	case wire.CodeDraining:
		return target == ErrDraining
	case wire.CodeDenied:
		return target == ErrDenied
	}
	return false
}

// ProtocolError says that the peer sent what the protocol does not allow; the connection is over.
type ProtocolError struct {
	Err error
}

func (e *ProtocolError) Error() string { return "transport: protocol violation: " + e.Err.Error() }

// Unwrap returns what was wrong.
func (e *ProtocolError) Unwrap() error { return e.Err }

// DroppedError says what Close could not finish before its context was done.
type DroppedError struct {
	Calls  int // of ours without a reply
	Served int // of the peer's that were not answered
	Frames int // not written
	Bytes  int // of those frames
}

func (e *DroppedError) Error() string {
	return fmt.Sprintf("transport: closed with %d calls unanswered, %d unserved, %d frames (%d "+
		"bytes) unsent", e.Calls, e.Served, e.Frames, e.Bytes)
}

// OpError is an error at the edge of the package: listening, dialling, taking over a descriptor.
type OpError struct {
	Op   string // "listen", "dial", "accept"
	Path string // the address as it was given
	Err  error
}

func (e *OpError) Error() string {
	return "transport: " + e.Op + " " + e.Path + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }
