package hub

// Limits bound what the hub holds for one peer. A zero field means its default, the constant of its
// name.
type Limits struct {
	MaxBody       int // largest body of a frame, in bytes; a longer one ends its connection
	MaxOutbox     int // bytes waiting for a peer that does not read, before it is disconnected
	MaxBatch      int // bytes of a reply with the packages of many; a longer one is an error
	MaxPending    int // calls of one peer without a reply; further ones are refused
	MaxPublishing int // bytes that the selectors of one peer take; further ones are refused
}

// The defaults of Limits.
const (
	DefaultMaxBody       = 64 << 20
	DefaultMaxOutbox     = 64 << 20
	DefaultMaxBatch      = 64 << 20
	DefaultMaxPending    = 256 << 10
	DefaultMaxPublishing = 64 << 20
)

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
	} {
		if *f.field <= 0 {
			*f.field = f.def
		}
	}
	return l
}
