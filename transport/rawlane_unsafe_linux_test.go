//go:build linux && !portable

package transport_test

import (
	"bufio"
	"net"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// rawLane is a peer whose lane is memory that it can write to as it likes. It knows of rings what
// section 17 of PROTOCOL.md says, and nothing from the package.
type rawLane struct {
	*raw
	mem  []byte
	size int
	out  int    // the ring that it writes to
	tail uint64 // of out
	head uint64 // of the other one
}

// The words of the state of a ring, in bytes from its start.
const (
	wordTail  = 0
	wordRoom  = 64
	wordHead  = 128
	wordSleep = 192
	laneState = 256
	laneData  = 64 << 10
)

// rawLaneClient connects to a listener, takes the lane that it offers and waits until both
// directions have changed.
func rawLaneClient(t testing.TB, address string) *rawLane {
	t.Helper()
	r := rawDial(t, address)
	h := anyHello()
	h.Capabilities = wire.CapLane
	r.send(h.AppendTo(nil))
	var b [512]byte
	var rights [64]byte
	var got []byte
	var files []int
	for len(files) == 0 {
		n, oobn, _, _, err := r.conn.ReadMsgUnix(b[:], rights[:])
		require.NoError(t, err)
		got = append(got, b[:n]...)
		if oobn > 0 {
			messages, err := unix.ParseSocketControlMessage(rights[:oobn])
			require.NoError(t, err)
			files, err = unix.ParseUnixRights(&messages[0])
			require.NoError(t, err)
		}
	}
	defer unix.Close(files[0])
	_, n, err := wire.ParseFrame(got, 1000) // the hello
	require.NoError(t, err)
	f, last, err := wire.ParseFrame(got[n:], 1000)
	require.NoError(t, err)
	require.Len(t, got, n+last)
	require.True(t, control(f, wire.KindLaneOffer))
	offer, err := wire.ParseLane(f.Body[1:])
	require.NoError(t, err)
	l := mapRawLane(t, r, files[0], int(offer.RingSize), 0)
	r.send(offer.AppendTo(nil, wire.KindLaneAccept))
	require.True(t, control(r.receive(), wire.KindLaneAccept))
	return l
}

// mapRawLane maps the file of a lane.
func mapRawLane(t testing.TB, r *raw, fd, size, out int) *rawLane {
	mem, err := unix.Mmap(fd, 0, laneData+2*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(mem)) })
	return &rawLane{raw: r, mem: mem, size: size, out: out}
}

// word is one of the 64-bit words of ring i; word32 one of the others.
func (l *rawLane) word(i, at int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&l.mem[i*laneState+at]))
}

func (l *rawLane) word32(i, at int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&l.mem[i*laneState+at]))
}

// write puts bytes into the ring and rings, as long as the other side takes them.
func (l *rawLane) write(parts ...[]byte) {
	for _, b := range parts {
		for last := time.Now(); len(b) > 0; {
			used := int(l.tail - l.word(l.out, wordHead).Load())
			if used >= l.size || used < 0 {
				if time.Since(last) > rawPatience || !l.bell([]byte{0}) {
					return
				}
				time.Sleep(50 * time.Microsecond)
				continue
			}
			last = time.Now()
			at := int(l.tail) & (l.size - 1)
			n := min(len(b), l.size-used, l.size-at)
			copy(l.mem[laneData+l.out*l.size+at:], b[:n])
			b = b[n:]
			l.tail += uint64(n)
			l.word(l.out, wordTail).Store(l.tail)
			l.bell([]byte{0})
		}
	}
}

// bell sends bytes on the socket; false says that the other side is gone.
func (l *rawLane) bell(b []byte) bool {
	l.word32(l.out, wordSleep).Store(0)
	_, err := l.conn.Write(b)
	return err == nil
}

// framesIn hands the reader of frames what comes out of the ring.
func (l *rawLane) framesIn() *rawLane {
	l.in = bufio.NewReader(l)
	return l
}

// Read implements io.Reader by polling: it gives its processor away, but does not sleep.
func (l *rawLane) Read(b []byte) (int, error) {
	in := 1 - l.out
	for {
		n := int(l.word(in, wordTail).Load() - l.head)
		if n > 0 {
			at := int(l.head) & (l.size - 1)
			n = copy(b, l.mem[laneData+in*l.size+at:][:min(n, l.size-at)])
			l.head += uint64(n)
			l.word(in, wordHead).Store(l.head)
			if l.word32(in, wordRoom).Swap(0) != 0 {
				l.bell([]byte{0})
			}
			return n, nil
		}
		if err := l.hungUp(); err != nil {
			return 0, err
		}
	}
}

// hungUp takes bells off the socket for a moment, and returns the error of its end.
func (l *rawLane) hungUp() error {
	var b [16]byte
	f, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var e error
	err = f.Read(func(fd uintptr) bool {
		n, _, e = unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT)
		return true
	})
	switch {
	case err != nil:
		return err
	case e == unix.EAGAIN:
		time.Sleep(50 * time.Microsecond)
		return nil
	case e != nil:
		return e
	case n == 0:
		return net.ErrClosed
	}
	return nil
}
