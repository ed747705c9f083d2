// Package wire holds the bytes of Pithos: headers, frames, fields, meta and control messages, as
// pure functions over byte slices.
//
// A frame is a 9-byte header and a body. The header is Pandora's, big-endian:
//
//	 0        1                        5                        9
//	+--------+------------------------+------------------------+---------------
//	| flags  | id uint32              | length uint32          | body ...
//	+--------+------------------------+------------------------+---------------
//
// The body of a native frame (Native set, Control clear) is
//
//	metaLen uvarint | meta (metaLen bytes) | payload
//
// where meta is a run of fields in rising order of their numbers. The body of a control frame is
// one byte that says which message it is, and the fields of that message. A field is
//
//	key uvarint = number<<1 | kind      kind 0: value uvarint      kind 1: length uvarint, bytes
//
// so that a receiver steps over a number that it does not know: that is how the protocol grows.
//
// Parse functions never allocate; what they return aliases their input. "Not enough yet" is not an
// error and consumes nothing. Every length, index and count is checked against what is there, and
// against its limit, before it is used. AppendTo functions append to the slice they are given and
// allocate only when it is too small.
//
// The package does no I/O, knows nothing of connections, and does not read Pandora's JSON envelope,
// only its header.
package wire
