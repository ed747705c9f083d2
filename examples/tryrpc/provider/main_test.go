package main

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/examples/tryrpc/names"
	"github.com/pithos-ipc/pithos/service"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

func TestMain(m *testing.M) { transporttest.VerifyNoLeaks(m) }

// TestNoEtcd has an etcd that is not there: the services say why all the time, and end with an
// error when the time for a start is over, which is 2 s here and 30 s in the process.
func TestNoEtcd(t *testing.T) {
	var log bytes.Buffer
	d := definition()
	d.StartWithin = 2 * time.Second
	err := service.Run(t.Context(), service.Options{
		Assignment: &service.Assignment{All: true, Registry: "etcd://127.0.0.1:1"},
		Logger:     slog.New(slog.NewTextHandler(&log, nil)),
	}, names.Definition(), d)
	require.ErrorContains(t, err, "service: tryrpc has not started within 2s: ")
	require.ErrorContains(t, err, "connection refused")
	require.Contains(t, log.String(), "etcd is out of reach, trying on")
	require.Contains(t, log.String(), "connection refused")
}
