package fuzz_test

import (
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

// A program is bytes. The first one is the set-up, then come instructions of three bytes each:
//
//	+--------+   +--------+--------+--------+   +--------+--------+--------+
//	| set-up |   | op|side| x      | y      |   | op|side| x      | y      |   ...
//	+--------+   +--------+--------+--------+   +--------+--------+--------+
//
// Every byte string is a program; what is left over at the end is not used.
type program struct {
	setup setup
	steps []step
}

// These bound a program, so that none takes long: what takes 10 seconds, with all engines and on a
// slow machine, is a hang to the fuzzer.
const (
	maxSteps = 64
	maxBytes = 16 << 20               // of payloads, which small buffers cut into many pieces
	maxWaits = 500 * time.Millisecond // of oneways for room
)

// setup is a set of choices for a connection.
type setup uint8

const (
	setupTight   setup = 1 << iota // small limits
	setupNarrow                    // small socket buffers
	setupBlock                     // no busy-polling
	setupOwn                       // each end has loops of its own
	setupSplit                     // the stream is cut into small pieces on its way
	setupPatient                   // every step is finished before the next one begins
)

// op is what an instruction does.
type op uint8

const (
	opCall    op = iota // a call that waits, on a goroutine of its own
	opGo                // a call with a callback
	opSend              // a oneway that waits for room
	opTry               // a oneway that does not
	opBurst             // some calls at once
	opCancel            // take the x-th call back
	opRelease           // answer the x-th request that is held
	opPing              // wait for a pong
	opSettle            // wait until everything is done that can be
	opDrain             // ask the other side for no new calls
	opClose             // close in good order, within a moment
	opAbort             // end now
	opCut               // the socket is shut down beneath
	ops
)

// step is one instruction.
type step struct {
	op   op
	side int // 0: the client's end, 1: the server's
	x, y byte
}

// parseProgram reads b. Ends of the connection are rarer than they would be by the numbers alone:
// most of a program should run.
func parseProgram(b []byte) program {
	if len(b) == 0 {
		return program{}
	}
	p := program{setup: setup(b[0])}
	for b = b[1:]; len(b) >= 3 && len(p.steps) < maxSteps; b = b[3:] {
		s := step{op: op(b[0]&0x7f) % (4 * ops), side: int(b[0] >> 7), x: b[1], y: b[2]}
		if s.op >= ops {
			s.op %= opDrain
		}
		p.steps = append(p.steps, s)
	}
	return p
}

// encode is the bytes of a program that parseProgram reads back.
func (p program) encode() []byte {
	b := []byte{byte(p.setup)}
	for _, s := range p.steps {
		b = append(b, byte(s.op)|byte(s.side)<<7, s.x, s.y)
	}
	return b
}

// tightBody is the largest body, in bytes, under setupTight: some of them travel in parts.
const tightBody = 320 << 10

// tightCalls is how many unanswered calls each side takes under setupTight.
const tightCalls = 3

// options are the ones of one end under s.
func (s setup) options() transport.Options {
	var o transport.Options
	if s&setupTight != 0 {
		o.Limits = transport.Limits{MaxBody: tightBody, MaxCalls: tightCalls, MaxPending: 8,
			Outbox: 64 << 10}
		if s&setupPatient == 0 {
			o.Limits.MaxCallBytes = 1 // as few as the largest body allows
		}
	}
	if s&setupNarrow != 0 {
		o.Socket = transport.SocketOptions{SendBuffer: 4 << 10, ReceiveBuffer: 4 << 10,
			Ring: transport.MinRing}
	}
	if s&setupBlock != 0 {
		o.BusyPoll = new(time.Duration)
	}
	return o
}

// size is how large a payload a byte of a program means.
func size(y byte) int {
	sizes := [...]int{0, 1, 64, 1000, 4096, 65_536, 100_000, 300_000, 700_000}
	return sizes[int(y)%len(sizes)]
}

// conduct is what a handler does with a request; it travels as the first byte of the payload.
type conduct uint8

const (
	echo    conduct = iota // answers at once
	hold                   // answers when the program says so
	pooled                 // answers from a worker
	fails                  // answers with an error
	forgets                // returns without an answer
	panics
	nested // calls back, and answers when that call has ended
	blocks // tries a call that would block the loop, and says what came of it
	twice  // answers twice
	conducts
)

// conductOf is what a byte of a program means. Half of all requests are plain.
func conductOf(x byte) conduct {
	if x&1 == 0 {
		return echo
	}
	return conduct(x>>1) % conducts
}

// timeoutOf is the time that a byte of a program gives to a call: mostly none. The long one never
// passes, the short one often does.
func timeoutOf(y byte) time.Duration {
	switch y >> 5 {
	case 0:
		return time.Hour
	case 1:
		return 2 * time.Millisecond
	}
	return 0
}
