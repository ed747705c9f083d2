//go:build race

package transport_test

// slowdown is by how much everything may take longer in this build.
const slowdown = 5
