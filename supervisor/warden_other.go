//go:build !linux

package supervisor

// Warden does nothing: there is no warden on this system, and a supervisor that is killed leaves
// its children.
func Warden() {}

func checkWarden() error { return nil }

func newLauncher(Options, func(string)) (launcher, error) { return newPlainLauncher(), nil }
