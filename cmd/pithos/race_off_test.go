//go:build !race

package main

// raceMemory is how many times the memory of a process is what it would be without the race
// detector, at most.
const raceMemory = 1
