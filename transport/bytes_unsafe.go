package transport

import "unsafe"

// stringBytes returns the bytes of s without copying them. They must not be written to.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// bytesString returns b as a string without copying it, which is good as long as b stays as it is.
func bytesString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// within says whether b lies in the memory of whole.
func within(b, whole []byte) bool {
	if len(b) == 0 || cap(whole) == 0 {
		return false
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	from := uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	return at >= from && at < from+uintptr(cap(whole))
}
