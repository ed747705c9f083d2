package fuzz_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// newGroup makes loops that the connections of a target share.
func newGroup(t testing.TB) *transport.Group {
	t.Helper()
	g, err := transport.NewGroup(1, 0)
	require.NoError(t, err)
	t.Cleanup(func() { g.Close() })
	return g
}

// FuzzConn runs a program of calls, oneways, cancels, deadlines, closes and faults on a connection
// of each engine. Every call ends exactly once, with its own reply or an error that the program
// explains; oneways come once and in order; nothing writes into a buffer whose call has returned;
// counters go back to zero and nothing is left.
func FuzzConn(f *testing.F) {
	for _, p := range programs() {
		f.Add(p.encode())
	}
	h, g := newHarbour(f), newGroup(f)
	f.Fuzz(func(t *testing.T, b []byte) { runBoth(t, h, g, parseProgram(b)) })
}

// runBoth runs p on every engine.
func runBoth(t *testing.T, h *harbour, g *transport.Group, p program) {
	for _, e := range engines() {
		run(t, h, g, e, p)
		require.False(t, t.Failed(), "%s engine", e.name)
	}
}

// FuzzEngines runs a program on every engine, each step to its end before the next one: what comes
// of the steps is the same.
func FuzzEngines(f *testing.F) {
	for _, p := range programs() {
		f.Add(p.encode())
	}
	h, g := newHarbour(f), newGroup(f)
	f.Fuzz(func(t *testing.T, b []byte) { compareBoth(t, h, g, parseProgram(b)) })
}

// compareBoth runs p, patiently, on every engine and compares what came of it.
func compareBoth(t *testing.T, h *harbour, g *transport.Group, p program) {
	p.setup |= setupPatient
	var logs [][]string
	for _, e := range engines() {
		logs = append(logs, run(t, h, g, e, p))
		require.False(t, t.Failed(), "%s engine", e.name)
	}
	for _, log := range logs {
		if log == nil {
			return
		}
	}
	requireSame(t, logs)
}

// programs are seeds that reach every instruction, every conduct and every set-up.
func programs() []program {
	conduct := func(c conduct) byte { return byte(c)<<1 | 1 }
	everyConduct := program{}
	for c := range conducts {
		everyConduct.steps = append(everyConduct.steps,
			step{op: opCall, x: conduct(c), y: 3 | 0x40}, step{op: opGo, side: 1, x: conduct(c),
				y: 2 | 0x40})
	}
	heldThenEnd := func(s setup, last step) program {
		return program{s, []step{
			{op: opCall, x: conduct(hold), y: 0x40}, {op: opGo, x: conduct(hold), y: 0x44},
			{op: opCall, side: 1, x: conduct(hold), y: 0x47}, {op: opSend, y: 7}, {op: opTry, y: 1},
			{op: opSettle}, last, {op: opCall, y: 0x40}, {op: opSend, side: 1, y: 0},
		}}
	}
	var cutShort []step // calls of 300,000 bytes that are taken back while they are being sent
	for range 10 {
		cutShort = append(cutShort, step{op: opCall, y: 0x46}, step{op: opPing}, step{op: opCancel})
	}
	return []program{
		everyConduct,
		{setupTight | setupNarrow, cutShort},
		{setupNarrow, []step{{op: opGo, x: conduct(hold), y: 0x23}, {op: opPing},
			{op: opGo, side: 1, x: conduct(hold), y: 0x23}, {op: opPing}}},
		{setupTight, everyConduct.steps},
		{setupTight | setupNarrow | setupBlock, everyConduct.steps},
		{setupOwn, []step{{op: opBurst, x: 0xF0, y: 7}, {op: opBurst, side: 1, x: 0xF0, y: 5}}},
		{setupNarrow | setupSplit, []step{{op: opBurst, x: 0x80, y: 5}, {op: opSend, y: 8},
			{op: opBurst, side: 1, x: 0x85, y: 6}, {op: opSend, side: 1, y: 8}, {op: opSettle}}},
		{setupTight | setupNarrow, []step{
			{op: opCall, x: conduct(hold), y: 0x45}, {op: opCall, x: conduct(hold), y: 0x45},
			{op: opCall, x: conduct(hold), y: 0x45}, {op: opCall, x: conduct(hold), y: 0x45},
			{op: opBurst, x: 0x70, y: 4}, {op: opSend, y: 6}, {op: opCancel, x: 1}, {op: opRelease},
			{op: opCancel}, {op: opRelease}, {op: opTry, y: 6}}},
		{0, []step{{op: opCall, x: conduct(hold), y: 0x20}, {op: opGo, x: conduct(hold), y: 0x20},
			{op: opCall, x: conduct(hold), y: 0x00}, {op: opCancel}, {op: opPing}}},
		{0, []step{{op: opDrain}, {op: opCall, side: 1, y: 0x40}, {op: opCall, y: 0x40},
			{op: opSend, side: 1, y: 2}}},
		heldThenEnd(0, step{op: opClose}),
		heldThenEnd(setupTight, step{op: opClose, side: 1}),
		heldThenEnd(setupNarrow, step{op: opAbort}),
		heldThenEnd(setupOwn, step{op: opAbort, side: 1}),
		heldThenEnd(0, step{op: opCut, x: 0}),
		heldThenEnd(setupBlock, step{op: opCut, x: 1}),
		heldThenEnd(setupSplit, step{op: opCut, x: 2, side: 1}),
	}
}
