package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// ExecProbe returns a Probe that succeeds when a command ends with status 0. It runs as the process
// that it is about does: in its Dir, with its environment, under its warden, so that nothing is
// left of it either; its last line is in the error. It works in a Supervisor only.
func ExecProbe(command string, args ...string) Probe {
	return func(ctx context.Context) error {
		run, ok := ctx.Value(execKey{}).(func(context.Context, string, []string) error)
		if !ok {
			return errors.New("supervisor: an ExecProbe works in a Supervisor only")
		}
		return run(ctx, command, args)
	}
}

type execKey struct{}

// TCPProbe returns a Probe that succeeds when something accepts connections at address, host:port.
func TCPProbe(address string) Probe {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// HTTPProbe returns a Probe that succeeds when a GET of url is answered with a status of 200 to
// 399. Redirects are not followed.
func HTTPProbe(url string) Probe {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	client.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // the status is what counts
		if res.StatusCode < 200 || res.StatusCode > 399 {
			return fmt.Errorf("GET %s: status %s", url, res.Status)
		}
		return nil
	}
}
