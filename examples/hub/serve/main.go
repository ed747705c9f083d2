// Serve publishes an object at the hub until the hub goes away.
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
	err = c.Publish(ctx, "greeter", "", func(_ context.Context, m hub.Message) (any, error) {
		if m.Property != "hello" {
			return nil, fmt.Errorf("no method %q", m.Property)
		}
		var name string
		err := m.Args(&name)
		return "hello " + name + ", this is Go", err
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("greeter is there")
	<-c.Done()
}
