package etcd_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/etcd"
	"github.com/pithos-ipc/pithos/registry/etcd/etcdtest"
	"github.com/pithos-ipc/pithos/registry/registrytest"
)

// patience bounds what takes a second or two on an idle machine.
const patience = time.Minute

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// registryAt returns a registry with the shortest lease.
func registryAt(t testing.TB, o etcd.Options) *etcd.Registry {
	t.Helper()
	o.TTL = etcd.MinTTL
	o.Logger = slog.New(slog.DiscardHandler)
	r, err := etcd.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, r.Close(ctx))
	})
	return r
}

func registryOf(t testing.TB, s *etcdtest.Server) *etcd.Registry {
	t.Helper()
	return registryAt(t, etcd.Options{Endpoints: []string{s.Endpoint()}})
}

// operator returns a plain client, for what happens behind a registry's back.
func operator(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func announce(t testing.TB, r *etcd.Registry, instance string) registry.Registration {
	t.Helper()
	g, err := r.Announce(soon(t), entry(instance))
	require.NoError(t, err)
	return g
}

func entry(instance string) registry.Entry {
	return registry.Entry{Service: "cart", Instance: instance, Address: "tcp://" + instance}
}

// key waits until etcd has the key of an instance and ok likes it, and returns it.
func key(t testing.TB, c *clientv3.Client, instance string,
	ok func(lease clientv3.LeaseID) bool) clientv3.LeaseID {
	t.Helper()
	var lease clientv3.LeaseID
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		reply, err := c.Get(ctx, etcd.DefaultPrefix+"/cart/"+instance)
		if err != nil || len(reply.Kvs) == 0 {
			return false
		}
		lease = clientv3.LeaseID(reply.Kvs[0].Lease)
		return ok == nil || ok(lease)
	}, patience, 10*time.Millisecond, "key of %s", instance)
	return lease
}

// await reads a watch until it has these instances and no others.
func await(t testing.TB, seen <-chan []registry.Entry, instances ...string) {
	t.Helper()
	var have []string
	for deadline := time.After(patience); have == nil || !slices.Equal(have, instances); {
		select {
		case entries, open := <-seen:
			require.True(t, open)
			have = []string{}
			for _, e := range entries {
				have = append(have, e.Instance)
			}
		case <-deadline:
			require.Equal(t, instances, have)
		}
	}
}

func watch(t testing.TB, r *etcd.Registry) <-chan []registry.Entry {
	t.Helper()
	seen, err := r.Watch(t.Context(), "cart")
	require.NoError(t, err)
	return seen
}

// TestKeys holds the package comment against what etcd has.
func TestKeys(t *testing.T) {
	s := etcdtest.Start(t)
	r, c := registryOf(t, s), operator(t, s.Endpoint())
	g, err := r.Announce(soon(t), registry.Entry{Service: "cart", Instance: "a",
		Address: "http://10.0.0.7:4001", Metadata: map[string]string{"zone": "b"}})
	require.NoError(t, err)
	reply, err := c.Get(soon(t), "", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, reply.Kvs, 1)
	require.Equal(t, "/pithos/services/cart/a", string(reply.Kvs[0].Key))
	require.Equal(t, `{"address":"http://10.0.0.7:4001","metadata":{"zone":"b"}}`,
		string(reply.Kvs[0].Value))
	lease, err := c.TimeToLive(soon(t), clientv3.LeaseID(reply.Kvs[0].Lease))
	require.NoError(t, err)
	require.EqualValues(t, etcd.MinTTL/time.Second, lease.GrantedTTL)

	for name, value := range map[string]string{
		"/pithos/services/cart/a/b": `{"address":"x"}`, "/pithos/services/cart/c": "text",
		"/pithos/services/cart/d": `{}`, "/pithos/services/cart/": `{"address":"x"}`,
		"/pithos/services/cart2": `{"address":"x"}`, "/pithos/services/cart/e": `{"address":"y"}`,
	} {
		_, err := c.Put(soon(t), name, value)
		require.NoError(t, err)
	}
	entries, err := r.Lookup(soon(t), "cart")
	require.NoError(t, err)
	require.Equal(t, []registry.Entry{g.Entry(),
		{Service: "cart", Instance: "e", Address: "y"}}, entries, "keys of others that fit")

	require.NoError(t, r.Close(soon(t)))
	leases, err := c.Leases(soon(t))
	require.NoError(t, err)
	require.Empty(t, leases.Leases, "Close leaves no lease")
}

