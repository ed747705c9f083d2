package transport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every state of a call of the portable engine with every event.
func TestCallStates(t *testing.T) {
	const no = callState(99)
	want := map[callState][4]callState{
		//           begin     reply        give up   copied
		callUnsent:  {callSent, no, callGone, no},
		callSent:    {no, callFilling, callTomb, no},
		callFilling: {no, no, no, callGone},
		callTomb:    {no, callGone, no, no},
		callGone:    {no, no, no, no},
	}
	require.Len(t, callSteps, len(want))
	for s, events := range want {
		for ev, to := range events {
			got, ok := s.next(callEvent(ev))
			if to == no {
				require.False(t, ok, "state %d, event %d", s, ev)
				require.Equal(t, s, got, "state %d, event %d", s, ev)
				continue
			}
			require.True(t, ok, "state %d, event %d", s, ev)
			require.Equal(t, to, got, "state %d, event %d", s, ev)
		}
	}
}
