// Package transport carries frames between two processes of one machine over a Unix stream socket.
// Both ends of a Conn can call and be called.
//
// # What it promises
//
// A call ends exactly once, with its own reply or an error. A frame is borrowed until its handler
// returns. When Send or Call has returned, the caller may reuse its bytes, and nothing writes into
// its buffer any more. A side never stops reading because it cannot write. Whatever a peer sends is
// checked against a limit before it is used, and memory follows the bytes received, never the
// length claimed. When Close returns, nothing of the connection runs.
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
// It does not route, encode payloads, retry calls, or cross machines.
package transport
