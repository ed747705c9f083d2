//go:build !race

package transport

// raceEnabled says whether this build has the race detector.
const raceEnabled = false
