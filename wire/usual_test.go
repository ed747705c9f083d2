package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParseUsual holds the parser for the usual fields against the one for all of them: what the
// first one accepts, the second one takes for the same.
func FuzzParseUsual(f *testing.F) {
	for _, m := range []Meta{
		{},
		{Method: []byte("add"), Route: 1},
		{Method: []byte("add"), TimeoutUs: 250_000, Route: 1 << 46, Caller: 7},
		{Method: make([]byte, MaxMethod), Caller: maxUint64},
		{Method: []byte("add"), Trace: []byte("00-1"), Key: 5},
	} {
		f.Add(m.AppendTo(nil)[1:])
	}
	f.Add([]byte{3, 0, 8, 0})
	f.Add([]byte{8, 1, 3, 1, 'a'})
	f.Add([]byte{3, 5, 'a'})
	f.Add([]byte{8, 0x80, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var usual, all Meta
		if !usual.parseUsual(b) {
			return
		}
		require.NoError(t, all.parse(b, 0))
		require.Equal(t, all, usual)
	})
}

// TestParseUsual says which metas the fast way takes, so that it does not fall out of use unseen.
func TestParseUsual(t *testing.T) {
	for _, c := range []struct {
		m    Meta
		fast bool
	}{
		{Meta{Method: []byte("add"), Route: 3}, true},
		{Meta{Method: []byte("add"), TimeoutUs: 1, Route: 1 << 40, Caller: 300}, true},
		{Meta{Method: []byte("add"), Trace: []byte("00-1")}, false},
		{Meta{Code: CodeFailed}, false},
	} {
		var m Meta
		require.Equal(t, c.fast, m.parseUsual(c.m.AppendTo(nil)[1:]), "%+v", c.m)
	}
}
