package service

import (
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// What is told to whoever started the process, by sd_notify(3).
const (
	ready    = daemon.SdNotifyReady
	stopping = daemon.SdNotifyStopping
	alive    = daemon.SdNotifyWatchdog
)

// notify tells; where nobody asked for it (no NOTIFY_SOCKET) it does nothing.
func (p *process) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		p.log.Warn("notify", "state", state, "error", err)
	}
}

// watchdog returns how often the process has to say that it is alive: twice in the time that is
// allowed. 0: never.
func watchdog() time.Duration {
	allowed, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0
	}
	return allowed / 2
}
