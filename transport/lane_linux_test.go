//go:build linux && !portable

package transport_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/transport/transporttest"
	"github.com/pithos-ipc/pithos/wire"
)

// withLane returns o with a mode.
func withLane(o transport.Options, m transport.LaneMode) transport.Options {
	o.Socket.Lane = m
	return o
}

// TestLaneNegotiation has every pair of modes, and says in Stats what came of it.
func TestLaneNegotiation(t *testing.T) {
	const auto, off, required = transport.LaneAuto, transport.LaneOff, transport.LaneRequired
	for _, c := range []struct {
		name           string
		server, client transport.LaneMode
		srv, cli       string // why not; "": there is a lane
		refused        bool
	}{
		{"both", auto, auto, "", "", false},
		{"both require it", required, required, "", "", false},
		{"server requires it", required, auto, "", "", false},
		{"server is off", off, auto, "switched off by this side", "the peer offers none", false},
		{"client is off", auto, off, "the peer takes part in none", "switched off by this side",
			false},
		{"client requires what there is not", off, required, "", "", true},
		{"server requires what there is not", required, off, "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			transporttest.CheckLeaks(t)
			o, ended := closed(withLane(handler(echo), c.server))
			l := listen(t, o)
			cli, err := transport.Dial(patient(t), l.Address(),
				withLane(transport.Options{}, c.client))
			if c.refused {
				require.Error(t, err)
				if c.server == required {
					require.ErrorIs(t, err, transport.ErrDenied)
					err = receive(t, ended, "the end")
				}
				require.ErrorIs(t, err, transport.ErrNoLane)
				return
			}
			require.NoError(t, err)
			defer cli.Close(patient(t))
			srv := l.Conns()[0]
			for _, conn := range []*transport.Conn{cli, srv} {
				got, err := conn.Call(patient(t), []byte("hi"), nil)
				if conn == cli {
					require.NoError(t, err)
					require.Equal(t, "hi", string(got))
				} else {
					requireCode(t, wire.CodeNoMethod, err)
				}
			}
			require.Equal(t, c.cli, cli.Stats().Lane.Why)
			require.Equal(t, c.srv, srv.Stats().Lane.Why)
			want := 0
			if c.cli == "" {
				want = transport.DefaultRing
			}
			require.Equal(t, want, cli.Stats().Lane.Ring)
			require.Equal(t, want, srv.Stats().Lane.Ring)
			require.Equal(t, want > 0, l.Stats().Lanes == 1)
		})
	}
}

// TestLaneRingSize has the accepting side choose.
func TestLaneRingSize(t *testing.T) {
	for asked, want := range map[int]int{0: transport.DefaultRing, 1: transport.MinRing,
		100 << 10: 128 << 10, 1 << 20: 1 << 20} {
		o := handler(echo)
		o.Socket.Ring = asked
		_, cli := transporttest.Pair(t, o, transport.Options{})
		got, err := cli.Call(patient(t), body(1, 3<<20), nil)
		require.NoError(t, err)
		require.True(t, intact(got))
		require.Equal(t, want, cli.Stats().Lane.Ring)
	}
}

// Without shared memory in the build, or the engine, it cannot be required.
func TestLaneRequiredOfPortable(t *testing.T) {
	o := withLane(transport.Options{}, transport.LaneRequired).Portable()
	_, err := transport.Listen(filepath.Join(t.TempDir(), "s"), o)
	require.ErrorIs(t, err, transport.ErrNoLane)
	_, err = transport.Dial(patient(t), listen(t, handler(echo)).Address(), o)
	require.ErrorIs(t, err, transport.ErrNoLane)
	_, cli := transporttest.Pair(t, handler(echo), transport.Options{}.Portable())
	require.Equal(t, "the portable engine uses none", cli.Stats().Lane.Why)
}

// offerer is a server that says hello with the capability, sends an offer with a file, and answers
// the first frame behind the accept, which it returns.
func offerer(t *testing.T, l wire.Lane, files ...int) (*transport.Conn, *raw, wire.Lane) {
	t.Helper()
	address, accepted := rawServer(t)
	var r *raw
	var wg sync.WaitGroup
	wg.Go(func() {
		r = accepted()
		h := anyHello()
		h.Capabilities = wire.CapLane
		got := r.greet(h)
		if got.Capabilities&wire.CapLane == 0 {
			t.Error("the client takes part in no lane")
		}
		var rights []byte
		if len(files) > 0 {
			rights = unix.UnixRights(files...)
		}
		_, _, err := r.conn.WriteMsgUnix(l.AppendTo(nil, wire.KindLaneOffer), rights, nil)
		if err != nil {
			t.Error(err)
		}
	})
	cli := dial(t, address, transport.Options{})
	wg.Wait()
	f := r.receive()
	require.True(t, control(f, wire.KindLaneAccept))
	answer, err := wire.ParseLane(f.Body[1:])
	require.NoError(t, err)
	return cli, r, answer
}

