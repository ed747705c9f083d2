package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// DefaultPort is etcd's port for clients.
const DefaultPort = "2379"

// ParseURL reads Options from one line, as it stands in a process file or on a command line:
//
//	etcd://[user:password@]host[:port][,host[:port]...][/prefix][?key=value&...]
//
//	ttl=10s           the TTL
//	patient=true      Patient
//	ca=FILE           TLS, with the certificates of this file as the authorities
//	cert=FILE         TLS, with this certificate of our own, and key=FILE its key
//	server_name=NAME  TLS, with the name that the certificate of the server has to have
//
// With etcds:// in place of etcd:// there is TLS in any case, by the authorities of the system
// unless ca says otherwise. User and password are percent-encoded where they have to be.
func ParseURL(text string) (Options, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "etcd" && scheme != "etcds" {
		return Options{}, fmt.Errorf("etcd: address %q, want one like etcd://127.0.0.1:%s", text,
			DefaultPort)
	}
	// package url takes one host only
	rest, query, _ := strings.Cut(rest, "?")
	authority, prefix, _ := strings.Cut(rest, "/")
	var o Options
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		hosts = authority[at+1:]
		if err := o.user(authority[:at]); err != nil {
			return Options{}, err
		}
	}
	for host := range strings.SplitSeq(hosts, ",") {
		endpoint, err := withPort(host)
		if err != nil {
			return Options{}, err
		}
		o.Endpoints = append(o.Endpoints, endpoint)
	}
	if prefix = strings.TrimSuffix(prefix, "/"); prefix != "" {
		o.Prefix = "/" + prefix
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Options{}, fmt.Errorf("etcd: what follows the question mark: %w", err)
	}
	return o, o.set(values, scheme == "etcds")
}

func (o *Options) user(text string) error {
	name, password, ok := strings.Cut(text, ":")
	if !ok {
		return errors.New("etcd: address with a user and no password, want user:password@")
	}
	var err error
	if o.Username, err = url.PathUnescape(name); err != nil {
		return fmt.Errorf("etcd: user: %w", err)
	}
	if o.Password, err = url.PathUnescape(password); err != nil {
		return errors.New("etcd: password: a percent sign without two hexadecimal digits")
	}
	return nil
}

// withPort returns host:port.
func withPort(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), DefaultPort
		if strings.Contains(name, ":") && !strings.HasPrefix(host, "[") {
			return "", fmt.Errorf("etcd: host %q, want host:port or [address]:port", host)
		}
	}
	if n, err := strconv.Atoi(port); name == "" || err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("etcd: host %q, want host:port with a port from 1 to 65535", host)
	}
	return net.JoinHostPort(name, port), nil
}

// set reads what follows the question mark.
func (o *Options) set(values url.Values, secure bool) error {
	var files struct{ ca, cert, key, name string }
	for name, all := range values {
		value, err := all[len(all)-1], error(nil)
		switch name {
		case "ttl":
			o.TTL, err = time.ParseDuration(value)
		case "patient":
			o.Patient, err = strconv.ParseBool(value)
		case "ca":
			files.ca = value
		case "cert":
			files.cert = value
		case "key":
			files.key = value
		case "server_name":
			files.name = value
		default:
			err = errors.New("no such setting, there are ttl, patient, ca, cert, key, server_name")
		}
		if err != nil {
			return fmt.Errorf("etcd: %s=%s: %w", name, value, err)
		}
	}
	if !secure && files == (struct{ ca, cert, key, name string }{}) {
		return nil
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: files.name}
	if files.ca != "" {
		text, err := os.ReadFile(files.ca)
		if err != nil {
			return fmt.Errorf("etcd: ca: %w", err)
		}
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("etcd: ca: %s has no certificate in PEM", files.ca)
		}
	}
	if (files.cert == "") != (files.key == "") {
		return errors.New("etcd: cert and key go together, one is missing")
	}
	if files.cert != "" {
		pair, err := tls.LoadX509KeyPair(files.cert, files.key)
		if err != nil {
			return fmt.Errorf("etcd: cert: %w", err)
		}
		o.TLS.Certificates = []tls.Certificate{pair}
	}
	return nil
}
