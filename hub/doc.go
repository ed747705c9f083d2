// Package hub brings the processes of one machine together: each connects to it, says who it is and
// what it publishes, and sends to others by a selector, without knowing where they are.
//
//	caller                       hub                       provider
//	  |     call {cart}          |                            |
//	  | -----------------------> | route, pick                |
//	  |                          | -------------------------> |
//	  |                          | <------------------------- | reply
//	  | <----------------------- | to whoever waits for it    |
//
// Go processes take part by a Client, which Join makes, over the native protocol:
//
//	c, err := hub.Join(ctx, address, hub.JoinOptions{Location: hub.Location{AppName: "shop"}})
//	_, err = c.Publish(ctx, hub.Object{Name: "cart", Handler: handler})
//	reply, err := c.Object("cart").Call(ctx, "add", payload, buf)
//
// The hub also speaks the protocol of Pandora's IPC-Hub, so that the Node clients of Pandora
// (pandora-hub 1.x and 2.x) work with it unchanged, and they and native clients call each other:
// ONLINE, OFFLINE, PUBLISH, UNPUBLISH, and MSG_UP for invoke,
// multipleInvoke, send, multipleSend and broadcast. Bodies are checked as JSON.parse would, the few
// keys that route are read, and values are copied as they are: the hub never encodes a body again.
//
// Where Pandora's own hub fails its users, this one does what they would want:
//
//   - A provider that goes away answers its calls at once with an error, not by their timeout.
//   - The tag of an object restricts who is found; providers without a tag stand in for one that
//     nobody has.
//   - A peer that is cut off, or is killed, is forgotten with everything that it published.
//   - No body can end the hub, and one that is not JSON ends only the connection that it came on.
//   - A timeout beyond 2^31-1 ms is a long one.
//   - What is held for a peer that does not read is bounded; such a peer is disconnected, or, if it
//     is native, treated by the Policy.
//   - Providers that a selector finds get their calls in turn, not by chance.
//
// The hub does not encode or decode payloads, does not keep messages for those who are not there,
// retries nothing, and does not cross machines.
package hub
