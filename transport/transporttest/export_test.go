package transporttest

import (
	"testing"
	"time"
)

// CheckLeaksWithin is CheckLeaks, but for how long it waits.
func CheckLeaksWithin(t testing.TB, wait time.Duration) {
	t.Helper()
	checkLeaks(t, wait)
}
