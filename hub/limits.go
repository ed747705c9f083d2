package hub

// Limits bound what the hub holds for one peer. A zero field means its default, the constant of its
// name. For a peer of Pandora's that goes on reading, 4 times MaxOutbox may wait.
type Limits struct {
	MaxBody       int   // largest body of a frame, in bytes; a longer one ends its connection
	MaxOutbox     int   // bytes waiting for a peer, before it is disconnected
	MaxBatch      int   // bytes of a reply with the packages of many; what does not fit is an error
	MaxPending    int   // calls of one peer without a reply; further ones are refused
	MaxPublishing int   // bytes that the selectors of one peer take; further ones are refused
	MaxQueue      int   // bytes that wait for a native peer whose credit is used up; see Policy
	MaxTotal      int64 // bytes that wait for all native peers
	MaxRoutes     int   // selectors that one native peer has resolved
	MaxWatches    int   // watches of one native peer
}

// The defaults of Limits.
const (
	DefaultMaxBody       = 65 << 20 // 64 MiB of data, and what is around them
	DefaultMaxOutbox     = 64 << 20
	DefaultMaxBatch      = 64 << 20
	DefaultMaxPending    = 256 << 10
	DefaultMaxPublishing = 256 << 20
	DefaultMaxQueue      = 32 << 20
	DefaultMaxTotal      = 1 << 30
	DefaultMaxRoutes     = 64 << 10
	DefaultMaxWatches    = 4096
)

// frameSlack is what the largest frame of the transport exceeds the largest body by, in bytes: what
// the hub sends for a body is a little longer, and its errors show much of it.
const frameSlack = 1 << 20

// MaxFrame is the largest MaxBody and MaxBatch: the length of a frame has 32 bits.
const MaxFrame = 1<<32 - 1 - frameSlack

// frame is the largest body of a frame that the hub reads or writes.
func (l Limits) frame() int { return max(l.MaxBody, l.MaxBatch) + frameSlack }

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		def   int
	}{
		{&l.MaxBody, DefaultMaxBody},
		{&l.MaxOutbox, DefaultMaxOutbox},
		{&l.MaxBatch, DefaultMaxBatch},
		{&l.MaxPending, DefaultMaxPending},
		{&l.MaxPublishing, DefaultMaxPublishing},
		{&l.MaxQueue, DefaultMaxQueue},
		{&l.MaxRoutes, DefaultMaxRoutes},
		{&l.MaxWatches, DefaultMaxWatches},
	} {
		if *f.field <= 0 {
			*f.field = f.def
		}
	}
	if l.MaxTotal <= 0 {
		l.MaxTotal = DefaultMaxTotal
	}
	return l
}
