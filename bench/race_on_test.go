//go:build race

package bench

import "time"

const (
	raceEnabled = true
	r1Callers   = 1024 // each way; the detector counts at most 8,128 goroutines
	smokeTime   = 60 * time.Millisecond
)
