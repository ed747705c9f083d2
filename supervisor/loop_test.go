package supervisor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A life is what a process of a stage does: it ends by itself after ends, with code, if that is not
// 0, and takes dies to end after SIGTERM, which it ignores if that is below 0.
type life struct {
	ends time.Duration
	code int
	dies time.Duration
	err  error // it cannot be started
	says notice
}

// A stage is a launcher without processes, in the time of a bubble.
type stage struct {
	live func(name string, run int) life

	mu    sync.Mutex
	runs  map[uint64]*act // guarded by mu
	count map[string]int  // guarded by mu; starts
	acts  sync.WaitGroup
}

// An act is one run on a stage.
type act struct {
	name    string
	signals chan os.Signal
	started time.Time
}

func (s *stage) launch(o order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.count[o.spec.Name]
	s.count[o.spec.Name]++
	l := s.live(o.spec.Name, n)
	if l.err != nil {
		s.acts.Go(func() { o.report(report{err: l.err, permanent: true}) })
		return
	}
	a := &act{o.spec.Name, make(chan os.Signal, 16), time.Now()}
	s.runs[o.id] = a
	s.acts.Go(func() {
		o.report(report{pid: int(o.id)})
		o.noticed(l.says)
		e := a.play(l)
		s.mu.Lock()
		delete(s.runs, o.id)
		s.mu.Unlock()
		o.report(report{exit: &e})
	})
}

func (a *act) play(l life) Exit {
	var ends, dies <-chan time.Time
	if l.ends > 0 {
		ends = time.After(l.ends)
	}
	for {
		select {
		case <-ends:
			return Exit{Code: l.code, Reason: fmt.Sprintf("exit status %d", l.code)}
		case <-dies:
			return Exit{Code: -1, Signal: "SIGTERM", Reason: "killed by SIGTERM"}
		case sig := <-a.signals:
			if sig == syscall.SIGKILL {
				return Exit{Code: -1, Signal: "SIGKILL", Reason: "killed by SIGKILL"}
			}
			if l.dies >= 0 && dies == nil {
				dies = time.After(l.dies)
			}
		}
	}
}

func (s *stage) signal(run uint64, sig os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.runs[run]; a != nil {
		a.signals <- sig
	}
}

func (s *stage) close() error {
	s.acts.Wait()
	return nil
}

// running returns how many runs of each process there are.
func (s *stage) running() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := make(map[string]int)
	for _, a := range s.runs {
		n[a.name]++
	}
	return n
}

// A play is a Supervisor on a stage.
type play struct {
	*Supervisor
	t      *testing.T
	stage  *stage
	cancel context.CancelFunc
	ended  chan error
	start  time.Time
	events *Subscription
}

// perform runs f with a Supervisor of specs, in a bubble.
func perform(t *testing.T, live func(name string, run int) life, specs []Spec,
	f func(t *testing.T, p *play)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := &stage{live: live, runs: make(map[uint64]*act), count: make(map[string]int)}
		s, err := New(Options{launcher: st}, specs...)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		p := &play{s, t, st, cancel, make(chan error, 1), time.Now(), nil}
		p.events = s.Subscribe(Filter{Events: true, Buffer: 1 << 16})
		go func() { p.ended <- s.Run(ctx) }()
		defer func() {
			p.end()
			require.Empty(t, st.running())
		}()
		f(t, p)
	})
}

func (p *play) end() {
	p.cancel()
	if p.ended != nil {
		err := <-p.ended
		p.ended = nil
		require.NoError(p.t, err)
	}
}

// told returns the events until now as "name state" at their time, in whole milliseconds.
func (p *play) told() []string {
	synctest.Wait()
	var all []string
	for {
		select {
		case m, ok := <-p.events.C():
			if !ok {
				return all
			}
			at := m.Event.Time.Sub(p.start).Milliseconds()
			e, what := m.Event, m.Event.To.String()
			if e.Warning != "" {
				what = e.Warning
			}
			all = append(all, fmt.Sprintf("%d %s#%d %s", at, e.Process, e.Index, what))
		default:
			return all
		}
	}
}

