package service_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/service"
)

func TestParseAssignment(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       service.Assignment
		err        string
	}{
		{name: "no variable", want: service.Assignment{All: true}},
		{name: "nothing assigned", text: `{}`},
		{
			name: "everything",
			text: `{"application":"shop","process":"web","instance":2,"all":true,"hub":"/run/hub.sock",` +
				`"registry":"hub:","services":{"a":{"config":{"port":1}},"b":{"weak":true}}}`,
			want: service.Assignment{
				Application: "shop", Process: "web", Instance: 2, All: true, Hub: "/run/hub.sock",
				Registry: "hub:",
				Services: map[string]service.Assigned{
					"a": {Config: json.RawMessage(`{"port":1}`)},
					"b": {Weak: true},
				},
			},
		},
		{
			name: "a field of later", text: `{"all":true,"later":1}`,
			want: service.Assignment{All: true},
		},
		{name: "cut off", text: `{"all":`, err: "service: PITHOS_SERVICES: at byte 7: "},
		{name: "wrong kind", text: `{"instance":"x"}`, err: "Assignment.instance of type int"},
		{name: "negative", text: `{"instance":-1}`, err: "instance -1, want 0 or more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := service.ParseAssignment(c.text)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			text, err := json.Marshal(got)
			require.NoError(t, err)
			again, err := service.ParseAssignment(string(text))
			require.NoError(t, err)
			require.Equal(t, got, again, "what it is written as")
		})
	}
}
