package bench

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnswerIsChecked(t *testing.T) {
	for _, n := range []int{8, 16, 24, 32, 40, 64, 4096, 1 << 20} {
		body := make([]byte, n)
		fill(body, 12345)
		require.EqualValues(t, 12345, binary.LittleEndian.Uint64(body))
		require.EqualValues(t, 12345+n/8-1, binary.LittleEndian.Uint64(body[n-8:]))
		require.Equal(t, sumOf(n, 12345), sum(body))

		reply := answer(body, []byte("head"))
		require.Equal(t, "head", string(reply[:4]))
		reply = reply[4:]
		require.NoError(t, check(reply, n, 12345))
		require.ErrorIs(t, check(reply, n, 12346), errWrongReply)
		require.ErrorIs(t, check(reply[:n-8], n, 12345), errWrongReply)
		for _, at := range []int{0, n / 2, n - 1} {
			reply[at] ^= 0x10
			require.ErrorIs(t, check(reply, n, 12345), errWrongReply, "byte %d", at)
			reply[at] ^= 0x10
		}
	}
}

func TestWorkAllocatesNothing(t *testing.T) {
	body, reply := make([]byte, smallBody), make([]byte, 0, smallBody)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		fill(body, 1)
		reply = answer(body, reply[:0])
		if check(reply, smallBody, 1) != nil {
			t.Fail()
		}
	}))
}

func BenchmarkWork(b *testing.B) {
	for _, n := range []int{smallBody, 1 << 20} {
		body, reply := make([]byte, n), make([]byte, 0, n)
		b.Run(byteName(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(2 * n))
			for b.Loop() {
				fill(body, 1)
				reply = answer(body, reply[:0])
				if check(reply, n, 1) != nil {
					b.FailNow()
				}
			}
		})
	}
}
