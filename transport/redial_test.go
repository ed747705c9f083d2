package transport_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
)

// redial is a Redialer with short delays that ends with the test.
func redial(t testing.TB, address string, o transport.RedialOptions) *transport.Redialer {
	t.Helper()
	if o.MinDelay == 0 {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	}
	d := transport.Redial(address, o)
	t.Cleanup(func() { _ = d.Close(patient(t)) })
	return d
}

func TestRedialWaitsForTheServer(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		address := filepath.Join(t.TempDir(), "s")
		failed := make(chan struct{})
		var once sync.Once
		d := redial(t, address, transport.RedialOptions{Options: client.of(transport.Options{}),
			Down: func(error) { once.Do(func() { close(failed) }) }})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				got, err := d.Call(patient(t), []byte("hi"), nil)
				if err != nil || string(got) != "hi" {
					t.Errorf("Call: %q, %v", got, err)
				}
				if err := d.Send(patient(t), nil); err != nil {
					t.Errorf("Send: %v", err)
				}
			})
		}
		receive(t, failed, "the first attempt")
		ctx, cancel := newTimeout(20 * time.Millisecond)
		defer cancel()
		_, err := d.Call(ctx, nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, os.ErrNotExist, "why there is no connection")
		m := transport.Message{Timeout: 20 * time.Millisecond}
		_, err = d.Do(background, m, nil)
		require.ErrorIs(t, err, transport.ErrDeadline)
		require.ErrorIs(t, d.Post(background, m), transport.ErrDeadline)

		l, err := transport.Listen(address, server.of(handler(echo)))
		require.NoError(t, err)
		wg.Wait()
		require.NoError(t, d.Close(patient(t)))
		require.NoError(t, l.Close(patient(t)))
	})
}

// R29: calls in flight fail with a typed error, none is repeated; what Up registers comes back
// exactly once with each connection, before anybody else gets it.
func TestR29CallsInFlightFailOnce(t *testing.T) {
	eachPair(t, func(t *testing.T, server, client engine) {
		g := newGate(t)
		var registered, held atomic.Int32
		var early atomic.Bool
		var mux transport.Mux
		mux.HandleFunc("register", func(r *transport.Request) {
			registered.Add(1)
			r.Conn().Attach("registered")
			_ = r.Reply(nil)
		})
		mux.HandleFunc("hold", func(r *transport.Request) {
			if r.Conn().Attachment() == nil {
				early.Store(true)
			}
			held.Add(1)
			g.hold(r)
		})
		mux.HandleFunc("echo", echo)
		l := listen(t, server.of(transport.Options{Handler: &mux}))
		p := proxy(t, l.Address(), transporttest.Faults{})
		downs := make(chan error, 100)
		d := redial(t, p.Address(), transport.RedialOptions{
			Options: client.of(transport.Options{}),
			Up: func(ctx context.Context, c *transport.Conn) error {
				_, err := c.Do(ctx, transport.Message{Method: "register"}, nil)
				return err
			},
			Down: func(err error) { downs <- err },
		})
		const rounds, calls = 5, 10
		results := make(chan error, calls)
		for round := range int32(rounds) {
			for range calls {
				go func() {
					_, err := d.Do(patient(t), transport.Message{Method: "hold"}, nil)
					results <- err
				}()
			}
			eventually(t, func() bool { return held.Load() == (round+1)*calls }, "%v calls inside",
				now(held.Load))
			p.Cut()
			for range calls {
				require.ErrorIs(t, receive(t, results, "a call in flight"), transport.ErrConnLost)
			}
			require.ErrorIs(t, receive(t, downs, "Down"), transport.ErrConnLost)
			_, err := d.Do(patient(t), transport.Message{Method: "echo"}, nil)
			require.NoError(t, err, "the next call has the next connection")
			require.Equal(t, round+2, registered.Load(), "once with each connection")
			require.Equal(t, (round+1)*calls, held.Load(), "no call is repeated")
		}
		require.False(t, early.Load(), "a call before the registration")
		g.open()
	})
}

