package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

const (
	// StartWithin is how long a Start may take, where its Definition says nothing else.
	StartWithin = 30 * time.Second
	// StopWithin is how long a Stop may take, where its Definition says nothing else.
	StopWithin = 5 * time.Second
)

// ErrForced is what Run returns when it was told to end at once.
var ErrForced = errors.New("service: forced to end before all services had stopped")

// Service is a part of a process that starts and stops.
type Service interface {
	// Start returns when the service can be used by those that depend on it. What goes on behind
	// that (a server, a loop) runs on goroutines of its own, and says by Env.Fail when it broke.
	// ctx is for the start only: it ends when the time is over or the process is to stop. When
	// Start returns an error nothing of the service runs any more.
	Start(ctx context.Context) error
	// Stop ends what Start has begun, and returns when nothing of it runs. It takes no new work,
	// finishes what is under way, and gives up when ctx ends. It is called once, and only after a
	// Start that succeeded.
	Stop(ctx context.Context) error
}

// Checker is a Service that can say whether it still does its work. Under a watchdog (systemd's
// WatchdogSec) the process only reports to be alive while every Check returns nil in time.
type Checker interface {
	Check(ctx context.Context) error
}

// Definition says how a service is made and what it needs.
type Definition struct {
	// Name by which the process file and other services know it.
	Name string
	// DependsOn are the services of the process that have to be started before this one, and are
	// stopped after it.
	DependsOn []string
	// New makes the service, right before its Start, when what it depends on has started.
	New func(e *Env) (Service, error)
	// Object has the service published at the hub, under its name, from the end of Start to the
	// beginning of Stop: it returns the value whose methods others may call (see object.Publish).
	// When the process stops, the object is taken back, and calls inside are finished first. nil:
	// nothing is published.
	Object func(s Service) any
	// StartWithin and StopWithin are the windows of Start and Stop, what has to do with Object
	// included; 0: the constants of the same names.
	StartWithin, StopWithin time.Duration
}

// Env is what a service gets from its process. It lives as long as the service.
type Env struct {
	// Name of the service.
	Name string
	// Log carries the name of the service.
	Log *slog.Logger
	// Assignment of the whole process.
	Assignment Assignment

	config       json.RawMessage
	dependencies map[string]Service // immutable
	fail         func(error)
	hub          *membership
}

// Config decodes the configuration of the service into the value that a pointer points to, as
// encoding/json does; fields of it that are not configured stay as they are, so that defaults can
// be set before. A field that the value does not have is an error.
func (e *Env) Config(into any) error {
	if len(e.config) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(e.config))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("service: config of %s: %w", e.Name, err)
	}
	return nil
}

// Hub returns the connection of the process to the hub of its Assignment. All services share it; it
// is made when the first one asks, and closed when all have stopped.
func (e *Env) Hub(ctx context.Context) (*hub.Client, error) {
	c, err := e.hub.join(ctx)
	if err != nil {
		return nil, fmt.Errorf("service: hub for %s: %w", e.Name, err)
	}
	return c, nil
}

// Fail says that the service broke, and why. The process stops all of its services and ends with
// this error. Only the first one counts.
func (e *Env) Fail(err error) { e.fail(fmt.Errorf("service: %s: %w", e.Name, err)) }

// Dependency returns a service that e's depends on, as what it is.
func Dependency[T any](e *Env, name string) (T, error) {
	var none T
	s, ok := e.dependencies[name]
	if !ok {
		return none, fmt.Errorf("service: %s does not depend on %s, as DependsOn says", e.Name,
			name)
	}
	t, ok := s.(T)
	if !ok {
		return none, fmt.Errorf("service: %s is a %T, and %s wants a %T", name, s, e.Name, none)
	}
	return t, nil
}
