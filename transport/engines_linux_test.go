//go:build linux && !portable

package transport_test

import "github.com/pithos-ipc/pithos/transport"

// engines are the ones of this build; the first is the default, which uses shared memory when both
// ends do.
var engines = []engine{
	{"lane", func(o transport.Options) transport.Options { return o }},
	{"epoll", func(o transport.Options) transport.Options {
		o.Socket.Lane = transport.LaneOff
		return o
	}},
	{"portable", transport.Options.Portable},
}
