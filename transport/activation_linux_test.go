package transport_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
)

// Sockets that a process was started with, taken by a real child, which prints how many it has.
func TestActivated(t *testing.T) {
	eachIndex(t, func(t *testing.T, e engine, index int) {
		var files []*os.File
		var paths []string
		for i := range 2 {
			paths = append(paths, filepath.Join(t.TempDir(), strconv.Itoa(i)))
			n, err := net.ListenUnix("unix", &net.UnixAddr{Name: paths[i]})
			require.NoError(t, err)
			defer n.Close()
			f, err := n.File()
			require.NoError(t, err)
			defer f.Close()
			files = append(files, f)
		}
		for name, c := range map[string]struct {
			env  []string
			want string
		}{
			"two": {[]string{"LISTEN_PID=self", "LISTEN_FDS=2", "LISTEN_FDNAMES=main:"},
				`2, then 0 <nil> main LISTEN_FD_4 ""`},
			"for another":  {[]string{"LISTEN_PID=1", "LISTEN_FDS=2"}, `0, then 0 <nil> "2"`},
			"none":         {[]string{"LISTEN_PID=self", "LISTEN_FDS=0"}, `0, then 0 <nil> ""`},
			"no number":    {[]string{"LISTEN_PID=self", "LISTEN_FDS=x"}, "invalid syntax"},
			"too many":     {[]string{"LISTEN_PID=self", "LISTEN_FDS=100000"}, "limit"},
			"not a socket": {[]string{"LISTEN_PID=self", "LISTEN_FDS=3"}, "transport: listen"},
		} {
			t.Run(name, func(t *testing.T) {
				p := newChild(t, "activated", order{Engine: index})
				p.cmd.Env = append(p.cmd.Env, c.env...)
				regular, err := os.Create(filepath.Join(t.TempDir(), "f"))
				require.NoError(t, err)
				defer regular.Close()
				p.cmd.ExtraFiles = append(append([]*os.File{}, files...), regular)
				in, err := p.cmd.StdinPipe()
				require.NoError(t, err)
				p.start()
				require.Contains(t, p.line(), c.want)
				if name == "two" {
					for _, path := range paths {
						cli := dial(t, path, e.of(transport.Options{}))
						got, err := cli.Call(patient(t), []byte("hi"), nil)
						require.NoError(t, err)
						require.Equal(t, "hi", string(got))
						require.NoError(t, cli.Close(patient(t)))
					}
				}
				require.NoError(t, in.Close())
				require.Empty(t, p.wait())
			})
		}
	})
}
