package watch

import "slices"

// Watched returns the folders that the system watches, sorted.
func (w *Watcher) Watched() []string { return slices.Sorted(slices.Values(w.fs.WatchList())) }
