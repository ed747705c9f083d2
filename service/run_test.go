package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/service"
)

// diary notes what services do, and when.
type diary struct {
	begin time.Time
	mu    sync.Mutex
	lines []string
}

func newDiary() *diary { return &diary{begin: time.Now()} }

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	d.lines = append(d.lines, fmt.Sprintf("%v %s", time.Since(d.begin), line))
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// fake is a service that takes its time.
type fake struct {
	name         string
	diary        *diary
	start, stop  time.Duration
	startErr     error
	stopErr      error
	deaf         bool // to contexts
	startedAfter func(e *service.Env)
}

func (f *fake) define(needs ...string) service.Definition {
	return service.Definition{Name: f.name, DependsOn: needs,
		New: func(e *service.Env) (service.Service, error) {
			if f.startedAfter != nil {
				f.startedAfter(e)
			}
			return f, nil
		}}
}

func (f *fake) take(ctx context.Context, t time.Duration) error {
	if f.deaf {
		ctx = context.Background()
	}
	select {
	case <-time.After(t):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fake) Start(ctx context.Context) error {
	if err := f.take(ctx, f.start); err != nil {
		f.diary.note("%s gives up", f.name)
		return err
	}
	if f.startErr == nil {
		f.diary.note("%s started", f.name)
	}
	return f.startErr
}

func (f *fake) Stop(ctx context.Context) error {
	if err := f.take(ctx, f.stop); err != nil {
		return err
	}
	f.diary.note("%s stopped", f.name)
	return f.stopErr
}

// run runs services in a bubble of time until they end, or for as long as life.
func run(t *testing.T, life time.Duration, o service.Options, defs ...service.Definition) error {
	ctx, cancel := context.WithTimeout(t.Context(), life)
	defer cancel()
	if o.Assignment == nil {
		o.Assignment = &service.Assignment{All: true}
	}
	o.Logger = slog.New(slog.DiscardHandler)
	return service.Run(ctx, o, defs...)
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := time.Second
		err := run(t, time.Minute, service.Options{},
			(&fake{name: "web", diary: d, start: s, stop: s}).define("cache", "db"),
			(&fake{name: "db", diary: d, start: 3 * s, stop: s}).define("disk"),
			(&fake{name: "cache", diary: d, start: s, stop: 2 * s}).define("disk"),
			(&fake{name: "disk", diary: d, start: s, stop: s}).define(),
			(&fake{name: "clock", diary: d, start: 2 * s, stop: 2 * s}).define(),
		)
		require.NoError(t, err)
		require.Equal(t, []string{
			"1s disk started", "2s cache started", "2s clock started", "4s db started",
			"5s web started",
			"1m1s web stopped", "1m2s clock stopped", "1m2s db stopped", "1m3s cache stopped",
			"1m4s disk stopped",
		}, sorted(d.read()))
	})
}

// sorted puts notes of the same instant, which have no order, in that of their names.
func sorted(lines []string) []string {
	for i := range lines {
		for j := i; j > 0; j-- {
			a, b, _ := strings.Cut(lines[j-1], " ")
			c, d, _ := strings.Cut(lines[j], " ")
			if a == c && b > d {
				lines[j-1], lines[j] = lines[j], lines[j-1]
			}
		}
	}
	return lines
}

var errBroken = errors.New("it broke")

func TestFailedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := time.Second
		err := run(t, time.Minute, service.Options{},
			(&fake{name: "a", diary: d, start: s, stop: s}).define(),
			(&fake{name: "b", diary: d, start: s, stop: s}).define("a"),
			(&fake{name: "bad", diary: d, start: s, startErr: errBroken}).define("b"),
			(&fake{name: "after", diary: d}).define("bad"),
			(&fake{name: "slow", diary: d, start: 20 * s}).define(),
		)
		require.ErrorIs(t, err, errBroken)
		require.EqualError(t, err, "service: start bad: it broke")
		require.Equal(t, []string{"1s a started", "2s b started", "3s slow gives up",
			"4s b stopped", "5s a stopped"}, d.read())
	})
}

