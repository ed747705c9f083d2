package wire

import (
	"errors"
	"fmt"
)

// ErrNoVersion is in the error of Negotiate when two peers have no version in common.
var ErrNoVersion = errors.New("wire: no version in common")

// SyntaxError says that bytes do not have the form that the protocol wants.
type SyntaxError struct {
	What   string // the element that is wrong
	Offset int    // where it begins, in bytes from the start of what was parsed
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("wire: malformed %s at byte %d", e.What, e.Offset)
}

// LimitError says that a length, index or count is over what is allowed or over what is there.
type LimitError struct {
	What  string
	Value uint64
	Limit uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("wire: %s: %d, limit %d", e.What, e.Value, e.Limit)
}

// FlagsViolation is the error for a combination of flags that no native frame may have.
type FlagsViolation Flags

func (e FlagsViolation) Error() string {
	return fmt.Sprintf("wire: illegal flags 0x%02x", uint8(e))
}

// Code says what went wrong with a call. Codes below 64 are the protocol's own; 64 and above belong
// to applications.
type Code uint32

// The codes of the protocol.
const (
	CodeOK         Code = 0
	CodeCanceled   Code = 1  // the caller took the call back
	CodeDeadline   Code = 2  // the time of the call was over
	CodeNoMethod   Code = 3  // nothing serves this method
	CodeOverloaded Code = 4  // a limit of the callee is reached; nothing was done
	CodeTooLarge   Code = 5  // a body over the limit
	CodeDraining   Code = 6  // the callee takes no new calls; nothing was done
	CodeInternal   Code = 7  // the handler failed (a panic, no reply)
	CodeFailed     Code = 8  // the handler reported an error
	CodeProtocol   Code = 9  // the peer broke the protocol
	CodeVersion    Code = 10 // no version in common
	CodeDenied     Code = 11 // the peer is not allowed to do this
	CodeInvalid    Code = 12 // the arguments make no sense to the callee
	CodeNoRoute    Code = 13 // no provider matches
	CodePeerLost   Code = 14 // the provider went away in the middle of the call
	CodeStale      Code = 15 // the route is not known, or not any more; nothing was done
	CodeUser       Code = 64 // the first that applications may use
)

var codeNames = [...]string{
	"ok", "canceled", "deadline exceeded", "no such method", "overloaded", "too large", "draining",
	"internal error", "failed", "protocol error", "no version in common", "permission denied",
	"invalid argument", "no route", "peer lost", "stale route",
}

// String is the name of c in words.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint32(c))
}
