// Use calls the bank that serve has published, and the cart that a Node process has.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
)

func run(ctx context.Context) (err error) {
	c, err := hub.Join(ctx, hub.PandoraPath(), hub.JoinOptions{
		Location: hub.Location{AppName: "use"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()

	// An object of Go. The result has the type that is asked for.
	bank := c.Object("bank")
	ada, err := object.Call[int](ctx, bank, "deposit", "ada", 1250)
	if err != nil {
		return err
	}
	fmt.Println("ada has", ada)
	_, err = object.Call[int](ctx, bank, "deposit", "ada", -5000)
	var failed *object.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Code, failed.Message)
	}
	_, err = object.Call[int](ctx, bank, "deposit", "ada")
	fmt.Println(err) // says what the arguments are

	// An object of Node, looked at first, and listened to.
	cart := c.Object("cart")
	what, err := object.Introspect(ctx, cart)
	if err != nil {
		return err
	}
	for _, m := range what.Methods {
		fmt.Println("cart has", m.Name)
	}
	l := object.Listen(c, "cart", "", nil)
	defer l.Close(ctx)
	added := make(chan string, 1)
	if _, err := l.Subscribe(ctx, "added", func(a *object.Args) {
		added <- string(a.Raw(0))
	}); err != nil {
		return err
	}
	item := map[string]any{"sku": "4711", "price": 9.5}
	total, err := object.Call[float64](ctx, cart, "add", item)
	if err != nil {
		return err
	}
	fmt.Println("cart is at", total, "with", <-added)
	return nil
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}
