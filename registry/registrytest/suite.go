package registrytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/registry"
)

// patience bounds what should take no time, on a machine that does much else.
const patience = time.Minute

// suite is one test of the suite in its world.
type suite struct {
	*testing.T
	World
}

// Run plays the suite; world makes a fresh world for each of its tests.
func Run(t *testing.T, world func(t *testing.T) World) {
	for _, c := range []struct {
		name string
		run  func(suite)
	}{
		{"NobodyThere", nobodyThere},
		{"AnnouncedIsFound", announcedIsFound},
		{"LargestEntry", largestEntry},
		{"InstancesAreChosen", instancesAreChosen},
		{"Update", update},
		{"Withdraw", withdraw},
		{"Taken", taken},
		{"WatchFollows", watchFollows},
		{"WatchKeepsNamesApart", watchKeepsNamesApart},
		{"SlowWatchSeesTheLast", slowWatchSeesTheLast},
		{"WatchEnds", watchEnds},
		{"CloseWithdraws", closeWithdraws},
		{"BadInput", badInput},
		{"ContextOver", contextOver},
		{"ManyAtOnce", manyAtOnce},
		{"R30Terminated", terminated},
		{"Killed", killed},
		{"R30Restart", restart},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(suite{t, world(t)}) })
	}
}

// open returns one more registry, which is closed at the end of the test.
func (s suite) open() Closer {
	s.Helper()
	r, err := s.Open(s.Address)
	require.NoError(s, err)
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(s, r.Close(ctx))
	})
	return r
}

// soon is a context for what should be done in no time.
func (s suite) soon() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

func (s suite) announce(r Closer, e registry.Entry) registry.Registration {
	s.Helper()
	g, err := r.Announce(s.soon(), e)
	require.NoError(s, err)
	return g
}

func (s suite) lookup(r Closer, service string) []registry.Entry {
	s.Helper()
	entries, err := r.Lookup(s.soon(), service)
	require.NoError(s, err)
	return entries
}

func (s suite) watch(r Closer, service string) <-chan []registry.Entry {
	s.Helper()
	c, err := r.Watch(s.Context(), service)
	require.NoError(s, err)
	return c
}

// until reads states until one is as wanted.
func (s suite) until(c <-chan []registry.Entry, what string, ok func([]registry.Entry) bool) {
	s.Helper()
	var last []registry.Entry
	for deadline := time.After(patience + 20*s.Lease); ; {
		select {
		case entries, open := <-c:
			require.True(s, open, "%s: the watch ended at %v", what, last)
			require.True(s, slices.IsSortedFunc(entries, func(a, b registry.Entry) int {
				return strings.Compare(a.Instance, b.Instance)
			}), "order of %v", entries)
			if last = entries; ok(entries) {
				return
			}
		case <-deadline:
			require.Fail(s, "not in time", "%s: still %v", what, last)
		}
	}
}

// are is a condition for until: these instances and no others.
func are(instances ...string) func([]registry.Entry) bool {
	return func(entries []registry.Entry) bool {
		return slices.EqualFunc(entries, instances,
			func(e registry.Entry, instance string) bool { return e.Instance == instance })
	}
}

func cart(instance string) registry.Entry {
	return registry.Entry{Service: "cart", Instance: instance, Address: "tcp://" + instance}
}

func nobodyThere(s suite) {
	r := s.open()
	require.Empty(s, s.lookup(r, "cart"))
	s.until(s.watch(r, "cart"), "a watch of nobody", are())
}

func announcedIsFound(s suite) {
	want := registry.Entry{
		Service: "com.example.cart:1.0@blue", Instance: "a-7", Address: "http://127.0.0.1:4001/",
		Metadata: map[string]string{"zone": "b", "": "empty key", "ünï": "\"\\\n\x00\u2028"},
	}
	g := s.announce(s.open(), want)
	require.Equal(s, want, g.Entry())
	require.Equal(s, []registry.Entry{want}, s.lookup(s.open(), want.Service))
}

func largestEntry(s suite) {
	want := registry.Entry{
		Service:  strings.Repeat("s", registry.MaxName),
		Instance: strings.Repeat("i", registry.MaxName),
		Address:  strings.Repeat("a", registry.MaxAddress),
		Metadata: map[string]string{"k": strings.Repeat("m", registry.MaxMetadata-1)},
	}
	s.announce(s.open(), want)
	require.Equal(s, []registry.Entry{want}, s.lookup(s.open(), want.Service))
}

func instancesAreChosen(s suite) {
	a, b := s.open(), s.open()
	var chosen []string
	for _, r := range []Closer{a, a, b} {
		g := s.announce(r, registry.Entry{Service: "cart", Address: "x"})
		require.NotEmpty(s, g.Entry().Instance)
		chosen = append(chosen, g.Entry().Instance)
	}
	slices.Sort(chosen)
	require.Len(s, slices.Compact(chosen), 3)
	require.True(s, are(chosen...)(s.lookup(b, "cart")))
}

