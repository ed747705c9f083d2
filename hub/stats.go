package hub

import "sync/atomic"

// Stats are counters and gauges of a Hub. Counters only grow.
type Stats struct {
	Peers     int `json:"peers"`     // gauge: connections
	Selectors int `json:"selectors"` // gauge: in the route table
	Pending   int `json:"pending"`   // gauge: calls without a reply

	Messages    uint64 `json:"messages"`     // calls and oneways taken in
	Broadcasts  uint64 `json:"broadcasts"`   // of these, to everybody
	Delivered   uint64 `json:"delivered"`    // of them handed to a connection, for each receiver
	Replies     uint64 `json:"replies"`      // of providers, that somebody was waiting for
	LateReplies uint64 `json:"late_replies"` // of providers, that nobody was waiting for
	NotFound    uint64 `json:"not_found"`    // messages whose selector found nobody
	TimedOut    uint64 `json:"timed_out"`    // calls that had no reply in time
	Lost        uint64 `json:"lost"`         // calls that failed because their provider went away
	Refused     uint64 `json:"refused"`      // calls and selectors over a limit
	Canceled    uint64 `json:"canceled"`     // calls that their native caller took back
	Dropped     uint64 `json:"dropped"`      // oneways that a native provider did not take
	Rerouted    uint64 `json:"rerouted"`     // waiting calls that went to another provider
	Slow        uint64 `json:"slow"`         // times that a native provider was found too slow
	Ignored     uint64 `json:"ignored"`      // bodies without an action that the hub knows
	Invalid     uint64 `json:"invalid"`      // bodies that were not JSON; it cost the connection
	Cut         uint64 `json:"cut"`          // connections ended that took nothing any more
}

// Counters are the counters by name, as a metric calls them.
func (s *Stats) Counters() map[string]uint64 {
	return map[string]uint64{
		"message": s.Messages, "broadcast": s.Broadcasts, "delivered": s.Delivered,
		"reply": s.Replies, "late_reply": s.LateReplies, "not_found": s.NotFound,
		"timed_out": s.TimedOut, "lost": s.Lost, "refused": s.Refused, "canceled": s.Canceled,
		"dropped": s.Dropped, "slow_consumer": s.Slow, "ignored": s.Ignored, "invalid": s.Invalid,
		"cut_off": s.Cut, "rerouted": s.Rerouted,
	}
}

// counters are those of Stats. What most frames count has counters of its own, of which others are
// made: each frame pays for one.
type counters struct {
	messages, broadcasts, delivered, replies, lateReplies atomic.Uint64
	notFound, timedOut, lost, refused, ignored            atomic.Uint64
	invalid, cut, canceled, dropped, slow, rerouted       atomic.Uint64

	forwarded atomic.Uint64 // messages to native providers, besides delivered
	answered  atomic.Uint64 // replies of Pandora's providers, besides replies

	flights struct {
		launched atomic.Uint64 // that have begun
		landed   atomic.Uint64 // of them, those that have ended
		handed   atomic.Uint64 // of them, those that a pending call has taken over
	}
}

// passed is taps.passed.
func (c *counters) passed() uint64 {
	return c.forwarded.Load() + c.flights.landed.Load() + c.answered.Load()
}

// flying is how many flights are under way.
func (c *counters) flying() uint64 {
	over := c.flights.landed.Load() + c.flights.handed.Load() // first, so that it is not more
	return c.flights.launched.Load() - over
}

// read copies the counters to s.
func (c *counters) read(s *Stats) {
	s.Messages = c.messages.Load()
	s.Broadcasts = c.broadcasts.Load()
	s.Delivered = c.delivered.Load() + c.forwarded.Load()
	s.Replies = c.replies.Load() + c.answered.Load()
	s.LateReplies = c.lateReplies.Load()
	s.NotFound = c.notFound.Load()
	s.TimedOut = c.timedOut.Load()
	s.Lost = c.lost.Load()
	s.Refused = c.refused.Load()
	s.Canceled = c.canceled.Load()
	s.Dropped = c.dropped.Load()
	s.Slow = c.slow.Load()
	s.Rerouted = c.rerouted.Load()
	s.Ignored = c.ignored.Load()
	s.Invalid = c.invalid.Load()
	s.Cut = c.cut.Load()
}
