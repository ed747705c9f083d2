package bench

import "math/bits"

// insider is a Pipeliner that has one goroutine for everything while calls are under way: its own
// reads and writes need no lock, and it waits for both in one place.
type insider interface {
	Pipeliner

	// Inside starts that goroutine, which calls begin and goes on until no call is under way. Go
	// may be called from begin and from callbacks only. body and buf are lent until done is called.
	Inside(begin func())
}

// stream holds the calls of an insider in their order, which is that of the replies: those sent
// and not answered, and then those not sent.
type stream struct {
	calls []streamed // a ring whose length is a power of two
	most  int
	first int // the oldest; grows for ever
	n     int
	sent  int // of those n; the one after them may be sent in part
}

type streamed struct {
	body []byte
	buf  []byte
	done func(reply []byte, err error)
}

func newStream(most int) *stream {
	return &stream{calls: make([]streamed, 1<<bits.Len(uint(most))), most: most}
}

func (s *stream) at(i int) *streamed { return &s.calls[(s.first+i)&(len(s.calls)-1)] }

// add puts a call at the end.
func (s *stream) add(c streamed) error {
	if s.n == s.most {
		return errManyCalls
	}
	*s.at(s.n) = c
	s.n++
	return nil
}

// unsent returns the first call that is not sent, or nil.
func (s *stream) unsent() *streamed {
	if s.sent == s.n {
		return nil
	}
	return s.at(s.sent)
}

// oldest returns the call that the next reply is for.
func (s *stream) oldest() (*streamed, error) {
	if s.sent == 0 {
		return nil, errNoWaiter
	}
	return s.at(0), nil
}

// take removes the oldest call and returns its callback.
func (s *stream) take() func(reply []byte, err error) {
	c := s.at(0)
	done := c.done
	*c = streamed{}
	s.first++
	s.n--
	s.sent = max(s.sent-1, 0)
	return done
}

// fail ends every call with err.
func (s *stream) fail(err error) {
	for s.n > 0 {
		s.take()(nil, err)
	}
}