func update(s suite) {
	a, b := s.open(), s.open()
	seen := s.watch(b, "cart")
	g := s.announce(a, cart("a"))
	s.until(seen, "announced", are("a"))
	e := registry.Entry{Service: "ignored", Instance: "ignored", Address: "tcp://elsewhere",
		Metadata: map[string]string{"weight": "2"}}
	require.NoError(s, g.Update(s.soon(), e))
	e.Service, e.Instance = "cart", "a"
	require.Equal(s, e, g.Entry())
	require.Equal(s, []registry.Entry{e}, s.lookup(b, "cart"))
	s.until(seen, "updated", func(entries []registry.Entry) bool {
		return len(entries) == 1 && entries[0].Equal(e)
	})
	require.ErrorContains(s, g.Update(s.soon(), registry.Entry{}), "address is empty")
	require.Equal(s, e, g.Entry())
}

func withdraw(s suite) {
	a, b := s.open(), s.open()
	g, stays := s.announce(a, cart("a")), s.announce(a, cart("b"))
	require.NoError(s, g.Withdraw(s.soon()))
	require.Equal(s, []registry.Entry{stays.Entry()}, s.lookup(b, "cart"))
	require.NoError(s, g.Withdraw(s.soon()), "a second time")
	require.ErrorIs(s, g.Update(s.soon(), cart("a")), registry.ErrWithdrawn)
	s.announce(b, cart("a"))
	require.NoError(s, g.Withdraw(s.soon()), "when it is another's")
	require.True(s, are("a", "b")(s.lookup(b, "cart")))
}

func taken(s suite) {
	a, b := s.open(), s.open()
	g := s.announce(a, cart("a"))
	for _, r := range []Closer{a, b} {
		_, err := r.Announce(s.soon(), cart("a"))
		require.ErrorIs(s, err, registry.ErrTaken)
	}
	other := cart("a")
	other.Service = "stock" // has instances of its own
	s.announce(b, other)
	require.Equal(s, []registry.Entry{g.Entry()}, s.lookup(b, "cart"))
	require.NoError(s, g.Withdraw(s.soon()))
	s.announce(b, cart("a"))
}

func watchFollows(s suite) {
	a, b := s.open(), s.open()
	seen := s.watch(b, "cart")
	s.until(seen, "at first", are())
	x := s.announce(a, cart("x"))
	s.until(seen, "one", are("x"))
	s.announce(b, cart("w"))
	s.until(seen, "two", are("w", "x"))
	require.NoError(s, x.Withdraw(s.soon()))
	s.until(seen, "one again", are("w"))
	s.until(s.watch(a, "cart"), "a later watch", are("w"))
}

func watchKeepsNamesApart(s suite) {
	r := s.open()
	seen := s.watch(r, "cart")
	for _, service := range []string{"car", "cart2", "carts", "CART", "cart.x", "%63art"} {
		s.announce(r, registry.Entry{Service: service, Instance: "a", Address: "x"})
	}
	s.announce(r, cart("a"))
	s.until(seen, "only this service", func(entries []registry.Entry) bool {
		for _, e := range entries {
			require.Equal(s, "cart", e.Service)
		}
		return len(entries) == 1
	})
	require.Len(s, s.lookup(r, "cart"), 1)
}

func slowWatchSeesTheLast(s suite) {
	a, b := s.open(), s.open()
	slow, quick := s.watch(b, "cart"), s.watch(b, "cart")
	g := s.announce(a, cart("a"))
	last := g.Entry()
	for i := range 20 {
		last.Address = fmt.Sprint("tcp://", i)
		require.NoError(s, g.Update(s.soon(), last))
	}
	isLast := func(entries []registry.Entry) bool {
		return len(entries) == 1 && entries[0].Equal(last)
	}
	s.until(quick, "who reads at once", isLast)
	s.until(slow, "who reads late", isLast)
}

func watchEnds(s suite) {
	r := s.open()
	ctx, cancel := context.WithCancel(s.Context())
	ended, err := r.Watch(ctx, "cart")
	require.NoError(s, err)
	goesOn := s.watch(r, "cart")
	cancel()
	ends(s, ended)
	s.announce(r, cart("a"))
	s.until(goesOn, "another watch", are("a"))
	ctx, cancel = context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(s, r.Close(ctx))
	ends(s, goesOn)
}

// ends wants a watch to end.
func ends(s suite, c <-chan []registry.Entry) {
	s.Helper()
	for deadline := time.After(patience); ; {
		select {
		case _, open := <-c:
			if !open {
				return
			}
		case <-deadline:
			require.Fail(s, "the watch does not end")
		}
	}
}

