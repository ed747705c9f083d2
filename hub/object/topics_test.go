package object

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// listed writes down what a Source is told.
type listed struct {
	log  []string
	fail error
}

func (l *listed) Subscribe(_ context.Context, topic string) error {
	l.log = append(l.log, "+"+topic)
	return l.fail
}

func (l *listed) Unsubscribe(_ context.Context, topic string) error {
	l.log = append(l.log, "-"+topic)
	return nil
}

func TestTopics(t *testing.T) {
	ctx, l := t.Context(), new(listed)
	s := topics{source: l}
	require.NoError(t, s.subscribe(ctx, "a", "1"))
	require.NoError(t, s.subscribe(ctx, "a", "1"), "twice by one client")
	require.NoError(t, s.subscribe(ctx, "a", "2"))
	require.NoError(t, s.subscribe(ctx, "b", "2"))
	require.Equal(t, []string{"+a", "+b"}, l.log)
	require.Equal(t, []string{"a", "b"}, s.names())
	require.NoError(t, s.unsubscribe(ctx, "a", "3"), "never subscribed")
	require.NoError(t, s.unsubscribe(ctx, "none", "1"))
	require.NoError(t, s.unsubscribe(ctx, "a", "1"))
	require.True(t, s.has("a"), "by the other client")
	require.NoError(t, s.unsubscribe(ctx, "a", "2"))
	require.False(t, s.has("a"))
	s.forget(ctx, "1")
	s.forget(ctx, "2")
	require.Equal(t, []string{"+a", "+b", "-a", "-b"}, l.log)
	require.Empty(t, s.names())

	l.fail = errors.New("no such topic")
	require.ErrorIs(t, s.subscribe(ctx, "c", "1"), l.fail)
	require.False(t, s.has("c"), "refused")
}
