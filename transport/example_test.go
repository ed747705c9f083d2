package transport_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// A server and a client in one program. README.md has the same lines, which TestReadme holds.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "pithos-") // its mode is 0700
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "upper.sock")

	var mux transport.Mux
	mux.HandleFunc("upper", func(r *transport.Request) { // on the loop: it must not block
		_ = r.Reply(bytes.ToUpper(r.Body()))
	})
	server, err := transport.Listen(path, transport.Options{Handler: &mux})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close(ctx)

	conn, err := transport.Dial(ctx, path, transport.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	call := transport.Message{Method: "upper", Body: []byte("hello"), Timeout: time.Second}
	reply, err := conn.Do(ctx, call, make([]byte, 64)) // the reply lies in these 64 bytes
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", reply)
	// Output: HELLO
}

// TestReadme holds the program in README.md to the body of Example.
func TestReadme(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	body := regexp.MustCompile(`(?s)\nfunc Example\(\) \{\n(.*?)\t// Output`).FindSubmatch(source)
	require.NotNil(t, body)
	page, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	require.True(t, strings.Contains(string(page), "func main() {\n"+string(body[1])+"}\n"),
		"README.md does not have the body of Example")
}