func closeWithdraws(s suite) {
	a, b := s.open(), s.open()
	g := s.announce(a, cart("a"))
	s.announce(a, cart("b"))
	s.announce(b, cart("c"))
	require.NoError(s, a.Close(s.soon()))
	require.True(s, are("c")(s.lookup(b, "cart")), "right after Close")
	require.NoError(s, a.Close(s.soon()), "a second time")
	_, err := a.Announce(s.soon(), cart("d"))
	require.ErrorIs(s, err, registry.ErrClosed)
	_, err = a.Lookup(s.soon(), "cart")
	require.ErrorIs(s, err, registry.ErrClosed)
	_, err = a.Watch(s.soon(), "cart")
	require.ErrorIs(s, err, registry.ErrClosed)
	require.ErrorIs(s, g.Update(s.soon(), cart("a")), registry.ErrClosed)
	require.NoError(s, g.Withdraw(s.soon()))
}

func badInput(s suite) {
	r := s.open()
	for _, e := range []registry.Entry{
		{Service: "", Address: "x"},
		{Service: "a/b", Address: "x"},
		{Service: "cart", Instance: "a b", Address: "x"},
		{Service: "cart", Address: ""},
		{Service: strings.Repeat("x", registry.MaxName+1), Address: "x"},
	} {
		g, err := r.Announce(s.soon(), e)
		require.Equal(s, e.Check(), err)
		require.Nil(s, g)
	}
	_, err := r.Lookup(s.soon(), "")
	require.ErrorContains(s, err, "service is empty")
	_, err = r.Watch(s.soon(), "a/b")
	require.ErrorContains(s, err, "slash")
	require.Empty(s, s.lookup(r, "cart"))
}

func contextOver(s suite) {
	a, b := s.open(), s.open()
	over, cancel := context.WithCancel(s.Context())
	cancel()
	_, err := a.Announce(over, cart("a"))
	require.ErrorIs(s, err, context.Canceled)
	_, err = a.Lookup(over, "cart")
	require.ErrorIs(s, err, context.Canceled)
	s.until(s.watch(b, "cart"), "nothing is left", are())
	s.announce(a, cart("b"))
	require.True(s, are("b")(s.lookup(b, "cart")))
}

func manyAtOnce(s suite) {
	const registries, each = 4, 40
	seen := s.watch(s.open(), "cart")
	var all sync.WaitGroup
	failed := make(chan error, registries*each)
	var gone []registry.Registration
	var mu sync.Mutex
	ctx := s.soon()
	for range registries {
		r := s.open()
		for i := range each {
			all.Go(func() {
				g, err := r.Announce(ctx, registry.Entry{Service: "cart", Address: "x"})
				if err != nil {
					failed <- err
				} else if i%2 == 0 {
					mu.Lock()
					defer mu.Unlock()
					gone = append(gone, g)
				}
			})
		}
	}
	all.Wait()
	close(failed)
	require.NoError(s, <-failed)
	some := func(n int) func([]registry.Entry) bool {
		return func(entries []registry.Entry) bool { return len(entries) == n }
	}
	s.until(seen, "all", some(registries*each))
	for _, g := range gone {
		all.Go(func() { _ = g.Withdraw(ctx) }) // the watch tells
	}
	all.Wait()
	s.until(seen, "half of them", some(registries*each/2))
}

func terminated(s suite) {
	r := s.open()
	p := Spawn(s, s.Address, cart("child"))
	require.True(s, are("child")(s.lookup(r, "cart")))
	p.Terminate()
	require.Empty(s, s.lookup(r, "cart"), "when the process has ended")
}

func killed(s suite) {
	r := s.open()
	p := Spawn(s, s.Address, cart("child"))
	s.announce(r, cart("stays"))
	seen := s.watch(r, "cart")
	s.until(seen, "both", are("child", "stays"))
	begin := time.Now()
	p.Kill()
	s.until(seen, "without the one that was killed", are("stays"))
	s.Logf("gone after %v, lease %v", time.Since(begin).Round(time.Millisecond), s.Lease)
	require.Less(s, time.Since(begin), 20*s.Lease)
	s.announce(r, cart("child"))
}

func restart(s suite) {
	if s.Restart == nil {
		s.Skip("this registry has no server")
	}
	a, b := s.open(), s.open()
	g := s.announce(a, cart("a"))
	seen := s.watch(b, "cart")
	s.until(seen, "before", are("a"))
	s.Restart()
	s.announce(a, cart("b"))
	s.until(seen, "announced again, and a new one", are("a", "b"))
	e := g.Entry()
	e.Address = "tcp://moved"
	require.NoError(s, g.Update(s.soon(), e))
	require.NoError(s, g.Withdraw(s.soon()))
	s.until(seen, "withdrawn", are("b"))
}
