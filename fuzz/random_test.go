package fuzz_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seedVariable names the environment variable that repeats a run of TestRandom*, and countVariable
// the one that says how many programs it has.
const (
	seedVariable  = "PITHOS_FUZZ_SEED"
	countVariable = "PITHOS_FUZZ_COUNT"
)

// randomly has do run random programs. When the test fails it prints the seed, and the program.
func randomly(t *testing.T, do func(program)) {
	t.Helper()
	number := func(name string, def uint64) uint64 {
		v := os.Getenv(name)
		if v == "" {
			return def
		}
		n, err := strconv.ParseUint(v, 10, 64)
		require.NoError(t, err, name)
		return n
	}
	seed := number(seedVariable, uint64(time.Now().UnixNano()))
	var p program
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s=%d, program %q", seedVariable, seed, p.encode())
		}
	})
	r := rand.New(rand.NewPCG(seed, 0))
	for range number(countVariable, 30) {
		p = randomProgram(r)
		do(p)
		require.False(t, t.Failed())
	}
}

// randomProgram is one of up to 40 steps.
func randomProgram(r *rand.Rand) program {
	p := program{setup: setup(r.Uint32())}
	for range r.IntN(40) {
		s := step{op: op(r.IntN(int(opDrain))), side: r.IntN(2), x: byte(r.Uint32()),
			y: byte(r.Uint32())}
		if r.IntN(30) == 0 {
			s.op = op(r.IntN(int(ops)))
		}
		p.steps = append(p.steps, s)
	}
	return p
}

// TestRandomConn is FuzzConn on programs that are likelier to be sensible than mutated bytes.
func TestRandomConn(t *testing.T) {
	h, g := newHarbour(t), newGroup(t)
	randomly(t, func(p program) { runBoth(t, h, g, p) })
}

// TestRandomEngines is FuzzEngines on such programs.
func TestRandomEngines(t *testing.T) {
	h, g := newHarbour(t), newGroup(t)
	randomly(t, func(p program) { compareBoth(t, h, g, p) })
}

func TestEncode(t *testing.T) {
	for _, p := range programs() {
		require.Equal(t, p, parseProgram(p.encode()))
	}
}
