// Package balancer decides which of several candidates gets the next call.
//
// A Picker sees candidates as a slice and answers with an index. The slice is a snapshot that the
// caller owns and may build anew for every call. What a policy has to remember from one call to the
// next (whose turn it is) lives in the Picker, by the ID of a candidate and never by its index;
// what is known of a candidate (its calls under way, its latency) lives in a Load, which every
// snapshot points to. So both survive a new snapshot, and stay fair while candidates come and go.
//
//	snapshot 1   [ 3 | 5 | 8 ]     turn: 5
//	               |   |   |
//	             Load Load Load
//	               |       |
//	snapshot 2   [ 3 | 8 | 9 ]     5 has gone, 9 has come: the next is 8, as it would have been
//
// The policies, what they look at, and what a pick costs among n candidates:
//
//	RoundRobin      whose turn it is       one binary search
//	Random          nothing                constant
//	LeastPending    calls under way        n
//	PowerOfTwo      latency, calls         constant
//	Weighted        weights                n
//	ConsistentHash  the key of the call    n
//
// None takes a lock or allocates. Those that cost n are made for the dozens of providers that one
// name has on a machine: 64 of them cost about a microsecond.
//
// The package knows nothing of connections or selectors, starts no goroutine, reads no clock and
// does no I/O. It does not decide who is a candidate, and it does not keep a candidate alive.
package balancer

import (
	"fmt"
	"strings"
)

// Candidate is one of those that a Picker chooses from.
type Candidate struct {
	// ID is the same in every snapshot for as long as the candidate lives, and is not given to
	// another one afterwards. 0 is not used.
	ID uint64

	// Name is what ConsistentHash knows the candidate by: KeyOf a name that it has again after a
	// restart, so that it gets back the keys that it had. 0: its ID.
	Name uint64

	// Load is what is known of the candidate's calls, the same in every snapshot. It may be shared
	// by all Pickers that the candidate appears in. nil: nothing is known.
	Load *Load

	// Weight is the share that Weighted gives it, in relation to those of the others. 0 means 1.
	Weight uint32
}

// Picker chooses one of a set of candidates. All methods may be used by any number of goroutines.
type Picker interface {
	// Pick returns the index of the candidate that gets the next call, or -1 when set is empty. The
	// set is in rising order of ID; it is borrowed until Pick returns. key says what the call is
	// about (see KeyOf), for policies that send calls with equal keys to the same candidate; others
	// ignore it. 0: there is none. Pick does not block and does not allocate.
	Pick(set []Candidate, key uint64) int
}

// policies are the names of the policies, and what makes a Picker of each.
var policies = []struct {
	name string
	make func() Picker
}{
	{"round-robin", func() Picker { return new(RoundRobin) }},
	{"random", func() Picker { return Random{} }},
	{"least-pending", func() Picker { return new(LeastPending) }},
	{"power-of-two", func() Picker { return PowerOfTwo{} }},
	{"weighted", func() Picker { return new(Weighted) }},
	{"consistent-hash", func() Picker { return new(ConsistentHash) }},
}

// Names are the policies that Parse knows.
func Names() []string {
	names := make([]string, len(policies))
	for i, p := range policies {
		names[i] = p.name
	}
	return names
}

// Parse returns what makes a Picker of the policy with this name: round-robin, random,
// least-pending, power-of-two, weighted or consistent-hash.
func Parse(name string) (func() Picker, error) {
	for _, p := range policies {
		if p.name == name {
			return p.make, nil
		}
	}
	return nil, fmt.Errorf("balancer: unknown policy %q, known are %s", name,
		strings.Join(Names(), ", "))
}
