// Package bench measures the transport beside others that do the same work: plain Go over package
// net, and the system calls alone. It is the engine behind "pithos bench".
//
// # How a run goes
//
// A Row is a contender, a Scenario what is measured of it. Run takes them in turns, round after
// round, so that what the machine does meanwhile meets all of them; figures are medians over the
// rounds, with the least and the greatest, and what counts are ratios to rows of the same run.
// Each measurement has a server process of its own, which is this binary started again: see
// Child.
//
//	this process                            a child
//	load ---> Conn ======= Unix socket =======> server ---> answer
//	  |                                            |
//	  '--- window: calls, usage <--- a pipe --- usage, profile
//
// A row over a hub has one child more, which the other two processes connect to.
//
// The work is the same in every row: each byte of a body is written by the caller and read by the
// handler, each byte of a reply is written by the handler and read by the caller, and the caller
// checks it.
//
// # The baselines
//
// plain is a multiplexer as one writes it with care over a net.UnixConn: bufio, a reader
// goroutine, a pending table under a mutex, writes that coalesce, a reader that never waits for
// its writer. self is a caller that reads its own answer. raw-spin and raw-block are the limit of
// the socket: descriptors that no scheduler and no poller of Go's stands before. ring is that of
// shared memory: two bare rings between processes that trust each other. None of them
// knows deadlines, cancelling, credit or limits of memory, so they are given an advantage. Those
// that spin keep to the same rules of politeness as the product.
//
// # What it does not do
//
// It does not measure across machines, and it judges no other project's library, but for Pandora's
// own hub, whose clients are to be served: those have a module of their own.
package bench
