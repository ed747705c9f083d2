package transport

import (
	"io/fs"
	"syscall"
)

// ownerOf returns the uid that a file belongs to.
func ownerOf(st fs.FileInfo) (uint32, bool) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return s.Uid, true
}
