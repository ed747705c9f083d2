package hub_test

import (
	"context"
	"fmt"
	"os"
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

func TestMain(m *testing.M) {
	if address := os.Getenv(providerAt); address != "" {
		runProvider(address)
		return
	}
	transporttest.VerifyNoLeaks(m)
}
