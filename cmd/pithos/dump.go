package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/wire"
)

// dumpFlags are the flags of dump.
type dumpFlags struct {
	hex     string
	as      string
	maxBody uint32
	width   int
	json    bool
}

func newDump() *cobra.Command {
	var f dumpFlags
	cmd := &cobra.Command{
		Use:   "dump [file]",
		Short: "Decode frames, one line each",
		Long: `Reads one direction of a connection from a file, from standard input (no file, or
"-"), or from hexadecimal text, and prints a line for each frame: where it begins, its flags
in words, its id, the length of its body, and what is inside. In hexadecimal text white
space is skipped, and so is everything from a '#' to the end of its line.

Whether the stream is native is told by its first frame with a body, as in the protocol,
except that any native frame will do; --as decides it otherwise. Bodies that are not native
must be JSON.

A file that "pithos tap" has written is recognized by its first bytes: each line is a frame
then that has passed the hub, with its time and its names.

Where the stream goes wrong, or ends inside a frame, the offset is said and the exit code is
1.`,
		Example: `  pithos dump capture.bin
  nc -lU /tmp/tap.sock | pithos dump
  pithos dump --hex '28 0000002a 00000001 02   # a ping'
  pithos tap -o frames.tap; pithos dump frames.tap
  xxd -p capture.bin | pithos dump --hex -
  pithos dump --as pandora --max-body 67108864 hub.bin`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, done, err := f.open(cmd, args)
			if err != nil {
				return err
			}
			defer done()
			d, err := f.dumper(in, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return d.run()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.hex, "hex", "", `hexadecimal text instead of a file; "-": standard input`)
	flags.StringVar(&f.as, "as", "auto", "what the stream is: auto, native, pandora")
	flags.Uint32Var(&f.maxBody, "max-body", wire.DefaultMaxBody, "largest payload, in bytes")
	flags.BoolVar(&f.json, "json", false, "each frame that a tap has recorded as an object of JSON")
	flags.IntVar(&f.width, "width", 60, "how much of a payload is shown, in characters")
	return cmd
}

// open finds the input that the command line asks for; done releases it.
func (f *dumpFlags) open(cmd *cobra.Command, args []string) (in io.Reader, done func(), err error) {
	none := func() {}
	if cmd.Flags().Changed("hex") {
		if len(args) > 0 {
			return nil, nil, fmt.Errorf("--hex and the file %s: only one can be read", args[0])
		}
		if f.hex == "-" {
			return &hexReader{in: bufio.NewReader(cmd.InOrStdin())}, none, nil
		}
		return &hexReader{in: bufio.NewReader(strings.NewReader(f.hex))}, none, nil
	}
	if len(args) == 0 || args[0] == "-" {
		return cmd.InOrStdin(), none, nil
	}
	file, err := os.Open(args[0])
	if err != nil {
		return nil, nil, err
	}
	return file, func() { file.Close() }, nil
}

// dumper checks the other flags and makes the dumper of in.
func (f *dumpFlags) dumper(in io.Reader, out io.Writer) (*dumper, error) {
	d := &dumper{in: bufio.NewReaderSize(in, 64<<10), out: bufio.NewWriter(out),
		maxBody: f.maxBody, width: f.width, json: f.json, parts: make(map[partKey]struct{})}
	switch f.as {
	case "auto":
	case "native":
		d.dialect = dialectNative
	case "pandora":
		d.dialect = dialectPandora
	default:
		return nil, fmt.Errorf("--as %q: want auto, native or pandora", f.as)
	}
	if f.width < 0 {
		return nil, fmt.Errorf("--width %d: want 0 or more", f.width)
	}
	d.width = min(d.width, maxWidth)
	return d, nil
}

// maxWidth bounds --width, and so what is kept of a native body.
const maxWidth = 64 << 10

// hexReader reads bytes from hexadecimal text.
type hexReader struct {
	in      *bufio.Reader
	at      int  // characters read
	high    byte // first digit of a byte whose second one has not come
	half    bool // high is set
	comment bool // until the end of the line
	err     error
}

// Read gives the bytes of the digits that are there, at least one. An error is given again and
// again.
func (r *hexReader) Read(p []byte) (n int, err error) {
	if r.err == nil {
		n, r.err = r.read(p)
	}
	return n, r.err
}

func (r *hexReader) read(p []byte) (int, error) {
	n := 0
	for n < len(p) && (n == 0 || r.in.Buffered() > 0) {
		c, err := r.in.ReadByte()
		if err == io.EOF && r.half {
			return n, fmt.Errorf("hexadecimal text ends within a byte, at character %d", r.at)
		}
		if err != nil {
			return n, err
		}
		r.at++
		switch {
		case c == '\n':
			r.comment = false
		case r.comment, c == ' ', c == '\t', c == '\r':
		case c == '#':
			r.comment = true
		default:
			v := bytes.IndexByte([]byte("0123456789abcdef"), c|0x20)
			if v < 0 || c < '0' {
				return n, fmt.Errorf("character %d of the hexadecimal text is %q", r.at, c)
			}
			if r.half = !r.half; r.half {
				r.high = byte(v)
				continue
			}
			p[n] = r.high<<4 | byte(v)
			n++
		}
	}
	return n, nil
}

// errCut is in the error of a stream that ends inside a frame.
var errCut = errors.New("the stream ends there")
