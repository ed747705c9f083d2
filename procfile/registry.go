package procfile

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// etcd is the map form of a registry. It becomes a URL, as package registry/etcd has them.
type etcd struct {
	endpoints []string
	prefix    string
	user      string
	password  string
	ttl       time.Duration
	patient   bool
	tls       *tlsFiles
}

// tlsFiles are for connections to etcd. Without any, the authorities of the system are trusted.
type tlsFiles struct{ ca, cert, key, serverName string }

const embedded = "embedded"

// ParseRegistry reads a registry as it stands on a command line: "embedded" or a URL of etcd.
func ParseRegistry(s string) (string, error) {
	switch {
	case s == embedded:
		return Embedded, nil
	case !etcdURL.MatchString(s):
		return "", fmt.Errorf("want %s, not %q", registryRule, s)
	}
	return s, nil
}

const registryRule = embedded + ", or a URL that begins with etcd:// or etcds://"

// registryKind is a word, a URL or a map, and all of them are a text in the end.
func registryKind() kind[string] {
	full := etcdKind()
	urls := scalar(registryRule,
		schema{"type": "string", "pattern": "^(" + embedded + "$|etcds?://[^/?]+)"},
		func(s string) (string, error) {
			s, err := ParseRegistry(s)
			if err != nil {
				return "", errOther
			}
			return s, nil
		}, nil)
	return kind[string]{
		read: func(r *reader, n node, into *string) {
			v, ok := r.resolve(n)
			if !ok {
				return
			}
			if _, isMap := v.ast.(ast.MapNode); !isMap {
				urls.read(r, v, into)
				return
			}
			var e etcd
			before := len(r.errs)
			if full.read(r, v, &e); len(r.errs) == before && e.check(r, v) {
				*into = e.url()
			}
		},
		write: func(s string) any {
			if s == Embedded {
				return embedded
			}
			return escape(s)
		},
		schema: schema{"anyOf": []any{urls.schema, full.schema}},
	}
}

var etcdURL = regexp.MustCompile(`^etcds?://[^/?]+`)

func etcdKind() kind[etcd] {
	files := object([]field[tlsFiles]{
		in("ca", place(), func(t *tlsFiles) *string { return &t.ca },
			"PEM file with the authorities that may sign the server's certificate."),
		in("cert", place(), func(t *tlsFiles) *string { return &t.cert },
			"PEM file with the client's certificate."),
		in("key", place(), func(t *tlsFiles) *string { return &t.key },
			"PEM file with the client's key."),
		in("server_name", text(), func(t *tlsFiles) *string { return &t.serverName },
			"The name that the server's certificate has to be for."),
	}, func() tlsFiles { return tlsFiles{} })
	return object([]field[etcd]{
		need("endpoints", oneOrMore(endpoint()), func(e *etcd) *[]string { return &e.endpoints },
			"The members of the cluster, as host:port."),
		in("prefix", keys(), func(e *etcd) *string { return &e.prefix },
			"What all keys begin with."),
		in("user", text(), func(e *etcd) *string { return &e.user },
			"The user to log in as."),
		in("password", text(), func(e *etcd) *string { return &e.password },
			"The user's password; better ${A_VARIABLE} than the password itself."),
		in("ttl", duration(time.Second), func(e *etcd) *time.Duration { return &e.ttl },
			"How long an entry outlives its process; 10s by default."),
		in("patient", flag(), func(e *etcd) *bool { return &e.patient },
			"true: services start while etcd cannot be reached, and keep trying."),
		in("tls", optional(files), func(e *etcd) **tlsFiles { return &e.tls },
			"TLS for the connections; {} is TLS with the authorities of the system."),
	}, func() etcd { return etcd{} })
}

// optional is a map that may be missing, which is not the same as an empty one.
func optional[S any](k kind[S]) kind[*S] {
	return kind[*S]{
		read: func(r *reader, n node, into **S) {
			var s S
			k.read(r, n, &s)
			*into = &s
		},
		write:  func(*S) any { return nil },
		schema: k.schema,
	}
}

func endpoint() kind[string] {
	return scalar("host:port", schema{"type": "string", "pattern": `^[^/?@, ]+$`},
		func(s string) (string, error) {
			if s == "" || strings.ContainsAny(s, "/?@, ") {
				return "", errOther
			}
			return s, nil
		},
		func(s string) any { return s })
}

// keys is what keys begin with; in a URL the question mark ends it.
func keys() kind[string] {
	return scalar("a path without a question mark", schema{"type": anyText, "pattern": `^[^?]*$`},
		func(s string) (string, error) {
			if strings.Contains(s, "?") {
				return "", errOther
			}
			return s, nil
		},
		func(s string) any { return nonZero(s, escape(s)) })
}

// check reports what is wrong between the fields.
func (e *etcd) check(r *reader, n node) bool {
	switch t := e.tls; {
	case len(e.endpoints) == 0:
		r.fail(n, "want at least one endpoint")
	case (e.user == "") != (e.password == ""):
		r.fail(n, "want user and password together")
	case t != nil && (t.cert == "") != (t.key == ""):
		r.fail(n, "want tls.cert and tls.key together")
	default:
		return true
	}
	return false
}

func (e *etcd) url() string {
	scheme, user, query := "etcd://", "", url.Values{}
	if e.user != "" {
		user = url.UserPassword(e.user, e.password).String() + "@"
	}
	if e.ttl > 0 {
		query.Set("ttl", e.ttl.String())
	}
	if e.patient {
		query.Set("patient", "true")
	}
	if t := e.tls; t != nil {
		scheme = "etcds://"
		for name, value := range map[string]string{"ca": t.ca, "cert": t.cert, "key": t.key,
			"server_name": t.serverName} {
			if value != "" {
				query.Set(name, value)
			}
		}
	}
	s := scheme + user + strings.Join(e.endpoints, ",")
	if prefix := strings.Trim(e.prefix, "/"); prefix != "" {
		s += "/" + prefix
	}
	if len(query) > 0 {
		s += "?" + query.Encode()
	}
	return s
}
