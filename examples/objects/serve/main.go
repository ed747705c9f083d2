// Serve publishes a bank of accounts at the hub until it is interrupted: its methods can be called
// from Go and from Node, and who subscribes to an account hears of each change.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/hub/object"
)

// Bank has what others may call: its exported methods and fields.
type Bank struct {
	Currency string

	events *object.Published
	mu     sync.Mutex
	cents  map[string]int // guarded by mu
}

// Balance is how many cents are in an account. To others its name is balance.
func (b *Bank) Balance(account string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cents[account]
}

// Deposit puts cents into an account, takes them out when there are less than 0 of them, and
// returns the new balance.
func (b *Bank) Deposit(ctx context.Context, account string, cents int) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cents[account] + cents
	if now < 0 {
		return 0, &object.Error{Name: "FundsError", Code: "E_FUNDS",
			Message: fmt.Sprintf("%s has %d cents", account, b.cents[account])}
	}
	b.cents[account] = now
	return now, b.events.Emit(ctx, account, now) // to who has subscribed to the account
}

func run(ctx context.Context) (err error) {
	c, err := hub.Join(ctx, hub.PandoraPath(), hub.JoinOptions{
		Location: hub.Location{AppName: "bank"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(context.Background())) }()
	b := &Bank{Currency: "EUR", cents: make(map[string]int)}
	b.mu.Lock() // calls may come before Publish returns; they wait for events
	b.events, err = object.Publish(ctx, c, "bank", b, object.Options{})
	b.mu.Unlock()
	if err != nil {
		return err
	}
	fmt.Println("bank is there")
	<-ctx.Done()
	return b.events.Close(context.Background())
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}
