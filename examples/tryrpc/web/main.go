// Web is a process that answers GET /?method=add&a=1&b=2 with what a node of tryrpc says.
package main

import (
	"github.com/pithos-ipc/pithos/examples/tryrpc/names"
	"github.com/pithos-ipc/pithos/service"
)

func main() {
	service.Main(
		names.Definition(),
		service.Definition{Name: "web", DependsOn: []string{names.Name}, New: newWeb},
	)
}
