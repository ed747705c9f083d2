// Package pithos is the root of an IPC kernel for Linux: frames over Unix sockets between the
// processes of one machine, a hub that routes them, and what runs those processes.
//
// It holds no code. Package wire is the format, transport carries it, hub routes it, balancer
// chooses; cmd/pithos is the one binary. Its test, tidy, holds the rules of the whole tree.
package pithos
