package object_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/internal/npmtest"
)

const exampleFolders = "../../examples"

// TestExampleObjects runs the example as its README says, and compares what it prints with that.
func TestExampleObjects(t *testing.T) {
	if testing.Short() {
		t.Skip("the example is built and run, and -short wants none of that")
	}
	installClient(t)
	readme, err := os.ReadFile(filepath.Join(exampleFolders, "objects", "README.md"))
	require.NoError(t, err)
	blocks := strings.Split(string(readme), "\n```\n")
	require.Len(t, blocks, 8, "blocks of text in the README")
	t.Setenv("PANDORA_TMP_DIR", t.TempDir())
	start(t, hub.PandoraPath())

	serve := run(t, build(t, "objects/serve"))
	require.Equal(t, "bank is there\n", serve.read(t, "bank is there"))
	node := run(t, "node", filepath.Join(exampleFolders, "objects", "node.js"))
	require.Equal(t, blocks[4]+"\n", node.read(t, "cart is there"))
	use := run(t, build(t, "objects/use"))
	require.Equal(t, blocks[6]+"\n", use.read(t, `with "4711"`))
	require.NoError(t, use.cmd.Wait())
	require.NoError(t, serve.cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, serve.cmd.Wait())
}

// TestExampleHub does so with the example of the bare hub, which is restarted at the end: what Go
// has published is there again.
func TestExampleHub(t *testing.T) {
	if testing.Short() {
		t.Skip("the example is built and run, and -short wants none of that")
	}
	installClient(t)
	readme, err := os.ReadFile(filepath.Join(exampleFolders, "hub", "README.md"))
	require.NoError(t, err)
	t.Setenv("PANDORA_TMP_DIR", t.TempDir())
	h := start(t, hub.PandoraPath())

	serve := run(t, build(t, "hub/serve"))
	require.Equal(t, "greeter is there\n", serve.read(t, "greeter is there"))
	node := run(t, "node", filepath.Join(exampleFolders, "hub", "node.js"))
	require.Equal(t, "shouter is there\nhello Node, this is Go\n", node.read(t, "this is Go"))
	call := run(t, build(t, "hub/call"))
	said := strings.TrimSpace(call.read(t, `"`))
	require.NoError(t, call.cmd.Wait())
	for _, line := range []string{"shouter is there", "hello Node, this is Go", said} {
		require.Contains(t, string(readme), "`"+line+"`")
	}

	h.Close(soon(t))
	start(t, hub.PandoraPath())
	c := join(t, hub.PandoraPath(), "asks")
	require.Eventually(t, func() bool {
		reply, err := c.Object("greeter").Call(soon(t), "hello", []byte(`["you"]`), nil)
		return err == nil && string(reply) == `"hello you, this is Go"`
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, serve.cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, serve.cmd.Wait())
}

// installClient lets node find Pandora's client as its users install it.
func installClient(t *testing.T) {
	clients := npmtest.Install(t, nodeFolder)
	modules := filepath.Join(t.TempDir(), "node_modules")
	require.NoError(t, os.Mkdir(modules, 0o700))
	require.NoError(t, os.Symlink(filepath.Join(clients, "node_modules", "hub-v2"),
		filepath.Join(modules, "pandora-hub")))
	t.Setenv("NODE_PATH", modules)
}

// build builds a command of an example.
func build(t *testing.T, name string) string {
	program := filepath.Join(t.TempDir(), filepath.Base(name))
	cmd := exec.Command("go", "build", "-o", program, "./"+name)
	cmd.Dir = exampleFolders
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// process is a command that runs until the end of the test at most.
type process struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func run(t *testing.T, name string, args ...string) *process {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	return &process{cmd, bufio.NewReader(out)}
}

// read returns what the process prints up to the line that ends with last.
func (p *process) read(t *testing.T, last string) string {
	var all strings.Builder
	for {
		line, err := p.out.ReadString('\n')
		all.WriteString(line)
		if err == io.EOF {
			require.NoError(t, err, "%s", all.String())
		}
		require.NoError(t, err)
		if strings.HasSuffix(line, last+"\n") {
			return all.String()
		}
	}
}