func TestR30LostLease(t *testing.T) {
	s := etcdtest.Start(t)
	r, c := registryOf(t, s), operator(t, s.Endpoint())
	seen := watch(t, r)
	a, b := announce(t, r, "a"), announce(t, r, "b")
	for range 3 {
		lost := key(t, c, "a", nil)
		_, err := c.Revoke(soon(t), lost)
		require.NoError(t, err)
		for _, instance := range []string{"a", "b"} {
			key(t, c, instance, func(lease clientv3.LeaseID) bool { return lease != lost })
		}
	}
	await(t, seen, "a", "b")
	// a new entry meets a lease that nobody knows to be lost
	_, err := c.Revoke(soon(t), key(t, c, "a", nil))
	require.NoError(t, err)
	announce(t, r, "c")
	await(t, seen, "a", "b", "c")
	for _, g := range []registry.Registration{a, b} {
		require.NoError(t, g.Withdraw(soon(t)))
	}
	await(t, seen, "c")
}

func TestR30DeletedKey(t *testing.T) {
	s := etcdtest.Start(t)
	r, c := registryOf(t, s), operator(t, s.Endpoint())
	announce(t, r, "a")
	lease := key(t, c, "a", nil)
	_, err := c.Delete(soon(t), etcd.DefaultPrefix, clientv3.WithPrefix())
	require.NoError(t, err)
	key(t, c, "a", func(now clientv3.LeaseID) bool { return now == lease })
}

// TestInstanceTakenMeanwhile has another take the instance while the lease is lost.
func TestInstanceTakenMeanwhile(t *testing.T) {
	s := etcdtest.Start(t)
	r, c := registryOf(t, s), operator(t, s.Endpoint())
	g := announce(t, r, "a")
	ours := key(t, c, "a", nil)
	name := etcd.DefaultPrefix + "/cart/a"
	_, err := c.Put(soon(t), name, `{"address":"theirs"}`) // the key leaves the lease
	require.NoError(t, err)
	_, err = c.Revoke(soon(t), ours)
	require.NoError(t, err)
	require.ErrorIs(t, g.Update(soon(t), entry("moved")), registry.ErrTaken)
	key(t, c, "a", func(lease clientv3.LeaseID) bool { return lease == clientv3.NoLease })
	_, err = c.Delete(soon(t), name)
	require.NoError(t, err)
	key(t, c, "a", nil)
	require.Eventually(t, func() bool {
		entries, err := r.Lookup(soon(t), "cart")
		return err == nil && len(entries) == 1 && entries[0].Equal(g.Entry())
	}, patience, 10*time.Millisecond)
	require.Equal(t, "tcp://moved", g.Entry().Address, "what the failed update said")
}

func TestR30LeaderKilled(t *testing.T) {
	servers := etcdtest.Cluster(t, 3)
	var endpoints []string
	for _, s := range servers {
		endpoints = append(endpoints, s.Endpoint())
	}
	r, c := registryAt(t, etcd.Options{Endpoints: endpoints}), operator(t, endpoints...)
	seen := watch(t, r)
	announce(t, r, "a")
	instances := []string{"a"}
	await(t, seen, instances...)
	for i := range 3 {
		leader := leaderOf(t, c, servers)
		leader.Kill()
		instances = append(instances, fmt.Sprintf("b%d", i))
		announce(t, r, instances[len(instances)-1])
		await(t, seen, instances...)
		leader.Restart()
	}
	time.Sleep(2 * etcd.MinTTL) // a lease that is not kept would be over
	for _, instance := range instances {
		key(t, c, instance, nil)
	}
}

func leaderOf(t testing.TB, c *clientv3.Client, servers []*etcdtest.Server) *etcdtest.Server {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for _, s := range servers {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			status, err := c.Status(ctx, s.Endpoint())
			cancel()
			if err == nil && status.Leader == status.Header.MemberId {
				return s
			}
		}
	}
	require.Fail(t, "no leader")
	return nil
}

