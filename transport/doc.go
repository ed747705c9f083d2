// Package transport carries frames between two processes of one machine over a Unix stream socket.
// Both ends of a Conn can call and be called.
//
//	caller                                                                 handler
//	  | Call                                                                  ^
//	  v                                                                       | Serve
//	slot, credit -> outbox -> write        socket         read -> inbox -> frame
//	  ^                       one lease   ========    one lease               |
//	  |                                                                       v Reply
//	reply <- inbox <- read by the caller                  write <- outbox <- frame
//
// # What it promises
//
// A call ends exactly once, with its own reply or an error. A frame is borrowed until its handler
// returns. When Send or Call has returned, the caller may reuse its bytes, and nothing writes into
// its buffer any more. A side never stops reading because it cannot write. Whatever a peer sends is
// checked against a limit before it is used, and memory follows the bytes received, never the
// length claimed. When Close returns, nothing of the connection runs.
//
// Calls and oneways of one sender reach the loop of the other side in their order, as long as they
// are not longer than wire.PartSize: longer ones travel in parts, and others go between. Replies
// and control frames overtake them. A call runs at most once: nothing is retried.
//
// # Where code runs
//
// A Handler runs on the loop of its connection and must not block; Pool moves it to a bounded
// number of goroutines, where it may. Callbacks of Go run on the loop, too. A Call from there, or a
// Send that would have to wait, gives ErrOnLoop. Everything else may be used from any goroutine.
//
//	upper := transport.HandlerFunc(func(r *transport.Request) {
//		_ = r.Reply(bytes.ToUpper(r.Body()))
//	})
//	pool := transport.NewPool(8, 1024)
//	mux.Handle("upper", upper)
//	mux.Handle("report", pool.Handler(report)) // waits for a database
//
// # Two engines
//
// On Linux a few loops over epoll drive all connections of a Group. The portable engine, a
// goroutine for each connection over package net, drives them elsewhere, with the build tag
// "portable", or by Options.Portable; it shares only the API and package wire with the other one,
// and is its oracle in tests.
//
// # What it does not do
//
// It does not route, encode payloads, retry calls, or cross machines. PROTOCOL.md has the bytes,
// ARCHITECTURE.md the reasons.
package transport
