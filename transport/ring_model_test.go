package transport_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRingModel explores every order of the steps of one producer, one consumer and the kernel on
// the four words of a ring, with the death of either at every step. Each step is one load, one
// store, one swap or one system call, as ring_linux.go and lane_linux.go make them. In every end
// that can be reached
//
//   - a consumer that lives has read all that was published, and nothing else,
//   - nobody sleeps while there is something to do,
//   - who lives while the other one is dead knows it.
func TestRingModel(t *testing.T) {
	for _, leader := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			m := model{leader: leader, late: late, bytes: int8(times(3, 5))}
			states, fault := m.explore()
			require.Empty(t, fault, "leader %v, late %v", leader, late)
			require.Greater(t, states, 5000)
			t.Logf("leader %v, late %v: %d states", leader, late, states)
		}
	}
}

// TestRingModelSees breaks the protocol in each of the places that the argument in ring_linux.go
// stands on. The model finds out.
func TestRingModelSees(t *testing.T) {
	for name, m := range map[string]model{
		"no second look before sleep":    {noLook: true},
		"no second look at room":         {noRoomLook: true},
		"flag looked at before the tail": {early: true},
		"gone looked at after the tail":  {goneLate: true},
		"a leader that is not woken":     {leader: true, noRouse: true},
		"a leader deaf to death":         {leader: true, deaf: true},
		"room told of when all is read":  {noRoomBell: true},
	} {
		m.bytes = 4
		_, fault := m.explore()
		require.NotEmpty(t, fault, name)
	}
}

// modelSize is the size of the ring.
const modelSize = 2

// model says how many bytes are sent, how the consumer sleeps, whether somebody announces that
// late, and what of the protocol is left out.
type model struct {
	bytes                                                          int8
	leader, late                                                   bool
	noLook, noRoomLook, early, goneLate, noRouse, deaf, noRoomBell bool
}

// words are what producer and consumer share, and what the kernel keeps for them.
type words struct {
	tail, head, sleep, room int8
	bell, roomBell          bool // bytes on the socket that no loop has taken
	dozing, roused          bool // the futex
	gone                    bool // the consumer's side has heard of the producer's death
}

// moment is the state of everything. The fields of a side are its locals.
type moment struct {
	words
	p, pAt, pSeen, pLeft, pHow int8
	c, cAt, cSeen, cTail       int8
	cGone                      bool
	pDead, cDead               bool
	k, l                       int8 // the kernel's steps at the producer's death, the late one's
	lTail                      int8
	errand                     bool
}

// The steps of each side; see steps.
const (
	pWrite = iota
	pLook
	pPublish
	pAsk
	pWake
	pRouse
	pWait
	pLookAgain
	pTakeBack
	pAsleep
	pOver
)

const (
	cGoneLook = iota
	cRise
	cPoll
	cConsume
	cRoom
	cRoomBell
	cListen
	cTailAgain
	cHeadAgain
	cStay
	cGoneAgain
	cDoze
	cAsleep
	cOver
)

