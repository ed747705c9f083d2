package etcd_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/registry/etcd"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct {
		text string
		want etcd.Options
		err  string
	}{
		{text: "etcd://127.0.0.1:2379", want: etcd.Options{Endpoints: []string{"127.0.0.1:2379"}}},
		{text: "etcd://db", want: etcd.Options{Endpoints: []string{"db:2379"}}},
		{
			text: "etcd://a:1,[::1]:2,[::1],c/shop/names/?ttl=30s&patient=true",
			want: etcd.Options{Endpoints: []string{"a:1", "[::1]:2", "[::1]:2379", "c:2379"},
				Prefix: "/shop/names", TTL: 30 * time.Second, Patient: true},
		},
		{
			text: "etcd://me%40home:p%3A%2Fw@a",
			want: etcd.Options{Endpoints: []string{"a:2379"}, Username: "me@home",
				Password: "p:/w"},
		},
		{text: "127.0.0.1:2379", err: "want one like etcd://127.0.0.1:2379"},
		{text: "http://127.0.0.1:2379", err: "want one like etcd://127.0.0.1:2379"},
		{text: "etcd://", err: `host "", want host:port`},
		{text: "etcd://a,,b", err: `host "", want host:port`},
		{text: "etcd://a:0", err: `host "a:0", want host:port with a port from 1 to 65535`},
		{text: "etcd://a:http", err: `host "a:http"`},
		{text: "etcd://::1", err: `host "::1", want host:port or [address]:port`},
		{text: "etcd://me@a", err: "a user and no password"},
		{text: "etcd://me:%zz@a", err: "password: a percent sign"},
		{text: "etcd://a?ttl=soon", err: `ttl=soon: time: invalid duration`},
		{text: "etcd://a?tls=1", err: "tls=1: no such setting, there are ttl, patient, ca, cert"},
		{text: "etcd://a?ca=/none", err: "ca: open /none: no such file"},
		{text: "etcd://a?cert=x", err: "cert and key go together"},
	} {
		t.Run(c.text, func(t *testing.T) {
			o, err := etcd.ParseURL(c.text)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, o)
		})
	}
	o, err := etcd.ParseURL("etcds://a?server_name=b")
	require.NoError(t, err)
	require.Equal(t, "b", o.TLS.ServerName)
}