func (p *play) status(name string) Status {
	procs, err := p.Snapshot(context.Background())
	require.NoError(p.t, err)
	for _, q := range procs {
		if q.Name == name {
			return q.Instances[0]
		}
	}
	p.t.Fatal("no process ", name)
	return Status{}
}

func spec(name string, needs ...string) Spec {
	s := Spec{Name: name, Command: name}
	for _, n := range needs {
		s.DependsOn = append(s.DependsOn, Dependency{Name: n})
	}
	return s
}

func forever(string, int) life { return life{} }

// R24: stop goes in reverse order, each within its window, then SIGKILL.
func TestR24OrderOfStop(t *testing.T) {
	live := func(name string, _ int) life {
		return map[string]life{
			"db":  {dies: time.Second},
			"api": {dies: -1},
			"web": {dies: 2 * time.Second},
		}[name]
	}
	specs := []Spec{spec("web", "api"), spec("api", "db"), spec("db")}
	perform(t, live, specs, func(t *testing.T, p *play) {
		require.NoError(t, p.Start(context.Background()))
		require.Equal(t, []string{
			"0 db#0 pending", "0 api#0 pending", "0 web#0 pending", "0 db#0 starting",
			"100 db#0 ready", "100 api#0 starting", "200 api#0 ready", "200 web#0 starting",
			"300 web#0 ready",
		}, p.told())
		p.end()
		require.Equal(t, []string{
			"300 web#0 stopping", "2300 web#0 stopped",
			"2300 api#0 stopping", "7300 api#0 not gone within 5s, killed", "7300 api#0 stopped",
			"7300 db#0 stopping", "8300 db#0 stopped",
		}, p.told())
		require.Equal(t, "SIGKILL", p.status("api").Exit.Signal)
	})
}

// R24: a second interrupt ends all at once.
func TestR24KillForces(t *testing.T) {
	never := spec("a")
	never.Stop.Window = time.Hour
	perform(t, func(string, int) life { return life{dies: -1} }, []Spec{never, spec("b", "a")},
		func(t *testing.T, p *play) {
			require.NoError(t, p.Start(context.Background()))
			at := time.Now()
			p.cancel()
			synctest.Wait()
			require.Len(t, p.stage.running(), 2)
			p.Kill()
			p.end()
			require.Zero(t, time.Since(at))
		})
}

// R25: back-off up to a crash loop, which is visible with its reason; further starts at the longest
// delay; a stable run begins anew.
func TestR25CrashLoop(t *testing.T) {
	live := func(_ string, run int) life {
		if run == 7 {
			return life{ends: 20 * time.Second, code: 4} // stable
		}
		return life{ends: 50 * time.Millisecond, code: 3}
	}
	perform(t, live, []Spec{spec("a")}, func(t *testing.T, p *play) {
		err := p.Start(context.Background())
		failed := &FailedError{}
		require.ErrorAs(t, err, &failed)
		require.Equal(t, CrashLoop, failed.State)
		require.ErrorContains(t, err, "supervisor: a#0: crash-loop: exit status 3")
		s := p.status("a")
		require.Equal(t, 4, s.Restarts)
		require.Equal(t, 3, s.Exit.Code)
		delay := s.Retry.Sub(s.Since)
		require.True(t, delay > 24*time.Second && delay <= 30*time.Second, "%v", delay)
		for s.Restarts < 8 {
			time.Sleep(time.Second)
			s = p.status("a")
		}
		require.Equal(t, Backoff, p.statusAfter("a", time.Minute/2, Backoff).State)
		require.NoError(t, p.Stop(context.Background()))
		require.Equal(t, Stopped, p.status("a").State)
	})
}

// statusAfter returns the status of name when it comes into a state within d.
func (p *play) statusAfter(name string, d time.Duration, want State) Status {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if s := p.status(name); s.State == want {
			return s
		}
	}
	return p.status(name)
}