func TestR24StopWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		long := time.Hour
		slow := (&fake{name: "slow", diary: d, stop: long, deaf: true}).define("base")
		own := (&fake{name: "own", diary: d, stop: long}).define("base")
		own.StopWithin = 7 * time.Second
		err := run(t, time.Second, service.Options{},
			(&fake{name: "base", diary: d, stop: time.Second, stopErr: errBroken}).define(),
			slow, own,
		)
		require.ErrorContains(t, err, "service: slow has not stopped within 5s")
		require.ErrorContains(t, err, "own")
		require.ErrorIs(t, err, errBroken)
		require.Equal(t, []string{"0s base started", "0s own started", "0s slow started",
			"9s base stopped"}, sorted(d.read()), "1 s of life, 7 s for own, 1 s for base")
		time.Sleep(long) // for what was left behind
	})
}

func TestStartWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		late := (&fake{name: "late", diary: d, start: time.Hour}).define()
		err := run(t, time.Hour, service.Options{}, late)
		require.EqualError(t, err,
			"service: late has not started within 30s: context deadline exceeded")
		require.Equal(t, 30*time.Second, time.Since(d.begin))
		deaf := (&fake{name: "deaf", diary: d, start: time.Hour, deaf: true}).define()
		deaf.StartWithin = time.Second
		err = run(t, time.Hour, service.Options{}, deaf,
			(&fake{name: "other", diary: d}).define())
		require.EqualError(t, err, "service: deaf neither starts nor gives up")
		require.Equal(t, 36*time.Second, time.Since(d.begin))
		time.Sleep(time.Hour)
	})
}

func TestToldToStopWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := time.Second
		err := run(t, 1500*time.Millisecond, service.Options{},
			(&fake{name: "a", diary: d, start: s, stop: s}).define(),
			(&fake{name: "b", diary: d, start: s, stop: s}).define("a"),
			(&fake{name: "c", diary: d}).define("b"),
			(&fake{name: "deaf", diary: d, start: 3 * s, deaf: true}).define("a"),
		)
		require.NoError(t, err, "it was told to")
		require.Equal(t, []string{"1s a started", "1.5s b gives up", "4s deaf started",
			"4s deaf stopped", "5s a stopped"}, d.read())
	})
}

func TestR24Force(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		force := make(chan struct{})
		time.AfterFunc(2*time.Second, func() { close(force) })
		err := run(t, time.Second, service.Options{Force: force},
			(&fake{name: "a", diary: d, stop: 4 * time.Second}).define())
		require.ErrorIs(t, err, service.ErrForced)
		require.Equal(t, 2*time.Second, time.Since(d.begin))
		time.Sleep(time.Minute)
	})
}

func TestFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		fails := &fake{name: "fails", diary: d}
		fails.startedAfter = func(e *service.Env) {
			time.AfterFunc(time.Minute, func() { e.Fail(errBroken); e.Fail(errors.New("late")) })
		}
		err := run(t, time.Hour, service.Options{}, (&fake{name: "a", diary: d}).define(),
			fails.define("a"))
		require.EqualError(t, err, "service: fails: it broke")
		require.ErrorIs(t, err, errBroken)
		require.Equal(t, []string{"0s a started", "0s fails started", "1m0s fails stopped",
			"1m0s a stopped"}, d.read())
	})
}

func TestWhatIsWrong(t *testing.T) {
	named := func(name string, needs ...string) service.Definition {
		return (&fake{name: name}).define(needs...)
	}
	withNew := func(n func(*service.Env) (service.Service, error)) service.Definition {
		return service.Definition{Name: "x", New: n}
	}
	for _, c := range []struct {
		name string
		defs []service.Definition
		a    string
		err  string
	}{
		{"cycle", []service.Definition{named("z", "a"), named("a", "b"), named("b", "c"),
			named("c", "a")}, "", "service: cycle of dependencies: a -> b -> c -> a"},
		{"of itself", []service.Definition{named("a", "a")}, "",
			"service: cycle of dependencies: a -> a"},
		{"unknown dependencies", []service.Definition{named("web", "registri", "db"),
			named("registry")}, "", "service: web depends on registri, and this process knows " +
			"only registry, web\n" +
			"service: web depends on db, and this process knows only registry, web"},
		{"unknown service", []service.Definition{named("web"), named("api")},
			`{"services":{"wbe":{}}}`,
			"service: wbe is assigned to this process, which knows only api, web"},
		{"nothing known", nil, `{"services":{"web":{}}}`,
			"service: web is assigned to this process, which knows no services"},
		{"twice", []service.Definition{named("a"), named("a")}, "",
			"service: two services are named a"},
		{"no name", []service.Definition{named("a"), {}}, "",
			"service: definition 2 of 2 has no name"},
		{"no New", []service.Definition{{Name: "a"}}, "", "service: a has no New"},
		{"window", []service.Definition{{Name: "a", New: named("a").New, StopWithin: -1}}, "",
			"service: a has windows of 0s and -1ns, want 0 or more"},
		{"New fails", []service.Definition{withNew(
			func(*service.Env) (service.Service, error) { return nil, errBroken })}, "",
			"service: start x: it broke"},
		{"New makes nothing", []service.Definition{withNew(
			func(*service.Env) (service.Service, error) { return nil, nil })}, "",
			"service: start x: no service came of New"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := service.ParseAssignment(c.a)
			require.NoError(t, err)
			require.EqualError(t, run(t, time.Minute, service.Options{Assignment: &a}, c.defs...),
				c.err)
		})
	}
}

