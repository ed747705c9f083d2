//go:build !race

package hub

// raceDetector says that the tests run under the race detector, where sync.Pool forgets at random.
const raceDetector = false
