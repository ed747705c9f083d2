package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/wire"
)

// caller is what call is asked to do.
type caller struct {
	to      addressee
	all     bool
	json    bool
	timeout time.Duration
	out     io.Writer
}

func newCall(s *socketFlag) *cobra.Command {
	var k caller
	cmd := &cobra.Command{
		Use:   "call object.method [-- argument...]",
		Short: "Call a method of an object that somebody has published at the hub",
		Long: `Calls a method of an object, of a Go or of a Node process, and prints the result as
JSON. What stands behind the last dot is the method. An argument is JSON where it can be read
as JSON, else it is a string: 5 is a number, "5" in quotes and five are strings.

--selector says more about who is to be called, as JSON or as key=value,...; the keys are
appName, processName, pid, clientId, objectName, objectTag. With --all everybody whom it
selects is called, and the results are printed one a line.

With --property it reads a property, and calls nothing. "pithos ls objects --members" shows what
there is; where there is no such object or method, the error says which there are. An error of the
method goes to standard error, and the exit code is 1.`,
		Example: `  pithos call math.abs -- -1234
  pithos call cart.add -- '{"sku":"4711"}' 2
  pithos call cart.total --selector processName=web,objectTag=v2 --timeout 200ms
  pithos call cart.currency --property
  pithos call worker.status --all --json`,
		Args: addressed,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := k.to.parse(args); err != nil {
				return k.to.complete(cmd, s, err)
			}
			if k.to.property && len(args) > 1 {
				return fmt.Errorf("--property: %d arguments, a property takes none", len(args)-1)
			}
			k.out = cmd.OutOrStdout()
			return atHub(cmd, s, k.timeout, k.run)
		},
	}
	k.to.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&k.all, "all", false, "call everybody who is selected")
	flags.BoolVar(&k.to.property, "property", false, "read a property")
	flags.BoolVar(&k.json, "json", false, "print an object with the result, as result_base64 "+
		"if it is not UTF-8, or the error, and the time that the call took")
	flags.DurationVar(&k.timeout, "timeout", 5*time.Second, "longest time to wait for the result")
	return cmd
}

// outcome is what --json prints of a call.
type outcome struct {
	Peer   uint64          `json:"peer,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Base64 []byte          `json:"result_base64,omitempty"` // a result that is not UTF-8
	Error  *outcomeError   `json:"error,omitempty"`
	TookUs float64         `json:"took_us"`
}

type outcomeError struct {
	Code    uint32          `json:"code"`
	Message string          `json:"message"`
	Remote  json.RawMessage `json:"remote,omitempty"` // the error of a Node process as it came
}

// errQuiet says that the exit code is 1 and that everything has been said.
var errQuiet = errors.New("")

// run calls, and prints what comes of it.
func (k *caller) run(ctx context.Context, c *hub.Client) error {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	m := hub.Message{Method: k.to.method, Payload: k.to.payload}
	if k.to.property {
		m.Action, m.Payload = hub.ActionGetProperty, nil
	}
	route := c.Route(k.to.selector)
	begun := time.Now()
	if k.all {
		replies, err := route.CallAll(ctx, m)
		if err == nil && len(replies) == 0 {
			err = &hub.RemoteError{Code: wire.CodeNoRoute}
		}
		if err != nil {
			return k.fail(ctx, c, begun, err)
		}
		return k.printAll(replies, time.Since(begun))
	}
	result, err := route.Do(ctx, m, nil)
	if err != nil {
		return k.fail(ctx, c, begun, err)
	}
	return k.print(outcome{Result: result, TookUs: float64(time.Since(begun)) / 1e3})
}

// fail says why there is no result.
func (k *caller) fail(ctx context.Context, c *hub.Client, begun time.Time, err error) error {
	took := time.Since(begun)
	explained := k.to.explain(ctx, c, k.timeout, err)
	if !k.json {
		return explained
	}
	e := &outcomeError{Message: explained.Error()}
	var remote *hub.RemoteError
	if errors.As(err, &remote) {
		e.Code, e.Remote = uint32(remote.Code), remote.Raw
	}
	if err := k.print(outcome{Error: e, TookUs: float64(took) / 1e3}); err != nil {
		return err
	}
	return errQuiet
}

// print prints a result: JSON on a line, or, when it is none, as it is.
func (k *caller) print(o outcome) error {
	if k.json {
		switch {
		case o.Error != nil:
		case utf8.Valid(o.Result):
			o.Result = asJSON(o.Result)
		default: // JSON has no other way to say it without loss
			o.Base64, o.Result = o.Result, nil
		}
		return json.NewEncoder(k.out).Encode(o)
	}
	if len(o.Result) == 0 {
		return nil // a method that returns nothing says nothing
	}
	_, err := fmt.Fprintf(k.out, "%s\n", o.Result)
	return err
}

// asJSON is a result in UTF-8 as a value of JSON: itself, a string when it is text, or null.
func asJSON(result []byte) json.RawMessage {
	if len(result) == 0 {
		return json.RawMessage("null")
	}
	if json.Valid(result) {
		return result
	}
	text, _ := json.Marshal(string(result)) // a string cannot fail
	return text
}

// printAll prints the results of many, and fails when one of them is an error.
func (k *caller) printAll(replies []hub.Reply, took time.Duration) error {
	failed := 0
	for _, r := range replies {
		o := outcome{Peer: r.Peer, Result: r.Payload, TookUs: float64(took) / 1e3}
		var remote *hub.RemoteError
		if r.Err != nil {
			failed++
			o.Error = &outcomeError{Message: bare(r.Err)}
			if errors.As(r.Err, &remote) {
				o.Error.Code, o.Error.Remote = uint32(remote.Code), remote.Raw
			}
			o.Result = nil
		}
		if r.Err != nil && !k.json {
			continue
		}
		if err := k.print(o); err != nil {
			return err
		}
	}
	if failed == 0 {
		return nil
	}
	if k.json {
		return errQuiet
	}
	var texts []string
	for _, r := range replies {
		if r.Err != nil {
			texts = append(texts, fmt.Sprintf("peer %d: %s", r.Peer, bare(r.Err)))
		}
	}
	return fmt.Errorf("%d of %d failed: %s", failed, len(replies), strings.Join(texts, "; "))
}

// bare is the text of err without who says it.
func bare(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "hub: "), "remote: ")
}

// argument reads one argument of the command line.
func argument(text string) json.RawMessage {
	if json.Valid([]byte(text)) {
		var b bytes.Buffer
		if json.Compact(&b, []byte(text)) == nil {
			return b.Bytes()
		}
	}
	s, _ := json.Marshal(text) // a string cannot fail
	return s
}