func TestAssigned(t *testing.T) {
	for _, c := range []struct{ name, assignment, want string }{
		{"all", `{"all":true}`, "base web api"},
		{"no variable", "", "base web api"},
		{"one with what it needs", `{"services":{"web":{}}}`, "base web"},
		{"weak ones that are known", `{"services":{"api":{"weak":true},"x":{"weak":true}}}`, "api"},
		{"none", `{}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Setenv(service.Variable, c.assignment)
				d := newDiary()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s := time.Second
				require.NoError(t, service.Run(ctx,
					service.Options{Logger: slog.New(slog.DiscardHandler)},
					(&fake{name: "api", diary: d, start: 3 * s}).define(),
					(&fake{name: "web", diary: d, start: s}).define("base"),
					(&fake{name: "base", diary: d, start: s}).define()))
				var started []string
				for _, line := range d.read() {
					if f := strings.Fields(line); f[2] == "started" {
						started = append(started, f[1])
					}
				}
				require.Equal(t, c.want, strings.Join(started, " "))
			})
		})
	}
}

func TestEnv(t *testing.T) {
	type settings struct {
		Port int    `json:"port"`
		Host string `json:"host"`
	}
	var log strings.Builder
	o := service.Options{
		Assignment: &service.Assignment{All: true, Application: "shop", Instance: 2,
			Services: map[string]service.Assigned{
				"web": {Config: json.RawMessage(`{"port":80}`)},
				"bad": {Config: json.RawMessage(`{"prot":80}`)},
			}},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	d := newDiary()
	base := &fake{name: "base", diary: d}
	var web, bad, plain settings
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := service.Run(ctx, o, base.define(),
		service.Definition{Name: "web", DependsOn: []string{"base"},
			New: func(e *service.Env) (service.Service, error) {
				defer cancel()
				web.Host = "localhost"
				require.NoError(t, e.Config(&web))
				require.ErrorContains(t, e.Config(new(int)), "service: config of web: ")
				require.Equal(t, 2, e.Assignment.Instance)
				got, err := service.Dependency[*fake](e, "base")
				require.NoError(t, err)
				require.Same(t, base, got)
				_, err = service.Dependency[fmt.Stringer](e, "base")
				require.ErrorContains(t, err, "base is a *service_test.fake, and web wants a")
				_, err = service.Dependency[*fake](e, "bad")
				require.EqualError(t, err,
					"service: web does not depend on bad, as DependsOn says")
				e.Log.Info("hello")
				return &fake{name: "web", diary: d}, nil
			}},
		service.Definition{Name: "bad", New: func(e *service.Env) (service.Service, error) {
			require.ErrorContains(t, e.Config(&bad), `unknown field "prot"`)
			return &fake{name: "bad", diary: d}, nil
		}},
		service.Definition{Name: "plain", New: func(e *service.Env) (service.Service, error) {
			require.NoError(t, e.Config(&plain))
			return &fake{name: "plain", diary: d}, nil
		}},
	)
	require.NoError(t, err)
	require.Equal(t, settings{80, "localhost"}, web)
	require.Zero(t, plain)
	require.Contains(t, log.String(), "msg=hello service=web")
}
