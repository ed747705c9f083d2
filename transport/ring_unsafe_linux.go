//go:build linux && !portable

package transport

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The memory of a lane, as a file and as each side maps it. The data of each ring is mapped twice
// in a row; neighbours that are so in the file, too, are mapped by one call.
//
//	file     | control | data 0 | data 1 |
//	mapped   | control | data 0 | data 0 | data 1 | data 1 |
//	           one mapping        one mapping        one mapping
//
//	control  0: ringShared of ring 0, client to server    256: of ring 1, server to client
const (
	laneControl = 64 << 10 // bytes: a page of any architecture, of which the first 512 are used
	laneSeals   = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	// futex(2), and not of this process alone.
	futexWaitOp = 0
	futexWakeOp = 1
)

// laneBytes is the length of the file of a lane.
func laneBytes(size int) int64 { return laneControl + 2*int64(size) }

// laneMap is the memory of a lane in this process.
type laneMap struct {
	base unsafe.Pointer
	size uintptr
}

// mapLane maps the file of a lane whose rings have size bytes each.
func mapLane(fd, size int) (laneMap, error) {
	n := uintptr(size)
	m := laneMap{size: laneControl + 4*n}
	var err error
	m.base, err = unix.MmapPtr(-1, 0, nil, m.size, unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return laneMap{}, os.NewSyscallError("mmap", err)
	}
	for _, p := range [...]struct{ at, from, length uintptr }{
		{0, 0, laneControl + n},
		{laneControl + n, laneControl, 2 * n},
		{laneControl + 3*n, laneControl + n, n},
	} {
		_, err := unix.MmapPtr(fd, int64(p.from), unsafe.Add(m.base, p.at), p.length,
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
		if err != nil {
			m.unmap()
			return laneMap{}, os.NewSyscallError("mmap", err)
		}
	}
	return m, nil
}

// ring returns ring i of the lane, at its start.
func (m laneMap) ring(i, size int) ring {
	data := unsafe.Add(m.base, laneControl+2*i*size)
	return ring{
		shared: (*ringShared)(unsafe.Add(m.base, uintptr(i)*unsafe.Sizeof(ringShared{}))),
		data:   unsafe.Slice((*byte)(data), 2*size),
		size:   uint64(size),
	}
}

// unmap ends the mapping: nobody may touch a ring any more.
func (m laneMap) unmap() { _ = unix.MunmapPtr(m.base, m.size) }

// doze blocks until the producer rings the bell of a leader, or the time is over.
func (r *ring) doze(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&r.shared.sleep)), futexWaitOp,
		uintptr(sleepLeader), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// rouse ends the doze of a leader, if there is one.
func (r *ring) rouse() {
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&r.shared.sleep)),
		futexWakeOp, 1, 0, 0, 0)
}