func TestR25GiveUpAndModes(t *testing.T) {
	given, well, never := spec("given"), spec("well"), spec("never")
	given.Restart.GiveUp = true
	well.Restart.Mode = RestartOnFailure
	never.Restart.Mode = RestartNever
	live := func(name string, run int) life {
		code := 1
		if name == "well" && run == 2 {
			code = 0
		}
		return life{ends: time.Second, code: code}
	}
	perform(t, live, []Spec{given, well, never}, func(t *testing.T, p *play) {
		err := p.Wait(context.Background())
		require.EqualError(t, err, "supervisor: given#0: failed: exit status 1")
		require.Equal(t, Failed, p.status("given").State)
		require.Equal(t, 4, p.status("given").Restarts)
		require.Equal(t, Exited, p.status("well").State)
		require.Equal(t, 2, p.status("well").Restarts)
		require.Equal(t, Failed, p.status("never").State)
		require.Zero(t, p.status("never").Restarts)
	})
}

// R26: a dependency that fails resolves its dependents, all the way; when it is back they start.
func TestR26FailedDependency(t *testing.T) {
	var mended atomic.Bool
	live := func(name string, _ int) life {
		if name == "db" && !mended.Load() {
			return life{ends: 10 * time.Millisecond, code: 1}
		}
		return life{}
	}
	specs := []Spec{spec("web", "api"), spec("api", "db"), spec("db"), spec("other")}
	perform(t, live, specs, func(t *testing.T, p *play) {
		err := p.Start(context.Background(), "web")
		require.ErrorContains(t, err, "db")
		time.Sleep(time.Second)
		synctest.Wait()
		web := p.status("web")
		require.Equal(t, Failed, web.State)
		require.Equal(t, "api, which it depends on: failed: db, which it depends on: "+
			"crash-loop: exit status 1", web.Reason)
		require.Equal(t, Ready, p.status("other").State)
		mended.Store(true)
		time.Sleep(time.Minute)
		require.Equal(t, Ready, p.status("web").State)
	})
}

// R26: what cannot be started, what is late, and what was stopped fail their dependents, too.
func TestR26WaysToFail(t *testing.T) {
	for name, way := range map[string]struct {
		live   life
		reason string
		ready  Readiness
	}{
		"not there": {live: life{err: os.ErrNotExist}, reason: "file does not exist"},
		"late": {reason: "not ready within 1s", ready: Readiness{
			Window: time.Second,
			Probe:  func(context.Context) error { return os.ErrInvalid },
		}},
	} {
		t.Run(name, func(t *testing.T) {
			db := spec("db")
			db.Ready = way.ready
			live := func(name string, _ int) life {
				if name == "db" {
					return way.live
				}
				return life{}
			}
			perform(t, live, []Spec{db, spec("web", "db")}, func(t *testing.T, p *play) {
				require.ErrorContains(t, p.Start(context.Background(), "web"), way.reason)
				require.Equal(t, Failed, p.statusAfter("web", time.Minute, Failed).State)
				require.Contains(t, p.status("web").Reason, way.reason)
			})
		})
	}
	perform(t, forever, []Spec{spec("db"), spec("web", "db")}, func(t *testing.T, p *play) {
		require.NoError(t, p.Start(context.Background()))
		require.NoError(t, p.Stop(context.Background(), "db"))
		require.Equal(t, Ready, p.status("web").State)
		require.NoError(t, p.Stop(context.Background(), "web"))
		require.NoError(t, p.Start(context.Background(), "web")) // and what it needs
		require.Equal(t, Ready, p.status("db").State)
	})
}

