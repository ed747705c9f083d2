//go:build !linux

package bench

// rawRows is empty: the raw rows call Linux directly.
func rawRows() []Row { return nil }

// ringRows is empty likewise.
func ringRows() []Row { return nil }
