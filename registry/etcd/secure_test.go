package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/pithos-ipc/pithos/registry"
	"github.com/pithos-ipc/pithos/registry/etcd"
	"github.com/pithos-ipc/pithos/registry/etcd/etcdtest"
)

// authority writes an authority and certificates that it signs to a folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.write("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// write makes a certificate and its key, as name.pem and name.key.
func (a *authority) write(name string, cert *x509.Certificate) (*x509.Certificate,
	*ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	cert.SerialNumber = big.NewInt(time.Now().UnixNano())
	cert.Subject = pkix.Name{CommonName: name}
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	cert.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	a.pem(name+".pem", "CERTIFICATE", der)
	secret, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	a.pem(name+".key", "EC PRIVATE KEY", secret)
	made, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return made, key
}

func (a *authority) pem(name, kind string, der []byte) {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	require.NoError(a.t, os.WriteFile(a.file(name), text, 0o600))
}

func parsed(t *testing.T, address string) *etcd.Registry {
	t.Helper()
	o, err := etcd.ParseURL(address)
	require.NoError(t, err)
	return registryAt(t, o)
}

func TestTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	a.write("server", &x509.Certificate{})
	a.write("client", &x509.Certificate{})
	s := etcdtest.Start(t, "--cert-file", a.file("server.pem"), "--key-file", a.file("server.key"),
		"--client-cert-auth", "--trusted-ca-file", a.file("ca.pem"))
	ours := "&cert=" + a.file("client.pem") + "&key=" + a.file("client.key")
	r := parsed(t, "etcd://"+s.Endpoint()+"/?ca="+a.file("ca.pem")+ours)
	seen := watch(t, r)
	g := announce(t, r, "a")
	await(t, seen, "a")
	time.Sleep(2 * etcd.MinTTL)
	entries, err := r.Lookup(soon(t), "cart")
	require.NoError(t, err)
	require.Equal(t, []registry.Entry{g.Entry()}, entries, "kept alive")

	for name, address := range map[string]string{
		"no TLS":                "etcd://" + s.Endpoint(),
		"no certificate":        "etcd://" + s.Endpoint() + "?ca=" + a.file("ca.pem"),
		"authority of others":   "etcd://" + s.Endpoint() + "?ca=" + other.file("ca.pem") + ours,
		"authorities of system": "etcds://" + s.Endpoint(),
	} {
		t.Run(name, func(t *testing.T) {
			r := parsed(t, address)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := r.Announce(ctx, entry("b"))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			t.Log(err)
			require.ErrorContains(t, err, s.Endpoint())
		})
	}
}

// TestAuth has a user who may write the keys of services, and simple tokens, which end with the
// server.
func TestAuth(t *testing.T) {
	s := etcdtest.Start(t, "--bcrypt-cost", "4") // a password takes no time
	c := operator(t, s.Endpoint())
	ctx := soon(t)
	for _, user := range []string{"root", "shop"} {
		_, err := c.UserAdd(ctx, user, "secret")
		require.NoError(t, err)
		_, err = c.RoleAdd(ctx, user)
		require.NoError(t, err)
		_, err = c.UserGrantRole(ctx, user, user)
		require.NoError(t, err)
	}
	_, err := c.RoleGrantPermission(ctx, "shop", etcd.DefaultPrefix+"/",
		clientv3.GetPrefixRangeEnd(etcd.DefaultPrefix+"/"),
		clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	_, err = c.AuthEnable(ctx)
	require.NoError(t, err)

	r := parsed(t, "etcd://shop:secret@"+s.Endpoint())
	seen := watch(t, r)
	announce(t, r, "a")
	await(t, seen, "a")
	s.Kill()
	s.Restart()
	announce(t, r, "b")
	await(t, seen, "a", "b")
	root, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Username: "root",
		Password: "secret", DialTimeout: patience, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer root.Close()
	lost := key(t, root, "a", nil)
	_, err = root.Revoke(soon(t), lost)
	require.NoError(t, err)
	key(t, root, "a", func(lease clientv3.LeaseID) bool { return lease != lost })

	for name, c := range map[string]struct{ address, err string }{
		"password": {"etcd://shop:wrong@" + s.Endpoint(), "invalid user ID or password"},
		"nobody":   {"etcd://" + s.Endpoint(), "user name is empty"},
		"no right": {"etcd://shop:secret@" + s.Endpoint() + "/theirs", "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			r := parsed(t, c.address)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := r.Announce(ctx, entry("b"))
			require.ErrorContains(t, err, c.err)
			if name == "no right" { // which is for good
				require.NotErrorIs(t, err, context.DeadlineExceeded)
			}
			_, err = r.Lookup(ctx, "cart")
			require.Error(t, err)
		})
	}
}
