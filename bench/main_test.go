package bench

import (
	"fmt"
	"os"
	"testing"

	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// TestMain lets the test binary be the child process of the runs that its tests make.
func TestMain(m *testing.M) {
	if child, err := Child(); child {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	transporttest.VerifyNoLeaks(m)
}
