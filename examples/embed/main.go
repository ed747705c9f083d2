// Embed is the transport alone, without a hub: a server and a client over one Unix socket.
//
//	go run ./examples/embed serve            in one terminal, until Ctrl-C
//	go run ./examples/embed call hello you   in another one
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal("embed: ", err)
	}
}

func run(ctx context.Context, args []string) error {
	path := os.Getenv("EMBED_SOCKET")
	if path == "" {
		var err error
		if path, err = transport.SocketPath("embed"); err != nil { // a folder of the user's own
			return err
		}
	}
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx, path)
	case len(args) > 1 && args[0] == "call":
		return call(ctx, path, strings.Join(args[1:], " "))
	}
	return errors.New("want serve, or call and what to say")
}

// serve answers until ctx ends, then finishes the calls inside and says what was lost.
func serve(ctx context.Context, path string) error {
	var mux transport.Mux
	mux.HandleFunc("upper", func(r *transport.Request) { // on the loop: it must not block
		_ = r.Reply(bytes.ToUpper(r.Body())) // a client that is gone is no fault of ours
	})
	pool := transport.NewPool(8, 1024) // what may block runs on a worker
	mux.Handle("slow", pool.Handler(transport.HandlerFunc(func(r *transport.Request) {
		time.Sleep(100 * time.Millisecond)
		_ = r.Reply(r.Body())
	})))
	l, err := transport.Listen(path, transport.Options{Handler: &mux})
	if err != nil {
		return err
	}
	fmt.Println("listening at", path)
	<-ctx.Done()
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = l.Close(closing)
	pool.Close()
	return err
}

// call calls both methods, each within a second.
func call(ctx context.Context, path, text string) error {
	conn, err := transport.Dial(ctx, path, transport.Options{})
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	buf := make([]byte, 4096) // a reply that fits lies here, and nothing is allocated
	for _, method := range []string{"upper", "slow"} {
		m := transport.Message{Method: method, Body: []byte(text), Timeout: time.Second}
		reply, err := conn.Do(ctx, m, buf)
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		fmt.Printf("%s: %s\n", method, reply)
	}
	return nil
}
