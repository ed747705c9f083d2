// Package transporttest helps to test what is built on package transport: a connected pair, a proxy
// that spoils the stream between two peers, and checks that nothing was left behind.
//
//	func TestMain(m *testing.M) { transporttest.VerifyNoLeaks(m) }
//
//	func TestMine(t *testing.T) {
//		srv, cli := transporttest.Pair(t, transport.Options{Handler: mine}, transport.Options{})
//		...
//	}
//
// Everything goes over real sockets in folders of the test's own. What is random comes from a seed
// that the test prints when it fails, and that can be given back to repeat the faults; the schedule
// of goroutines is not repeated.
//
// It does not mock connections, and the proxy does not carry descriptors.
package transporttest
