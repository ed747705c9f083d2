//go:build !linux

package bench

// rawRows is empty: the raw rows call Linux directly.
func rawRows() []Row { return nil }