// TestR30OutageAndCompaction cuts a registry off from a cluster that goes on: the lease ends, the
// revision of the watch is compacted. The outage takes 60 s with PITHOS_LONG=1.
func TestR30OutageAndCompaction(t *testing.T) {
	outage := 3 * etcd.MinTTL
	if os.Getenv("PITHOS_LONG") != "" {
		outage = time.Minute
	}
	servers := etcdtest.Cluster(t, 3)
	cutOff := servers[0]
	r := registryAt(t, etcd.Options{Endpoints: []string{cutOff.Endpoint()}})
	c := operator(t, servers[1].Endpoint(), servers[2].Endpoint())
	others := registryAt(t, etcd.Options{
		Endpoints: []string{servers[1].Endpoint(), servers[2].Endpoint()}})
	seen, theirs := watch(t, r), watch(t, others)
	g := announce(t, r, "a")
	announce(t, others, "b")
	await(t, seen, "a", "b")
	lost := key(t, c, "a", nil)

	cutOff.Kill()
	begin := time.Now()
	await(t, theirs, "b")
	gone := announce(t, others, "c")
	announce(t, others, "d")
	require.NoError(t, gone.Withdraw(soon(t)))
	reply, err := c.Put(soon(t), "/elsewhere", "x")
	require.NoError(t, err)
	_, err = c.Compact(soon(t), reply.Header.Revision)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = g.Update(ctx, entry("moved"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	time.Sleep(outage - time.Since(begin))
	cutOff.Restart()

	key(t, c, "a", func(lease clientv3.LeaseID) bool { return lease != lost })
	await(t, seen, "a", "b", "d")
	await(t, theirs, "a", "b", "d")
	entries, err := others.Lookup(soon(t), "cart")
	require.NoError(t, err)
	require.Equal(t, "tcp://moved", entries[0].Address, "what the failed update said")
}

// TestR30NewCluster has all data lost, and the revisions begin again.
func TestR30NewCluster(t *testing.T) {
	s := etcdtest.Start(t)
	r := registryOf(t, s)
	c := operator(t, s.Endpoint())
	for range 20 {
		_, err := c.Put(soon(t), "/elsewhere", "x")
		require.NoError(t, err)
	}
	seen := watch(t, r)
	announce(t, r, "a")
	await(t, seen, "a")
	s.Kill()
	s.Forget()
	s.Restart()
	key(t, c, "a", nil)
	announce(t, r, "b")
	await(t, seen, "a", "b")
}

// TestStoppedServer stops etcd by SIGSTOP: calls return in time, and what they gave up is undone.
func TestStoppedServer(t *testing.T) {
	s := etcdtest.Start(t)
	r, c := registryOf(t, s), operator(t, s.Endpoint())
	announce(t, r, "a")
	require.NoError(t, s.Process().Signal(syscall.SIGSTOP))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := r.Announce(ctx, entry("b"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = r.Lookup(ctx, "cart")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, s.Process().Signal(syscall.SIGCONT))
	key(t, c, "a", nil)
	seen := watch(t, r)
	await(t, seen, "a")
	time.Sleep(etcd.MinTTL) // should b come late after all, it is deleted
	require.Eventually(t, func() bool {
		entries, err := r.Lookup(soon(t), "cart")
		return err == nil && slices.EqualFunc(entries, []registry.Entry{entry("a")},
			registry.Entry.Equal)
	}, patience, 10*time.Millisecond)
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	address := l.Addr().String()
	r := registryAt(t, etcd.Options{Endpoints: []string{address}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = r.Announce(ctx, entry("a"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, address)
	require.ErrorContains(t, err, "connection refused")
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = r.Lookup(ctx, "cart")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "connection refused")
}

// TestPatient announces before etcd is there.
func TestPatient(t *testing.T) {
	s := etcdtest.Start(t)
	s.Kill()
	r := registryAt(t, etcd.Options{Endpoints: []string{s.Endpoint()}, Patient: true})
	seen := watch(t, r)
	g := announce(t, r, "a")
	stays := announce(t, r, "b")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, g.Withdraw(ctx), context.DeadlineExceeded, "nobody can tell")
	s.Restart()
	await(t, seen, "b")
	require.NoError(t, stays.Withdraw(soon(t)))
	await(t, seen)
}

// TestR30KilledLater kills a process that has had its lease renewed for a while.
func TestR30KilledLater(t *testing.T) {
	s := etcdtest.Start(t)
	r := registryOf(t, s)
	seen := watch(t, r)
	p := registrytest.Spawn(t, "etcd://"+s.Endpoint()+"?ttl=2s", entry("a"))
	await(t, seen, "a")
	time.Sleep(2 * etcd.MinTTL)
	entries, err := r.Lookup(soon(t), "cart")
	require.NoError(t, err)
	require.Len(t, entries, 1, "kept alive")
	p.Kill()
	await(t, seen)
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o   etcd.Options
		err string
	}{
		{etcd.Options{}, "no endpoints"},
		{etcd.Options{Prefix: "x"}, `prefix "x", want one like "/pithos/services"`},
		{etcd.Options{Prefix: "/x/"}, `prefix "/x/"`},
		{etcd.Options{TTL: time.Second}, "TTL 1s, want whole seconds from 2s to 24h0m0s"},
		{etcd.Options{TTL: 2500 * time.Millisecond}, "TTL 2.5s"},
		{etcd.Options{Username: "x"}, "go together"},
	} {
		if !strings.Contains(c.err, "endpoints") {
			c.o.Endpoints = []string{"127.0.0.1:2379"}
		}
		_, err := etcd.Open(c.o)
		require.ErrorContains(t, err, c.err)
	}
}

// TestRefusedKey has etcd refuse one entry, which is too large for it: those that are sorted behind
// it are announced and withdrawn all the same, and the log names the key.
func TestRefusedKey(t *testing.T) {
	s := etcdtest.Start(t, "--max-request-bytes", "1024")
	var log lockedBuffer
	r, err := etcd.Open(etcd.Options{Endpoints: []string{s.Endpoint()}, TTL: etcd.MinTTL,
		Patient: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close(soon(t))) }()
	seen := watch(t, r)
	large := entry("a")
	large.Metadata = map[string]string{"x": strings.Repeat("x", 2000)}
	_, err = r.Announce(soon(t), large)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "cart/a") }, patience,
		10*time.Millisecond)
	b := announce(t, r, "b")
	announce(t, r, "c")
	await(t, seen, "b", "c")
	require.NoError(t, b.Withdraw(soon(t)))
	await(t, seen, "c")
	lease := key(t, operator(t, s.Endpoint()), "c", nil)
	time.Sleep(2 * etcd.MinTTL) // a lease that is not kept would be over
	key(t, operator(t, s.Endpoint()), "c", func(l clientv3.LeaseID) bool { return l == lease })
	require.Contains(t, log.String(), "request is too large")
	require.Equal(t, 1, strings.Count(log.String(), "key=/pithos/services/cart/a"), log.String())
	require.NotContains(t, log.String(), "out of reach")
}

// TestRefusedAtOnce has etcd refuse an entry for good: Announce says so, and leaves nothing, so
// that one that fits may follow. An Update says so, too, and the entry stays what it was.
func TestRefusedAtOnce(t *testing.T) {
	s := etcdtest.Start(t, "--max-request-bytes", "1024")
	r, err := etcd.Open(etcd.Options{Endpoints: []string{s.Endpoint()}})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close(soon(t))) }()
	seen := watch(t, r)
	large := entry("a")
	large.Metadata = map[string]string{"x": strings.Repeat("x", 2000)}
	for range 2 {
		_, err = r.Announce(soon(t), large)
		require.ErrorContains(t, err, "request is too large")
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	}
	a, err := r.Announce(soon(t), entry("a"))
	require.NoError(t, err)
	await(t, seen, "a")
	err = a.Update(soon(t), large)
	require.ErrorContains(t, err, "request is too large")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	there, err := r.Lookup(soon(t), "cart")
	require.NoError(t, err)
	require.Equal(t, []registry.Entry{entry("a")}, there)
	require.NoError(t, a.Withdraw(soon(t)))
	await(t, seen)
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}
