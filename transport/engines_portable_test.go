//go:build !linux || portable

package transport_test

import "github.com/pithos-ipc/pithos/transport"

// engines are the ones of this build: the portable one is all there is.
var engines = []engine{
	{"portable", func(o transport.Options) transport.Options { return o }},
}
