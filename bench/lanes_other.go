//go:build !linux || portable

package bench

// haveLanes is false: the portable loop has the socket alone.
const haveLanes = false