// memory makes a memfd of n bytes with seals.
func memory(t *testing.T, n int64, seals int) int {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Ftruncate(fd, n))
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	require.NoError(t, err)
	return fd
}

const (
	allSeals   = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	laneLength = 64<<10 + 2*transport.MinRing
)

// R18: memory that is not sealed, of another size, or no memory at all is not mapped: the
// connection keeps to its socket and says why.
func TestR18OffersRefused(t *testing.T) {
	plain, err := os.CreateTemp(t.TempDir(), "plain")
	require.NoError(t, err)
	defer plain.Close()
	require.NoError(t, plain.Truncate(laneLength))
	good := wire.Lane{Version: 1, RingSize: transport.MinRing}
	for name, c := range map[string]struct {
		offer wire.Lane
		files []int
		why   string
	}{
		"no descriptor":   {good, nil, "0 descriptors"},
		"two descriptors": {good, []int{0, 0}, "2 descriptors"},
		"not sealed":      {good, []int{memory(t, laneLength, 0)}, "seals 0x"},
		"may shrink": {good, []int{memory(t, laneLength, allSeals&^unix.F_SEAL_SHRINK)},
			"seals 0x"},
		"may get other seals": {good, []int{memory(t, laneLength, allSeals&^unix.F_SEAL_SEAL)},
			"seals 0x"},
		"not for writing": {good, []int{memory(t, laneLength, allSeals|unix.F_SEAL_WRITE)},
			"mmap"},
		"too short": {good, []int{memory(t, laneLength-1, allSeals)}, "bytes, want"},
		"too long":  {good, []int{memory(t, laneLength+1, allSeals)}, "bytes, want"},
		"a file":    {good, []int{int(plain.Fd())}, "not a memfd"},
		"a pipe":    {good, []int{pipe(t)}, "not a memfd"},
		"other version": {wire.Lane{Version: 2, RingSize: transport.MinRing},
			[]int{memory(t, laneLength, allSeals)}, "version 2"},
		"small ring": {wire.Lane{Version: 1, RingSize: 4096},
			[]int{memory(t, 64<<10+2*4096, allSeals)}, "a ring of 4096"},
		"odd ring": {wire.Lane{Version: 1, RingSize: transport.MinRing + 4096},
			[]int{memory(t, laneLength+2*4096, allSeals)}, "a ring of 69632"},
		"vast ring": {wire.Lane{Version: 1, RingSize: 1 << 40},
			[]int{memory(t, laneLength, allSeals)}, "a ring of 1099511627776"},
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.CheckLeaks(t)
			cli, r, answer := offerer(t, c.offer, c.files...)
			require.Zero(t, answer.RingSize, "refused")
			require.Contains(t, cli.Stats().Lane.Why, c.why)
			results := make(chan error, 1)
			require.NoError(t, cli.Go(transport.Message{Body: []byte("hi")}, nil,
				func(_ []byte, err error) { results <- err }))
			r.send(native(wire.FlagsReply, r.receive().ID, wire.Meta{}, ""))
			require.NoError(t, receive(t, results, "the reply, by the socket"))
			require.NoError(t, cli.Close(patient(t)))
		})
	}
}

// pipe is one end of a pipe.
func pipe(t *testing.T) int {
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	t.Cleanup(func() {
		unix.Close(p[0])
		unix.Close(p[1])
	})
	return p[0]
}

// Accepts that fit no offer end the connection.
func TestLaneAcceptsRefused(t *testing.T) {
	for name, sent := range map[string][]wire.Lane{
		"another size":    {{Version: 1, RingSize: 2 * transport.DefaultRing}},
		"another version": {{Version: 2, RingSize: transport.DefaultRing}},
	} {
		t.Run(name, func(t *testing.T) {
			o, ended := closed(handler(echo))
			h := anyHello()
			h.Capabilities = wire.CapLane
			r, answer := rawClient(t, listen(t, o).Address(), h)
			require.NotZero(t, answer.Capabilities&wire.CapLane)
			require.True(t, control(r.receive(), wire.KindLaneOffer))
			for _, l := range sent {
				r.send(l.AppendTo(nil, wire.KindLaneAccept))
			}
			r.end()
			requireViolation(t, receive(t, ended, "the end"))
		})
	}
}

