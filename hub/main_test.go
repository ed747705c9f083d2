package hub_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// providerAt makes a run of the test's binary a provider at the hub of that address.
const providerAt = "PITHOS_TEST_PROVIDER_AT"

// runProvider publishes "stopped" until it is killed.
func runProvider(address string) {
	c, err := hub.Join(context.Background(), address, hub.JoinOptions{
		Location: hub.Location{AppName: "child"}})
	if err == nil {
		_, err = c.Publish(context.Background(), hub.Object{Name: "stopped", OnLoop: true,
			Handler: transport.HandlerFunc(func(r *transport.Request) { _ = r.Reply(nil) })})
	}
	fmt.Println(err)
	select {}
}

// stormAt makes a run of the test's binary many peers at once: address, the first, how many, and
// how many there are in all.
const stormAt = "PITHOS_TEST_STORM_AT"

// runStorm joins, publishes, says so, and at each line that it reads does what comes next: it has
// every peer call its neighbour, and has all of them leave.
func runStorm(args string) {
	var address string
	var first, n, all int
	must := func(_ any, err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	must(fmt.Sscan(args, &address, &first, &n, &all))
	ctx := context.Background()
	group, err := transport.NewGroup(1, 0)
	must(nil, err)
	clients := make([]*hub.Client, n)
	each := func(f func(i int)) {
		var wait sync.WaitGroup
		for i := range n {
			wait.Go(func() { f(i) })
		}
		wait.Wait()
	}
	name := func(i int) string { return fmt.Sprint("peer-", i%all) }
	each(func(i int) {
		o := hub.JoinOptions{Workers: 1}
		o.Redial.Options.Group = group
		for clients[i] == nil { // in a storm the time for the hello may be over
			clients[i], _ = hub.Join(ctx, address, o)
		}
		must(clients[i].Publish(ctx, hub.Object{Name: name(first + i), OnLoop: true,
			Handler: transport.HandlerFunc(func(r *transport.Request) { _ = r.Reply(nil) })}))
	})
	fmt.Println("joined")
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	each(func(i int) {
		must(clients[i].Object(name(first+i+1)).Call(ctx, "m", nil, nil))
	})
	fmt.Println("called")
	in.Scan()
	each(func(i int) { must(nil, clients[i].Close(ctx)) })
	fmt.Println("left")
}

func TestMain(m *testing.M) {
	if address := os.Getenv(providerAt); address != "" {
		runProvider(address)
		return
	}
	if args := os.Getenv(stormAt); args != "" {
		runStorm(args)
		return
	}
	transporttest.VerifyNoLeaks(m)
}
