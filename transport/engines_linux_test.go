//go:build linux && !portable

package transport_test

import "github.com/pithos-ipc/pithos/transport"

// engines are the ones of this build; the first is the default.
var engines = []engine{
	{"epoll", func(o transport.Options) transport.Options { return o }},
	{"portable", transport.Options.Portable},
}
