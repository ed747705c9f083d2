package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

const (
	mega        = 1e6
	shortWarmUp = 20 * time.Millisecond
	settleTime  = 500 * time.Millisecond // after which an idle connection must be at rest
	stretchTime = 10 * time.Second       // that a window may last for want of calls
)

// measurement is one row in one scenario in one round: a server process of its own, and the
// connections of this one.
type measurement struct {
	row      Row
	scenario Scenario
	setup    Setup
	duration time.Duration
	peers    int    // of hub-scale
	profile  string // a path that a CPU profile's name begins with, or empty

	hub    *process // nil without
	server *process
	crowd  []*process // that call, too
	conns  []Conn
	hist   *hub.Histogram // of the calls of a latency scenario
}

// window is what happened between two moments of a measurement.
type window struct {
	elapsed time.Duration
	calls   uint64
	client  period
	server  period
	hub     period // nothing without one
	crowd   []period
}

// run measures, and leaves nothing behind.
func (m *measurement) run(ctx context.Context) (v values, err error) {
	if err = m.start(ctx); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, closeAll(m.conns), m.stop())
	}()
	if m.conns, err = m.row.Dial(m.setup, m.scenario.conns); err != nil {
		return nil, err
	}
	if err = m.greet(ctx); err != nil {
		return nil, err
	}
	for range m.scenario.crowd {
		p, err := start(ctx, m.job("caller"))
		if err != nil {
			return nil, err
		}
		m.crowd = append(m.crowd, p)
	}
	runtime.GC() // of what the measurement before left
	if m.scenario.collect {
		defer collect()()
	}
	if m.scenario.calls == 0 {
		return m.idle(ctx)
	}
	return m.busy(ctx)
}

// start starts the processes.
func (m *measurement) start(ctx context.Context) (err error) {
	if m.row.Hub != nil {
		if m.hub, err = start(ctx, m.job("hub")); err != nil {
			return err
		}
	}
	if m.server, err = start(ctx, m.job("server")); err != nil {
		return errors.Join(err, m.stop())
	}
	return nil
}

// stop ends them, the callers first and the hub last.
func (m *measurement) stop() (err error) {
	for _, p := range append(m.crowd, m.server, m.hub) {
		if p != nil {
			err = errors.Join(err, p.stop())
		}
	}
	return err
}

// job is what a process of the measurement is for.
func (m *measurement) job(what string) job {
	j := job{
		Row: m.row.Name, Hub: what == "hub", Setup: m.setup, Collect: m.scenario.collect,
	}
	if what == "caller" {
		j.Load = m.scenario.Name
	}
	if m.profile != "" {
		j.Profile = m.profile + "." + what + ".pprof"
	}
	return j
}

// greet makes one call on each connection, so that it is open at both ends.
func (m *measurement) greet(ctx context.Context) error {
	body, buf := make([]byte, m.scenario.body), make([]byte, m.scenario.body)
	for i, conn := range m.conns {
		if err := ctx.Err(); err != nil {
			return err
		}
		fill(body, uint64(i))
		reply, err := conn.Call(body, buf)
		if err == nil {
			err = check(reply, len(body), uint64(i))
		}
		if err != nil {
			return fmt.Errorf("bench: connection %d: %w", i, err)
		}
	}
	return nil
}

// busy measures while calls are under way.
func (m *measurement) busy(ctx context.Context) (values, error) {
	if m.scenario.Modes&Callbacks != 0 {
		for _, c := range m.conns {
			if _, ok := c.(Pipeliner); !ok {
				return nil, fmt.Errorf("bench: row %s: %T is no Pipeliner", m.row.Name, c)
			}
		}
	}
	l := newLoad(m.scenario, m.conns)
	w, err := m.watch(ctx, l)
	if haltErr := l.halt(); haltErr != nil {
		err = errors.Join(haltErr, err)
	}
	if err != nil {
		return nil, err
	}
	v := values{}
	if w.calls == 0 {
		return nil, fmt.Errorf("bench: no call ended in %v", w.elapsed)
	}
	w.rates(v, m.scenario.body)
	if m.scenario.latency {
		m.hist = l.histogram()
		latencies(v, m.hist)
	}
	if m.scenario.collect {
		w.pauses(v)
	}
	return v, nil
}

// watch lets the load warm up, and then takes the window.
func (m *measurement) watch(ctx context.Context, l *load) (window, error) {
	if err := sleep(ctx, max(m.duration/10, shortWarmUp)); err != nil {
		return window{}, err
	}
	w, err := m.window(ctx, m.duration, len(l.workers)+1, func(on bool) uint64 {
		l.record.Store(on)
		return l.calls()
	})
	return w, errors.Join(l.failed(), err)
}