// R26: dependents wait for what they name: ready, started, or done.
func TestR26Conditions(t *testing.T) {
	job := spec("job")
	job.Restart.Mode = RestartOnFailure
	slow := spec("slow")
	slow.Ready.After = 10 * time.Second
	after := spec("after")
	after.DependsOn = []Dependency{{"job", UntilDone}, {"slow", UntilStarted}}
	live := func(name string, _ int) life {
		if name == "job" {
			return life{ends: 3 * time.Second}
		}
		return life{}
	}
	perform(t, live, []Spec{job, slow, after, spec("last", "slow")}, func(t *testing.T, p *play) {
		require.NoError(t, p.Start(context.Background()))
		told := p.told()
		require.Contains(t, told, "3000 after#0 starting")
		require.Contains(t, told, "10000 last#0 starting")
	})
}

// EXTEND_TIMEOUT_USEC gives more time to start.
func TestExtendedWindow(t *testing.T) {
	web := spec("web")
	web.Ready.Notify, web.Ready.Window = true, time.Second
	web.Restart.Mode = RestartNever
	live := func(string, int) life { return life{says: notice{extend: time.Minute}} }
	perform(t, live, []Spec{web}, func(t *testing.T, p *play) {
		require.ErrorContains(t, p.Start(context.Background()), "no READY=1 came")
		require.Equal(t, time.Minute, time.Since(p.start))
	})
}

// Order is a dependency that may fail.
func TestOrder(t *testing.T) {
	first, second := spec("z-first"), spec("a-second")
	first.Order, second.Order = -1, 1
	first.Restart.Mode = RestartNever
	live := func(name string, _ int) life {
		return map[string]life{"z-first": {ends: time.Second, code: 1}}[name]
	}
	first.Ready.After = time.Minute
	perform(t, live, []Spec{second, first}, func(t *testing.T, p *play) {
		require.Error(t, p.Start(context.Background()))
		time.Sleep(time.Second)
		require.Contains(t, p.told(), "1000 a-second#0 starting")
	})
}

// R27: a reload starts a new instance before it stops the old one, one after the other, and never
// has fewer ready than the scale.
func TestR27Reload(t *testing.T) {
	web := spec("web")
	web.Scale = 3
	slow := func(string, int) life { return life{dies: time.Second} }
	perform(t, slow, []Spec{web}, func(t *testing.T, p *play) {
		require.NoError(t, p.Start(context.Background()))
		p.told()
		require.NoError(t, p.Reload(context.Background(), "web"))
		ready, lowest, highest := 3, 3, 3
		for _, told := range p.told() {
			var at, index int
			var state string
			_, err := fmt.Sscanf(told, "%d web#%d %s", &at, &index, &state)
			require.NoError(t, err)
			switch state {
			case "ready":
				ready++
			case "stopping":
				ready--
			}
			lowest, highest = min(lowest, ready), max(highest, ready)
		}
		require.Equal(t, []int{3, 3, 4}, []int{ready, lowest, highest})
		require.Equal(t, map[string]int{"web": 3}, p.stage.running())
		require.Equal(t, 6, p.stage.count["web"])
	})
}

// A reload whose new instance fails keeps the old ones.
func TestR27ReloadFails(t *testing.T) {
	web := spec("web")
	web.Scale = 2
	live := func(_ string, run int) life {
		if run == 3 { // the second one that is new
			return life{ends: time.Millisecond, code: 7}
		}
		return life{}
	}
	perform(t, live, []Spec{web}, func(t *testing.T, p *play) {
		require.NoError(t, p.Start(context.Background()))
		err := p.Reload(context.Background())
		require.EqualError(t, err, "supervisor: web#1: failed: exit status 7")
		require.NoError(t, p.Start(context.Background()))
		require.Equal(t, map[string]int{"web": 2}, p.stage.running())
		require.NoError(t, p.Reload(context.Background()))
		require.NoError(t, p.Stop(context.Background()))
		require.ErrorIs(t, p.Reload(context.Background()), ErrStopped)
	})
}

