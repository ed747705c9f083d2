// Package fuzz holds the fuzz targets that go across packages, each with a law that must hold for
// whatever bytes it is given. README.md has the command for every target of the tree.
//
// The programs of this package are bytes that are read as instructions: calls, oneways, cancels,
// deadlines, closes and faults on one connection. They run on both engines of package transport,
// against a model that is as simple as can be.
//
// The package has tests only. It does not measure anything.
package fuzz
