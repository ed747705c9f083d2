package transport

import "time"

// patientFactor is how many times Limits.Outbox may wait for a peer that reads.
const patientFactor = 4

// progress tells a peer that reads too slowly from one that does not read. It is looked at when
// much waits for the peer.
type progress struct {
	written uint64        // bytes that the socket had taken
	at      time.Duration // when that was seen to have changed
}

// refuses says whether a frame is not to be queued with which so many bytes wait, when the socket
// has taken so many up to now.
func (p *progress) refuses(l *Limits, waiting int64, written uint64, now time.Duration) bool {
	if p.at == 0 || written != p.written {
		p.written, p.at = written, now
	}
	limit := int64(l.Outbox)
	return waiting > limit && (now-p.at >= l.Patience || waiting > patientFactor*limit)
}

// much says whether progress is to be looked at when so many bytes wait.
func (l *Limits) much(waiting int64) bool {
	limit := int64(l.Outbox)
	if l.Patience > 0 {
		limit /= 8 // so that it is known from before the limit whether the peer reads
	}
	return waiting > limit
}
