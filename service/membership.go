package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

const joinPause = 100 * time.Millisecond

// membership is the connection of a process to its hub, made when somebody wants it.
type membership struct {
	assignment *Assignment
	log        *slog.Logger
	busy       chan struct{} // a token: held while client is used
	client     *hub.Client   // nil: not joined
}

func newMembership(a *Assignment, log *slog.Logger) *membership {
	return &membership{assignment: a, log: log, busy: make(chan struct{}, 1)}
}

// join returns the client. While there is no hub it tries again, until ctx ends: a hub that was
// killed is soon back.
func (m *membership) join(ctx context.Context) (*hub.Client, error) {
	if m.assignment.Hub == "" {
		return nil, errors.New("the process has none: hub is not in " + Variable)
	}
	select {
	case m.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-m.busy }()
	if m.client != nil {
		return m.client, nil
	}
	o := hub.JoinOptions{Logger: m.log, Location: hub.Location{
		AppName: m.assignment.Application, ProcessName: m.assignment.Process}}
	for first := true; ; first = false {
		c, err := hub.Join(ctx, m.assignment.Hub, o)
		if err == nil {
			m.client = c
			return c, nil
		}
		if first {
			m.log.Warn("no hub, trying on", "hub", m.assignment.Hub, "error", err)
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// leave closes the client, if there is one.
func (m *membership) leave(ctx context.Context) error {
	select {
	case m.busy <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.busy }()
	if m.client == nil {
		return nil
	}
	c := m.client
	m.client = nil
	return c.Close(ctx)
}
