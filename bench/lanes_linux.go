//go:build linux && !portable

package bench

// haveLanes says that the transport has a lane through shared memory in this build.
const haveLanes = true