func TestReloadIsBusyAndStopped(t *testing.T) {
	web := spec("web")
	web.Ready.After = time.Second
	perform(t, forever, []Spec{web}, func(t *testing.T, p *play) {
		require.NoError(t, p.Start(context.Background()))
		ended := make(chan error)
		go func() { ended <- p.Reload(context.Background()) }()
		synctest.Wait()
		require.ErrorIs(t, p.Reload(context.Background()), ErrBusy)
		require.ErrorIs(t, p.Scale(context.Background(), "web", 2), ErrBusy)
		require.NoError(t, p.Stop(context.Background()))
		require.ErrorIs(t, <-ended, ErrStopped)
		require.Empty(t, p.stage.running())
	})
}

func TestScale(t *testing.T) {
	perform(t, forever, []Spec{spec("web")}, func(t *testing.T, p *play) {
		require.NoError(t, p.Start(context.Background()))
		for _, n := range []int{4, 2, 1, 3} {
			require.NoError(t, p.Scale(context.Background(), "web", n))
			require.Equal(t, map[string]int{"web": n}, p.stage.running())
		}
		require.Error(t, p.Scale(context.Background(), "web", 0))
		require.Error(t, p.Scale(context.Background(), "wev", 1))
	})
}

func TestApplyAndRemove(t *testing.T) {
	ctx := context.Background()
	perform(t, forever, []Spec{spec("db")}, func(t *testing.T, p *play) {
		require.Error(t, p.Apply(ctx, spec("web", "dv")))
		require.NoError(t, p.Apply(ctx, spec("web", "db")))
		require.NoError(t, p.Start(ctx, "web"))
		require.EqualError(t, p.Remove(ctx, "db"), `supervisor: process "web" depends on "db"`)
		require.NoError(t, p.Remove(ctx, "web", "db"))
		require.Empty(t, p.stage.running())
		procs, err := p.Snapshot(ctx)
		require.NoError(t, err)
		require.Empty(t, procs)
	})
}

// Whatever is ordered, in any order, while processes end as they like: in the end what is wanted
// runs and nothing else does, and no call waits for ever.
func TestAnyOrders(t *testing.T) {
	seeds := uint64(20)
	if os.Getenv("PITHOS_LONG") != "" {
		seeds = 1000
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			var mu sync.Mutex
			calm := false
			live := func(string, int) life {
				mu.Lock()
				defer mu.Unlock()
				if calm {
					return life{dies: time.Second}
				}
				return life{
					ends: time.Duration(rnd.IntN(3)*rnd.IntN(20_000)) * time.Millisecond,
					code: rnd.IntN(2), dies: time.Duration(rnd.IntN(8)-1) * time.Second,
				}
			}
			specs := []Spec{
				spec("a"), spec("b", "a"), spec("c", "a"), spec("d", "b", "c"), spec("e"),
			}
			perform(t, live, specs, func(t *testing.T, p *play) {
				var calls sync.WaitGroup
				for range 40 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					mu.Lock()
					name := specs[rnd.IntN(len(specs))].Name
					n, kind := 1+rnd.IntN(4), rnd.IntN(6)
					pause := time.Duration(rnd.IntN(5000)) * time.Millisecond
					mu.Unlock()
					calls.Go(func() {
						defer cancel()
						_ = []func() error{
							func() error { return p.Start(ctx, name) },
							func() error { return p.Stop(ctx, name) },
							func() error { return p.Restart(ctx, name) },
							func() error { return p.Reload(ctx, name) },
							func() error { return p.Scale(ctx, name, n) },
							func() error { return p.Stop(ctx) },
						}[kind]()
					})
					time.Sleep(pause)
				}
				calls.Wait()
				mu.Lock()
				calm = true
				mu.Unlock()
				require.NoError(t, p.Restart(context.Background()))
				want := make(map[string]int)
				procs, err := p.Snapshot(context.Background())
				require.NoError(t, err)
				for _, q := range procs {
					want[q.Name] = q.Scale
					require.Len(t, q.Instances, q.Scale)
					require.False(t, slices.ContainsFunc(q.Instances, func(s Status) bool {
						return s.State != Ready
					}))
				}
				require.Equal(t, want, p.stage.running())
			})
		})
	}
}
