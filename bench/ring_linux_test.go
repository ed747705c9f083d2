package bench

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// ringPair is a ring whose both ends are here.
func ringPair() (*producer, *consumer) {
	mem := make([]byte, ringMemory)
	bytes := mem[ringBegin:][:ringSize:ringSize]
	p := &producer{mem: bytes, tail: word(mem, 0), head: word(mem, headOffset)}
	return p, &consumer{mem: bytes, tail: word(mem, 0), head: word(mem, headOffset)}
}

// TestRingCarriesRecords moves records of every length in random turns, several times around.
func TestRingCarriesRecords(t *testing.T) {
	p, c := ringPair()
	random := rand.New(rand.NewPCG(1, 2))
	var want [][]byte
	for written, full := 0, 0; written < 20*ringSize || full == 0; {
		for range random.IntN(40) {
			n := random.IntN(ringPart + 1)
			if random.IntN(2) == 0 {
				n = random.IntN(200)
			}
			b := p.reserve(n)
			if b == nil {
				full++
				break
			}
			require.Len(t, b, n)
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			want = append(want, bytes.Clone(b))
			p.commit(n, n%2 == 1)
			written += n
		}
		p.publish()
		require.False(t, p.publish())
		for range random.IntN(40) {
			b, more, ok := c.next()
			require.Equal(t, len(want) > 0, ok)
			if !ok {
				break
			}
			require.True(t, bytes.Equal(want[0], b))
			require.Equal(t, len(b)%2 == 1, more)
			want = want[1:]
			c.advance(len(b))
			c.release()
		}
	}
}

// TestRingIsNeverStuck shows that what is used up and not told leaves room for any record.
func TestRingIsNeverStuck(t *testing.T) {
	p, c := ringPair()
	for i := range 10_000 {
		b := p.reserve(ringPart - i%ringPart)
		require.NotNil(t, b, "record %d", i)
		p.commit(len(b), false)
		p.publish()
		got, _, ok := c.next()
		require.True(t, ok)
		c.advance(len(got))
		c.release()
	}
}
