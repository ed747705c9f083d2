package hub

import "github.com/pithos-ipc/pithos/transport"

// Request is a call or oneway that an object serves; see Object.Handler. The alias is for packages
// above the hub, which have no business with the transport.
type Request = transport.Request
