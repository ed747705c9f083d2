package supervisor

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// errNoNotify says that this system has no sd_notify.
var errNoNotify = errors.New("supervisor: sd_notify needs Linux")

// A notice is what one message of sd_notify(3) says.
type notice struct {
	ready    bool
	stopping bool
	watchdog bool
	trigger  bool // the child says of itself that its watchdog is to act
	mainPID  int
	extend   time.Duration
	status   *string
}

// parseNotice reads a message: lines of KEY=value. What it does not know it skips.
func parseNotice(text string) notice {
	var n notice
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "READY":
			n.ready = value == "1"
		case "STOPPING":
			n.stopping = value == "1"
		case "WATCHDOG":
			n.watchdog, n.trigger = value == "1", value == "trigger"
		case "STATUS":
			n.status = &value
		case "MAINPID":
			if pid, err := strconv.Atoi(value); err == nil && pid > 1 {
				n.mainPID = pid
			}
		case "EXTEND_TIMEOUT_USEC":
			us, err := strconv.ParseInt(value, 10, 64)
			if err == nil && us > 0 && us < int64(24*time.Hour/time.Microsecond) {
				n.extend = time.Duration(us) * time.Microsecond
			}
		}
	}
	return n
}