// A refusal leaves everything to the socket; a second one is of no lane that anybody speaks of.
func TestLaneRefused(t *testing.T) {
	l := listen(t, handler(echo))
	h := anyHello()
	h.Capabilities = wire.CapLane
	r, _ := rawClient(t, l.Address(), h)
	require.True(t, control(r.receive(), wire.KindLaneOffer))
	no := wire.Lane{Version: 1}
	r.send(no.AppendTo(nil, wire.KindLaneAccept), no.AppendTo(nil, wire.KindLaneAccept))
	r.send(native(wire.FlagsCall, 5, wire.Meta{}, "hi"))
	require.Equal(t, "\x00hi", string(r.reply(5).Body))
	require.Equal(t, "the peer has refused it", l.Conns()[0].Stats().Lane.Why)
}

// What only passes bytes on loses the descriptor: the socket does.
func TestLaneThroughProxy(t *testing.T) {
	l := listen(t, handler(echo))
	cli := dial(t, proxy(t, l.Address(), transporttest.Faults{Split: 7}).Address(),
		transport.Options{})
	got, err := cli.Call(patient(t), body(1, 5000), nil)
	require.NoError(t, err)
	require.True(t, intact(got))
	require.Contains(t, cli.Stats().Lane.Why, "0 descriptors")
}

// Files, in both directions and with frames around them, come with the frames that they belong to.
func TestLaneFilesKeepTheirOrder(t *testing.T) {
	const n = 100
	var got []string
	done := make(chan struct{})
	o := withFiles(handler(func(r *transport.Request) {
		text := string(r.Body())
		for _, f := range r.Files() {
			var b [16]byte
			k, _ := f.ReadAt(b[:], 0)
			text += "+" + string(b[:k])
		}
		if got = append(got, text); len(got) == n {
			close(done)
		}
	}))
	_, cli := transporttest.Pair(t, o, withFiles(transport.Options{}))
	require.NotZero(t, cli.Stats().Lane.Ring)
	want := make([]string, n)
	for i := range n {
		m := transport.Message{Body: bytes.Repeat([]byte{byte('a' + i%26)}, 1+i)}
		want[i] = string(m.Body)
		for j := range i % 3 {
			text := string([]byte{byte('A' + i%26), byte('0' + j)})
			m.Files = append(m.Files, note(t, text))
			want[i] += "+" + text
		}
		require.NoError(t, cli.Post(patient(t), m))
	}
	receive(t, done, "all of them")
	require.Equal(t, want, got)
}

// R21: connections that nobody uses, and that were used before, cost no system call: nobody polls,
// spins, wakes or rings.
func TestR21IdleLanes(t *testing.T) {
	l := listen(t, handler(echo))
	clients := make([]*transport.Conn, 100)
	for i := range clients {
		clients[i] = dial(t, l.Address(), transport.Options{})
		_, err := clients[i].Call(patient(t), []byte("hi"), nil)
		require.NoError(t, err)
	}
	require.Equal(t, len(clients), l.Stats().Lanes)
	work := func() (n uint64) {
		add := func(c transport.Counters) {
			n += c.Reads + c.Writes + c.Polls + c.Wakes + c.Bells + c.Yields + c.SpinMisses
		}
		add(l.Stats().Counters)
		for _, c := range clients {
			add(c.Stats().Counters)
		}
		return n
	}
	last := work()
	eventually(t, func() bool {
		time.Sleep(300 * time.Millisecond)
		before := last
		last = work()
		return last == before
	}, "300 ms in which nothing happens")
}

// TestLaneShares has connections share MaxLaneMemory: the first have large rings, later ones small
// ones, the last none, and what one leaves the next one gets.
func TestLaneShares(t *testing.T) {
	l := listen(t, handler(echo))
	g, err := transport.NewGroup(0, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	dial := func() (*transport.Conn, transport.LaneStats) {
		conn, err := transport.Dial(patient(t), l.Address(), transport.Options{Group: g})
		require.NoError(t, err)
		_, err = conn.Call(patient(t), []byte("hi"), nil)
		require.NoError(t, err)
		return conn, conn.Stats().Lane
	}
	sizes, total, last := map[int]int{}, 0, transport.DefaultRing
	first, s := dial()
	for ; s.Ring > 0; _, s = dial() {
		require.LessOrEqual(t, s.Ring, last)
		last = s.Ring
		sizes[s.Ring]++
		total += 2 * s.Ring
	}
	require.Equal(t, "the peer offers none", s.Why)
	require.LessOrEqual(t, total, transport.MaxLaneMemory)
	require.Greater(t, total, transport.MaxLaneMemory-2*transport.MinRing)
	require.GreaterOrEqual(t, sizes[transport.DefaultRing], 64, sizes)
	require.Greater(t, sizes[transport.MinRing], 64, sizes)
	require.NoError(t, first.Close(patient(t)))
	require.Eventually(t, func() bool { _, s = dial(); return s.Ring == transport.MinRing },
		20*time.Second, 10*time.Millisecond)
}