// explore visits every moment that can come from the first, and says what is wrong with one.
func (m model) explore() (states int, fault string) {
	first := moment{pLeft: m.bytes}
	if !m.late {
		first.l = 9
	}
	seen := map[moment]bool{first: true}
	for queue := []moment{first}; len(queue) > 0; {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		next := m.steps(s)
		if len(next) == 0 {
			if f := s.judge(); f != "" {
				return len(seen), fmt.Sprintf("%s: %+v", f, s)
			}
		}
		for _, n := range append(next, s.deaths()...) {
			if n.tail-n.head > modelSize || n.cAt > n.tail {
				return len(seen), fmt.Sprintf("beyond the ring: %+v", n)
			}
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	return len(seen), ""
}

// judge looks at a moment in which nothing happens any more, unless somebody dies.
func (s moment) judge() string {
	switch {
	case !s.cDead && s.cAt != s.tail:
		return "not all is read"
	case !s.cDead && s.pDead && s.c != cOver:
		return "the consumer does not know"
	case !s.pDead && s.cDead && s.p != pOver:
		return "the producer does not know"
	case !s.pDead && !s.cDead && s.pLeft > 0:
		return "not all is written"
	}
	return ""
}

// steps are the moments that can come next.
func (m model) steps(s moment) (next []moment) {
	if !s.pDead && s.p != pOver {
		if n, ok := m.producer(s); ok {
			next = append(next, n)
		}
	}
	if !s.cDead && s.c != cOver {
		if n, ok := m.consumer(s); ok {
			next = append(next, n)
		}
	}
	if s.cDead {
		return next
	}
	if s.pDead && s.k < 2 {
		next = append(next, m.kernel(s))
	}
	if s.l < 4 {
		next = append(next, s.lateListen())
	}
	if m.leader && (s.bell || s.errand) {
		next = append(next, s.loop())
	}
	return next
}

// deaths are the moments in which one side dies.
func (s moment) deaths() (next []moment) {
	if n := s; !s.pDead {
		n.pDead = true
		next = append(next, n)
	}
	if n := s; !s.cDead {
		n.cDead = true
		next = append(next, n)
	}
	return next
}

// producer makes its next step, if it can.
func (m model) producer(s moment) (moment, bool) {
	switch s.p {
	case pWrite:
		switch {
		case s.cDead:
			s.p = pOver // its socket says so
		case s.pLeft == 0:
			return s, false
		case s.pAt-s.pSeen == modelSize:
			s.p = pLook
		default:
			s.pAt, s.pLeft, s.p = s.pAt+1, s.pLeft-1, pPublish
			if m.early {
				s.pHow = s.sleep
			}
		}
	case pLook:
		s.pSeen, s.p = s.head, pWrite
		if s.pAt-s.pSeen == modelSize {
			s.p = pWait
		}
	case pPublish:
		s.tail, s.p = s.pAt, pAsk
	case pAsk:
		if !m.early {
			s.pHow = s.sleep
		}
		if s.p = pWrite; s.pHow != 0 {
			s.p = pWake
		}
	case pWake: // a CAS
		if s.p = pWrite; s.sleep == s.pHow {
			s.sleep, s.p = 0, pRouse
		}
	case pRouse:
		if s.p = pWrite; s.pHow == 1 {
			s.bell = true
		} else if s.dozing && !m.noRouse {
			s.roused = true
		}
	case pWait:
		s.room, s.p = 1, pLookAgain
	case pLookAgain:
		if s.p = pTakeBack; s.tail-s.head > modelSize/2 || m.noRoomLook {
			s.p = pAsleep
		}
	case pTakeBack:
		s.room, s.p = 0, pWrite
	case pAsleep:
		switch {
		case s.cDead:
			s.p = pOver
		case s.roomBell:
			s.roomBell, s.p = false, pWrite
		default:
			return s, false
		}
	}
	return s, true
}

// consumer makes its next step, if it can.
func (m model) consumer(s moment) (moment, bool) {
	how := int8(1)
	if m.leader {
		how = 2
	}
	switch s.c {
	case cGoneLook:
		s.cGone, s.c = s.gone, cRise
	case cRise:
		s.sleep, s.c = 0, cPoll
	case cPoll:
		s.cSeen = s.tail
		if m.goneLate {
			s.c = cOver + 1
			break
		}
		s.c = m.polled(s)
	case cOver + 1: // the wrong order
		s.cGone = s.gone
		s.c = m.polled(s)
	case cConsume:
		s.cAt++
		s.head, s.c = s.cAt, cRoom
	case cRoom:
		if s.c = cConsume; s.cSeen == s.cAt {
			s.c = cGoneLook
		}
		if s.room != 0 && s.cSeen-s.cAt <= modelSize/2 && !m.noRoomBell {
			s.c = cRoomBell
		}
	case cRoomBell: // a swap
		s.room, s.roomBell = 0, s.roomBell || s.room != 0
		if s.c = cConsume; s.cSeen == s.cAt {
			s.c = cGoneLook
		}
	case cListen:
		s.sleep, s.c = how, cTailAgain
	case cTailAgain:
		s.cTail, s.c = s.tail, cHeadAgain
	case cHeadAgain:
		if s.c = cStay; s.cTail == s.head || m.noLook {
			s.c = cGoneAgain
		}
	case cStay:
		s.sleep, s.c = 0, cGoneLook
	case cGoneAgain:
		switch {
		case s.gone:
			s.c = cGoneLook
		case m.leader:
			s.c = cDoze
		default:
			s.c = cAsleep
		}
	case cDoze: // futex(2) compares and sleeps in one step
		if s.c = cGoneLook; s.sleep == how {
			s.c, s.dozing = cAsleep, true
		}
	case cAsleep:
		if m.leader && !s.roused || !m.leader && !s.bell && !s.errand {
			return s, false
		}
		if !m.leader {
			s.bell, s.errand = false, false
		}
		s.roused, s.dozing, s.c = false, false, cGoneLook
	}
	return s, true
}

// polled is where a consumer goes on that has looked at the tail.
func (m model) polled(s moment) int8 {
	switch {
	case s.cSeen != s.cAt:
		return cConsume
	case s.cGone:
		return cOver
	}
	return cListen
}

// kernel tells the consumer's loop that the producer is dead.
func (m model) kernel(s moment) moment {
	switch s.k {
	case 0:
		s.gone = true
	case 1:
		s.bell = !m.deaf
	}
	s.k++
	return s
}

// loop is the consumer's loop, when a leader has the lease: it has that look again.
func (s moment) loop() moment {
	s.bell, s.errand = false, false
	if s.sleep == 2 {
		s.sleep = 0
	}
	s.roused = s.dozing
	return s
}

// lateListen is a goroutine of the consumer's side that gave the lease back a while ago and only
// now announces that the loop sleeps.
func (s moment) lateListen() moment {
	switch s.l {
	case 0:
		s.sleep = 1
	case 1:
		s.lTail = s.tail
	case 2:
		if s.lTail == s.head {
			s.l = 9
		}
	case 3:
		s.sleep, s.errand = 0, true
	}
	s.l++
	return s
}
