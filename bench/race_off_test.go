//go:build !race

package bench

import "time"

const (
	raceEnabled = false
	r1Callers   = 4096 // each way
	smokeTime   = 40 * time.Millisecond
)
