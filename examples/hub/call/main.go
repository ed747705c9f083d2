// Call has an object that a Node process has published at the hub do something.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/pithos-ipc/pithos/hub"
)

func main() {
	ctx := context.Background()
	c, err := hub.Dial(ctx, hub.PandoraPath(), hub.Location{AppName: "go-app"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	reply, err := c.Invoke(ctx, hub.Selector{ObjectName: "shouter"},
		hub.Message{Property: "shout", Data: []any{"hello from Go"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", reply) // JSON
}
