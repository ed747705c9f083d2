// Serve publishes an object at the hub until it is interrupted.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := hub.Join(ctx, hub.PandoraPath(), hub.JoinOptions{
		Location: hub.Location{AppName: "go-app"},
	})
	if err != nil {
		log.Fatal(err)
	}
	greeter := transport.HandlerFunc(func(r *transport.Request) {
		var args [1]string // from Node the payload is an array of arguments
		if err := json.Unmarshal(r.Body(), &args); err != nil || string(r.Method()) != "hello" {
			_ = r.Fail(wire.CodeInvalid, `call hello with a name`)
			return
		}
		reply, _ := json.Marshal("hello " + args[0] + ", this is Go")
		_ = r.Reply(reply)
	})
	if _, err := c.Publish(ctx, hub.Object{Name: "greeter", Handler: greeter}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("greeter is there")
	<-ctx.Done()
	if err := c.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
}
