// Provider is a process with two services: the registry's client, and TryRPC, which depends on it.
package main

import (
	"github.com/pithos-ipc/pithos/examples/tryrpc/names"
	"github.com/pithos-ipc/pithos/service"
)

func main() { service.Main(names.Definition(), definition()) }

func definition() service.Definition {
	return service.Definition{Name: "tryrpc", DependsOn: []string{names.Name}, New: newTryRPC}
}
