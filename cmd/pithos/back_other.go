//go:build !linux

package main

func stepBack() {}