func TestRedialUpRefuses(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		l := listen(t, e.of(handler(echo)))
		no := errors.New("not yet")
		var ups, downs atomic.Int32
		d := redial(t, l.Address(), transport.RedialOptions{
			Options: e.of(transport.Options{}),
			Up: func(context.Context, *transport.Conn) error {
				if ups.Add(1) < 4 {
					return no
				}
				return nil
			},
			Down: func(err error) {
				if errors.Is(err, no) {
					downs.Add(1)
				}
			},
		})
		_, err := d.Call(patient(t), nil, nil)
		require.NoError(t, err)
		require.EqualValues(t, 4, ups.Load())
		require.EqualValues(t, 3, downs.Load())
		eventually(t, func() bool { return l.Stats().Conns == 1 }, "%v", now(l.Stats))
	})
}

func TestRedialBacksOff(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		const attempts = 5
		begun, ended := make(chan time.Time, 100), make(chan time.Time, 100)
		d := redial(t, filepath.Join(t.TempDir(), "none"), transport.RedialOptions{
			Options:  e.of(transport.Options{}),
			MinDelay: 20 * time.Millisecond,
			MaxDelay: time.Hour,
			Down: func(error) {
				ended <- time.Now()
				begun <- time.Now()
			},
		})
		receive(t, ended, "the first attempt")
		for n := range attempts - 1 { // at least 10, 20, 40, 80 ms between them
			least := 10 * time.Millisecond << n
			since := receive(t, begun, "the wait")
			require.GreaterOrEqual(t, receive(t, ended, "the next attempt").Sub(since), least)
		}
		ctx, cancel := newTimeout(time.Millisecond)
		defer cancel()
		_, err := d.Conn(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestRedialClose(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		t.Run("without a connection", func(t *testing.T) {
			d := redial(t, filepath.Join(t.TempDir(), "none"), transport.RedialOptions{
				Options: e.of(transport.Options{}), MinDelay: time.Hour})
			waiting := make(chan error, 1)
			go func() { _, err := d.Call(background, nil, nil); waiting <- err }()
			time.Sleep(time.Millisecond)
			require.NoError(t, d.Close(background))
			require.ErrorIs(t, receive(t, waiting, "a waiting call"), transport.ErrClosed)
			require.NoError(t, d.Close(background))
			_, err := d.Conn(background)
			require.ErrorIs(t, err, transport.ErrClosed)
		})
		t.Run("with one", func(t *testing.T) {
			g := newGate(t)
			l := listen(t, e.of(handler(g.hold)))
			o := transport.RedialOptions{Options: e.of(transport.Options{})}
			d := redial(t, l.Address(), o)
			c, err := d.Conn(patient(t))
			require.NoError(t, err)
			inside := make(chan error, 1)
			go func() { _, err := d.Call(background, nil, nil); inside <- err }()
			eventually(t, func() bool { return l.Stats().Serving == 1 }, "%v", now(l.Stats))
			closing := make(chan error, 1)
			go func() { closing <- d.Close(patient(t)) }()
			eventually(t, func() bool {
				return errors.Is(d.Send(background, nil), transport.ErrClosed)
			}, "closing")
			require.Empty(t, closing, "a call is inside")
			g.open()
			require.NoError(t, receive(t, closing, "Close"))
			require.NoError(t, receive(t, inside, "the call inside"))
			require.ErrorIs(t, c.Err(), transport.ErrClosed)
		})
		t.Run("while up blocks", func(t *testing.T) {
			l := listen(t, e.of(handler(echo)))
			up := make(chan struct{}, 1)
			d := redial(t, l.Address(), transport.RedialOptions{Options: e.of(transport.Options{}),
				Up: func(ctx context.Context, _ *transport.Conn) error {
					up <- struct{}{}
					<-ctx.Done()
					return ctx.Err()
				}})
			receive(t, up, "Up")
			require.NoError(t, d.Close(background))
			eventually(t, func() bool { return l.Stats().Conns == 0 }, "%v", now(l.Stats))
		})
		t.Run("on the loop", func(t *testing.T) {
			l := listen(t, e.of(handler(echo)))
			o := transport.RedialOptions{Options: e.of(transport.Options{})}
			d := redial(t, l.Address(), o)
			c, err := d.Conn(patient(t))
			require.NoError(t, err)
			closed := make(chan error, 1)
			require.NoError(t, c.Go(transport.Message{}, nil, func([]byte, error) {
				closed <- d.Close(background)
			}))
			require.ErrorIs(t, receive(t, closed, "Close"), transport.ErrOnLoop)
			require.NoError(t, d.Close(patient(t)))
		})
	})
}
