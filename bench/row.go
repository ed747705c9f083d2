package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Conn is one client connection of a row. Its methods carry a body to the server, where the
// connection's handler is answer, and bring the reply back.
type Conn interface {
	// Call sends body and waits for the reply, which it puts into buf; buf is long enough. A row
	// with the mode Callers takes it from any number of goroutines, any other row from one.
	Call(body, buf []byte) (reply []byte, err error)

	// Close ends the connection, fails what is pending and waits for its goroutines.
	Close() error
}

// Pipeliner is a Conn of a row with the mode Callbacks.
type Pipeliner interface {
	Conn

	// Go sends body and returns. It never waits for the peer, so a callback may call it. Later
	// done is called once, with a reply that is borrowed until done returns; buf, lent until
	// then, is for rows that need a place for it. Some rows write body after Go has returned, so
	// it is lent until done, too.
	Go(body, buf []byte, done func(reply []byte, err error)) error
}

// Setup is what both ends of a row are told.
type Setup struct {
	Path     string        `json:"path"`      // of the socket; the server makes it
	MaxBody  int           `json:"max_body"`  // bytes; no body or reply is longer
	MaxCalls int           `json:"max_calls"` // most calls under way at once on one connection
	BusyPoll time.Duration `json:"busy_poll"` // of rows that can be told; 0: their default
}

// Mode is what the connections of a row can do besides one call after another.
type Mode uint16

// The modes.
const (
	Callers   Mode = 1 << iota // calls from many goroutines at once
	Callbacks                  // Go: its connections are Pipeliners
	Idle                       // many connections that cost nothing while nobody calls
	Several                    // a number of calls under way, in whatever way it does best
	Many                       // many connections that are busy at once
	Hops                       // over a hub, in a process of its own: all that the row does
	Pandora                    // Node processes over a hub: likewise
	Scale                      // over a hub that very many others may join
	Long                       // long bodies: all that the row does

	apart = Hops | Pandora // rows with these do nothing but scenarios with them
)

// Row is a contender: one way to carry calls between two processes. Serve runs in a process of its
// own and begins to listen before it returns; Dial runs in the process that measures, and opens a
// number of connections or none. They are closed in their order. A row over a hub has a third
// process, which listens before Serve is called: its Serve is a provider, which connects to it.
type Row struct {
	Name  string
	About string
	Modes Mode
	Hub   func(Setup) (io.Closer, error) // nil where there is none, or it is not ours
	Serve func(Setup) (io.Closer, error)
	Dial  func(s Setup, n int) ([]Conn, error) // nil, as Serve, where Node does both
}

// Names of the rows that others are compared with.
const (
	rowPlain    = "plain"
	rowSelf     = "self"
	rowRawSpin  = "raw-spin"
	rowRawBlock = "raw-block"
	rowRing     = "ring"
	rowPlainHub = "plain-hub"
	rowRingHub  = "ring-hub"

	rowPandora = "pandora-pithos"
	rowNodeHub = "pandora-node"
)

// Rows returns every contender in the order of the report, the product first.
func Rows() []Row {
	return slices.Concat(pithosRows(), baselineRows(), hubRows(), pandoraRows())
}

func baselineRows() []Row {
	rows := []Row{{
		Name:  rowPlain,
		About: "net.UnixConn multiplexer: bufio, a reader goroutine, a writer that coalesces",
		Modes: Callers | Callbacks | Several | Many | Idle,
		Serve: servePlain,
		Dial:  dialEach(dialPlain),
	}, {
		Name:  rowSelf,
		About: "net.UnixConn, a caller that reads its own answer; no goroutine in the client",
		Modes: Idle,
		Serve: serveSelf,
		Dial:  dialEach(dialSelf),
	}, {
		Name: rowPlainHub,
		About: "a hub over net.UnixConn: readers that append to the outboxes of others, handles, " +
			"a pending table for each provider",
		Modes: Hops | Callers | Callbacks,
		Hub:   servePlainHub,
		Serve: servePlainProvider,
		Dial:  dialEach(dialPlainCaller),
	}}
	return slices.Concat(rows, rawRows(), ringRows())
}

// dialEach makes a Dial of a function that opens one connection.
func dialEach(dial func(Setup) (Conn, error)) func(Setup, int) ([]Conn, error) {
	return func(s Setup, n int) ([]Conn, error) {
		var conns []Conn
		for i := range n {
			c, err := dial(s)
			if err != nil {
				err = fmt.Errorf("bench: connection %d: %w", i, err)
				return nil, errors.Join(err, closeAll(conns))
			}
			conns = append(conns, c)
		}
		return conns, nil
	}
}

func closeAll(conns []Conn) error {
	var err error
	for _, c := range conns {
		err = errors.Join(err, c.Close())
	}
	return err
}
