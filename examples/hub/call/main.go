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
	c, err := hub.Join(ctx, hub.PandoraPath(), hub.JoinOptions{
		Location: hub.Location{AppName: "go-app"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	reply, err := c.Object("shouter").Call(ctx, "shout", []byte(`["hello from Go"]`), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", reply) // JSON
}
