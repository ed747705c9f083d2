//go:build !race

package supervisor_test

const raceFactor = 1
