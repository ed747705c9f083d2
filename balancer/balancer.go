// Package balancer decides which of several candidates gets the next call.
//
// A Picker sees candidates as a slice and answers with an index. The slice is a snapshot that the
// caller owns and may build anew for every call. What a policy has to remember from one call to the
// next (its turn, its counters) lives in the Picker, by the ID of a candidate and never by its
// index, so that it survives a new snapshot and stays fair while candidates come and go.
//
//	snapshot 1   [ 3 | 5 | 8 ]     turn: 5
//	snapshot 2   [ 3 | 8 | 9 ]     5 has gone, 9 has come: the next is 8, as it would have been
//
// The package knows nothing of connections or selectors, starts no goroutine and does no I/O. It
// does not decide who is a candidate, and it does not keep a candidate alive.
package balancer

// Candidate is one of those that a Picker chooses from.
type Candidate struct {
	// ID is the same in every snapshot for as long as the candidate lives, and is not given to
	// another one afterwards. 0 is not used.
	ID uint64
}

// Picker chooses one of a set of candidates. All methods may be used by any number of goroutines.
type Picker interface {
	// Pick returns the index of the candidate that gets the next call, or -1 when set is empty. The
	// set is in rising order of ID; it is borrowed until Pick returns. key is the hash of what a
	// call is about, for policies that send calls with equal keys to the same candidate; others
	// ignore it. Pick does not block and does not allocate.
	Pick(set []Candidate, key uint64) int
}
