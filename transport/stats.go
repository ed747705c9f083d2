package transport

// Stats is what a connection has counted, or the sum over those of a listener.
type Stats struct {
	Counters
	Gauges
	Lane LaneStats // of one connection; not in a sum
}

// Counters only grow.
type Counters struct {
	FramesIn, FramesOut  uint64
	BytesIn, BytesOut    uint64
	Reads, Writes, Polls uint64 // system calls
	Wakes                uint64 // times that a loop was woken by another goroutine
	Bells                uint64 // times that the peer was woken, on a shared-memory lane
	SpinHits, SpinMisses uint64 // busy-polls that ended with data, and without
	Yields               uint64 // of the processor, while polling
	Moves                uint64 // to another processor, away from the peer's
	Drops                uint64 // frames thrown away
	LateReplies          uint64 // replies to calls that had been given up
}

// Gauges say what is now.
type Gauges struct {
	Pending      int   // calls without a reply, tombstones included
	Tombstones   int   // calls given up whose reply is still due
	Serving      int   // calls of the peer that are not answered
	CreditCalls  int   // calls that the peer would accept now
	CreditBytes  int64 // bytes of calls and oneways that it would accept now
	OutboxFrames int   // frames waiting to be written
	OutboxBytes  int64 // bytes of them
	HeldBytes    int64 // bytes held by the connection in all
}

// ListenerStats are the sums over a listener's connections; the counters include those of the ones
// that are gone.
type ListenerStats struct {
	Stats
	Conns    int    // gauge
	Lanes    int    // of them whose frames travel through shared memory; gauge
	Accepted uint64 // connections taken
	Refused  uint64 // by policy or by limit
}

// add sums o up in c.
func (c *Counters) add(o Counters) {
	c.FramesIn += o.FramesIn
	c.FramesOut += o.FramesOut
	c.BytesIn += o.BytesIn
	c.BytesOut += o.BytesOut
	c.Reads += o.Reads
	c.Writes += o.Writes
	c.Polls += o.Polls
	c.Wakes += o.Wakes
	c.Bells += o.Bells
	c.SpinHits += o.SpinHits
	c.SpinMisses += o.SpinMisses
	c.Yields += o.Yields
	c.Moves += o.Moves
	c.Drops += o.Drops
	c.LateReplies += o.LateReplies
}

// add sums o up in g.
func (g *Gauges) add(o Gauges) {
	g.Pending += o.Pending
	g.Tombstones += o.Tombstones
	g.Serving += o.Serving
	g.CreditCalls += o.CreditCalls
	g.CreditBytes += o.CreditBytes
	g.OutboxFrames += o.OutboxFrames
	g.OutboxBytes += o.OutboxBytes
	g.HeldBytes += o.HeldBytes
}
