package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/app"
	"github.com/pithos-ipc/pithos/daemon"
	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/procfile"
	"github.com/pithos-ipc/pithos/supervisor"
	"github.com/pithos-ipc/pithos/transport"
)

// This file is what dev and the daemon have in common: how an application comes by its hub.

// appOptions are those of every application: this program is its hub, at socket where the file says
// nothing else; "" is the usual place.
func appOptions(socket string) (app.Options, error) {
	self, err := os.Executable()
	if err != nil {
		return app.Options{}, fmt.Errorf("where this program is: %w", err)
	}
	if socket == "" {
		if socket, err = transport.SocketPath("hub"); err != nil {
			return app.Options{}, err
		}
	}
	return app.Options{
		Hub: []string{self, "hub"}, Socket: socket,
		HubProbe: hubProbe, ObjectProbe: objectProbe,
	}, nil
}

// place puts the hub of f where the flag says; where the environment says if the file does not.
// Both mean the folder of who runs this, not that of the file.
func (s *socketFlag) place(f *procfile.File) error {
	path := s.path
	if path == "" && f.Hub.Path == "" && f.Hub.Run {
		path = os.Getenv(socketVariable)
	}
	if path == "" {
		return nil
	}
	if !strings.HasPrefix(path, "@") {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		path = abs
	}
	f.Hub.Path = path
	return nil
}

// hubProbe succeeds when a hub answers at socket.
func hubProbe(socket string) supervisor.Probe {
	return func(ctx context.Context) error {
		c, err := transport.Dial(ctx, socket, transport.Options{})
		if err != nil {
			return err
		}
		err = c.Ping(ctx)
		return errors.Join(err, c.Close(ctx))
	}
}

// objectProbe succeeds when a process of the instance that is asked about has published an object
// of that name. It need not be the one that the supervisor started: a shell or "go run" may be in
// between.
func objectProbe(socket, name string) supervisor.Probe {
	return func(ctx context.Context) error {
		i, ok := supervisor.InstanceOf(ctx)
		if !ok {
			return errors.New("no instance to ask about")
		}
		c, err := hub.Join(ctx, socket, hub.JoinOptions{
			Location: hub.Location{AppName: "pithos", ProcessName: "probe"}})
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		providers, err := c.Lookup(ctx, hub.Selector{ObjectName: name})
		if err != nil {
			return err
		}
		own := append([]int{i.PID}, descendants(i.PID)...)
		for _, p := range providers {
			if pid, err := strconv.Atoi(p.Selector.PID); err == nil && slices.Contains(own, pid) {
				return nil
			}
		}
		return fmt.Errorf("object %q is not published", name)
	}
}

// descendants returns the children of a process, and theirs, as far as the system tells.
func descendants(pid int) []int {
	var found []int
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for _, field := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(field); err == nil {
				found = append(append(found, child), descendants(child)...)
			}
		}
	}
	return found
}

// hubFree wants nobody to listen at the socket where f would have a hub. One that is just being
// killed has a moment to go.
func hubFree(ctx context.Context, f *procfile.File, socket string) error {
	if !f.Hub.Run {
		return nil
	}
	for end := time.Now().Add(2 * time.Second); ; {
		if !daemon.Alive(socket) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the hub's socket is taken: somebody listens at %s. Another one is "+
				"chosen by --socket or hub.path in %s; with \"hub: {run: false, path: %s}\" the "+
				"application uses the hub that is there", socket, f.Path, socket)
		}
		if !pause(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}
