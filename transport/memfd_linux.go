//go:build linux && !portable

package transport

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mfdNoexecSeal is MFD_NOEXEC_SEAL, which kernels before 6.3 do not know.
const mfdNoexecSeal = 0x8

// newLaneFile makes the memory of a lane whose rings have size bytes each. Its seals keep everybody
// from changing its length, so that no access within it can fail.
func newLaneFile(size int) (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate("pithos-lane", flags|mfdNoexecSeal)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("pithos-lane", flags)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	err = os.NewSyscallError("ftruncate", unix.Ftruncate(fd, laneBytes(size)))
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, laneSeals)
		err = os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// checkLaneFile says what is wrong with a file that a peer offers as the memory of a lane, before
// it is mapped.
func checkLaneFile(fd, size int) error {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return fmt.Errorf("not a memfd: %w", os.NewSyscallError("fcntl F_GET_SEALS", err))
	}
	if seals&laneSeals != laneSeals {
		return fmt.Errorf("seals 0x%x, want 0x%x", seals, laneSeals)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != laneBytes(size) {
		return fmt.Errorf("mode 0%o and %d bytes, want a file of %d", st.Mode, st.Size,
			laneBytes(size))
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if int64(fs.Type) != unix.TMPFS_MAGIC {
		return fmt.Errorf("file system of type 0x%x, want 0x%x", fs.Type, unix.TMPFS_MAGIC)
	}
	return nil
}
