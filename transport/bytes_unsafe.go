package transport

import "unsafe"

// stringBytes returns the bytes of s without copying them. They must not be written to.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
