//go:build !linux

package transport

import (
	"errors"
	"net"
	"os"
)

// canPassFiles says that descriptors cannot travel here: hello does not offer them.
const canPassFiles = false

func filesSpace(int) int { return 0 }

func readFiles(nc *net.UnixConn, p, _ []byte) (int, []*os.File, error) {
	n, err := nc.Read(p)
	return n, nil, err
}

func copyFiles([]File) ([]int, error) { return nil, errors.ErrUnsupported }

func closeCopies([]int) {}

func writeFiles(*net.UnixConn, []byte, []int) error { return errors.ErrUnsupported }

// connCredentials are not known on this system.
func connCredentials(*net.UnixConn) (Credentials, error) { return Credentials{}, nil }