// window measures for a time, or longer until least calls have ended: on a busy machine a short
// window may see none. mark is called at its begin and its end and returns the calls so far.
func (m *measurement) window(
	ctx context.Context, d time.Duration, least int, mark func(on bool) uint64,
) (w window, err error) {
	var profile profiler
	if m.profile != "" {
		profile.path = m.profile + ".client.pprof"
	}
	if err = profile.start(); err != nil {
		return w, err
	}
	timer := time.NewTimer(d) // here, since what is allocated later counts
	defer timer.Stop()
	w.crowd = make([]period, len(m.crowd))
	asked := []*period{&w.hub, &w.server}
	others := []*process{m.hub, m.server}
	for i, p := range m.crowd {
		asked, others = append(asked, &w.crowd[i]), append(others, p)
	}
	for _, p := range others {
		if p == nil {
			continue
		}
		if err = p.ask(askBegin, new(struct{})); err != nil {
			return w, err
		}
	}
	w.client.From = usageBefore()
	begin := time.Now()
	from := mark(true)
	timer.Reset(d)
	err = wait(ctx, timer)
	for err == nil && mark(true)-from < uint64(least) && time.Since(begin) < stretchTime {
		timer.Reset(d)
		err = wait(ctx, timer)
	}
	w.calls = mark(false) - from
	w.elapsed = time.Since(begin)
	w.client.To = usageAfter()
	for i, p := range slices.Backward(others) {
		if err == nil && p != nil {
			err = p.ask(askEnd, asked[i])
		}
	}
	return w, errors.Join(err, profile.stop())
}

// idle measures while nobody calls.
func (m *measurement) idle(ctx context.Context) (values, error) {
	debug.FreeOSMemory()
	if err := m.server.ask(askRest, new(struct{})); err != nil {
		return nil, err
	}
	if err := sleep(ctx, min(settleTime, 5*m.duration)); err != nil {
		return nil, err
	}
	w, err := m.window(ctx, idleFactor*m.duration, 0, func(bool) uint64 { return 0 })
	if err != nil {
		return nil, err
	}
	share := func(p period) float64 {
		return 100 * p.cpu() / w.elapsed.Seconds()
	}
	perConn := func(u usage) float64 {
		return float64(u.Memory) / 1024 / float64(m.scenario.conns)
	}
	return values{
		clientIdle:      share(w.client),
		serverIdle:      share(w.server),
		clientIdleBytes: perConn(w.client.To),
		serverIdleBytes: perConn(w.server.To),
	}, nil
}

// rates adds the figures that every busy scenario has.
func (w window) rates(v values, body int) {
	calls, callers := float64(w.calls), w.client.cpu()
	for _, p := range w.crowd {
		calls += float64(p.Calls)
		callers += p.cpu()
	}
	client := callers / calls * mega
	server := w.server.cpu() / calls * mega
	v[metricRate] = calls / w.elapsed.Seconds()
	v[metricBytes] = v[metricRate] * 2 * float64(body) / mega
	hub := w.hub.cpu() / calls * mega
	v[clientAllocs] = w.client.mallocs() / calls
	v[serverAllocs] = w.server.mallocs() / calls
	v[hubAllocs] = w.hub.mallocs() / calls
	v[clientCPU] = client
	v[serverCPU] = server
	v[hubCPU] = hub
	v[metricCPU] = client + server + hub
}

func latencies(v values, h *hub.Histogram) {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	v[metricP50] = us(h.Quantile(0.50))
	v[metricP99] = us(h.Quantile(0.99))
	v[metricP999] = us(h.Quantile(0.999))
	v[metricMean] = us(h.Mean())
	v[metricMax] = us(h.Max())
}

// pauses adds the pauses of the world of both processes.
func (w window) pauses(v values) {
	limits := pauseLimits()
	for side, p := range map[string]period{clientSide: w.client, serverSide: w.server} {
		stops := pausesOf(p.From.Stops, p.To.Stops)
		v[side+stopCount] = float64(stops.count())
		v[side+stopP50] = stops.quantile(limits, 0.50)
		v[side+stopP99] = stops.quantile(limits, 0.99)
		v[side+stopMax] = stops.quantile(limits, 1)
		collections := pausesOf(p.From.Pauses, p.To.Pauses)
		v[side+pauseCount] = float64(collections.count())
		v[side+pauseP50] = collections.quantile(limits, 0.50)
		v[side+pauseP99] = collections.quantile(limits, 0.99)
	}
}

// sleep waits for d or for the end of ctx, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	return wait(ctx, t)
}

func wait(ctx context.Context, t *time.Timer) error {
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// profileName is the path that the profiles of a measurement begin with, or empty without a folder.
func profileName(folder, scenario, row string, round int) string {
	if folder == "" {
		return ""
	}
	return filepath.Join(folder, fmt.Sprintf("%s.%s.%d", scenario, row, round+1))
}
