package procfile

import (
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/mattn/go-shellwords"
)

// A kind is a type of value: how it is read, written, and described to an editor.
type kind[T any] struct {
	// read stores the value of n in *into, which holds the default before. What is wrong with it
	// has been reported when it returns, and *into is as it was.
	read func(r *reader, n node, into *T)
	// write returns the value as package yaml marshals it; nil: there is nothing to write.
	write func(T) any
	// schema describes the value, in the words of JSON schema.
	schema schema
}

// A schema is an object of JSON schema.
type schema map[string]any

// scalar makes a kind of a function that understands the text of a value. want says what that
// function takes, and stands in errors behind "want".
func scalar[T any](want string, s schema, parse func(string) (T, error),
	write func(T) any) kind[T] {
	return kind[T]{
		read: func(r *reader, n node, into *T) {
			n, ok := r.resolve(n)
			if !ok {
				return
			}
			before := len(r.errs)
			text, ok := r.text(n)
			if !ok {
				if len(r.errs) == before {
					r.fail(n, "want %s, not %s", want, describe(n.ast))
				}
				return
			}
			v, err := parse(text)
			if err != nil {
				r.fail(n, "want %s, not %s%s", want, describe(n.ast), because(err))
				return
			}
			*into = v
		},
		write:  write,
		schema: orVariable(s),
	}
}

// variableSchema is what the schema says of values that have a variable in them.
const variableSchema = "variable"

// orVariable allows variables where s takes less than any text.
func orVariable(s schema) schema {
	if types, ok := s["type"].([]string); ok && len(types) == len(anyText) {
		return s
	}
	return schema{"anyOf": []any{s, schema{"$ref": "#/$defs/" + variableSchema}}}
}

// anyText are the types of JSON schema that are read as texts.
var anyText = []string{"string", "number", "boolean"}

// errOther is for a parser that has no more to say than that the value is none of its own.
var errOther = fmt.Errorf("not one")

func because(err error) string {
	if err == errOther {
		return ""
	}
	return ": " + err.Error()
}

// text is any text.
func text() kind[string] {
	return scalar("a text", schema{"type": anyText},
		func(s string) (string, error) { return s, nil },
		func(s string) any { return nonZero(s, escape(s)) })
}

// argument is a text that fits in an argument or a variable of the environment: without zero bytes.
func argument() kind[string] {
	return scalar("a text without zero bytes",
		schema{"type": anyText},
		func(s string) (string, error) {
			if strings.IndexByte(s, 0) >= 0 {
				return "", errOther
			}
			return s, nil
		},
		func(s string) any { return escape(s) })
}

// name is what processes, services and applications are called.
func name() kind[string] {
	return scalar(nameRule, schema{"type": "string", "pattern": namePattern.String()},
		func(s string) (string, error) {
			if !namePattern.MatchString(s) {
				return "", errOther
			}
			return s, nil
		},
		func(s string) any { return nonZero(s, s) })
}

// oneOf is one of these words.
func oneOf(words ...string) kind[string] {
	return scalar("one of "+strings.Join(words, ", "), schema{"type": "string", "enum": words},
		func(s string) (string, error) {
			if !slices.Contains(words, s) {
				return "", errOther
			}
			return s, nil
		},
		func(s string) any { return nonZero(s, s) })
}

// choice is one of these values, by what they are called.
func choice[T interface {
	comparable
	fmt.Stringer
}](values ...T) kind[T] {
	var names []string
	for _, v := range values {
		names = append(names, v.String())
	}
	return choiceOf(names, func(i int) T { return values[i] }, T.String)
}

func choiceOf[T any](names []string, value func(int) T, name func(T) string) kind[T] {
	return scalar("one of "+strings.Join(names, ", "), schema{"type": "string", "enum": names},
		func(s string) (v T, err error) {
			i := slices.Index(names, s)
			if i < 0 {
				return v, errOther
			}
			return value(i), nil
		},
		func(v T) any { return name(v) })
}

// flag is true or false.
func flag() kind[bool] {
	return scalar("true or false", schema{"type": "boolean"},
		func(s string) (bool, error) {
			switch s {
			case "true":
				return true, nil
			case "false":
				return false, nil
			}
			return false, errOther
		},
		func(b bool) any { return b })
}

// count is a whole number.
func count(least, most int) kind[int] {
	want := fmt.Sprintf("a whole number from %d to %d", least, most)
	return scalar(want, schema{"type": "integer", "minimum": least, "maximum": most},
		func(s string) (int, error) { return parseCount(s, least, most) },
		func(i int) any { return i })
}

func parseCount(s string, least, most int) (int, error) {
	i, err := strconv.Atoi(s)
	if err != nil || i < least || i > most {
		return 0, errOther
	}
	return i, nil
}

// number is a number that is not negative.
func number() kind[float64] {
	return scalar("a number of 0 or more", schema{"type": "number", "minimum": 0},
		func(s string) (float64, error) {
			x, err := strconv.ParseFloat(s, 64)
			if err != nil || !(x >= 0) || math.IsInf(x, 0) {
				return 0, errOther
			}
			return x, nil
		},
		func(x float64) any { return nonZero(x, x) })
}

// duration is a time with its unit.
func duration(least time.Duration) kind[time.Duration] {
	want := "a time such as 500ms, 5s or 1m30s"
	if least > 0 {
		want += ", at least " + least.String()
	}
	return scalar(want, schema{"type": "string", "pattern": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`},
		func(s string) (time.Duration, error) {
			d, err := time.ParseDuration(s)
			if err != nil || d < least {
				return 0, errOther
			}
			return d, nil
		},
		func(d time.Duration) any { return d.String() })
}

// size is a number of bytes, with or without a unit.
func size(least int64) kind[int64] {
	want := "a size such as 512KiB, 16MiB or 1GiB"
	if least > 0 {
		want += fmt.Sprintf(", at least %d bytes", least)
	}
	return scalar(want, schema{"type": []string{"string", "integer"},
		"pattern": `^[0-9.,]+ *([kKmMgGtT][iI]?)?[bB]?$`},
		func(s string) (int64, error) {
			n, err := humanize.ParseBytes(s)
			if err != nil || n > math.MaxInt64 || int64(n) < least {
				return 0, errOther
			}
			return int64(n), nil
		},
		func(n int64) any { return nonZero(n, n) })
}

// place is the path of a file or folder, made absolute: what is relative is in the folder of the
// process file, and ~ is the user's home.
func place() kind[string] {
	k := text()
	read := k.read
	k.read = func(r *reader, n node, into *string) {
		var s string
		if read(r, n, &s); s == "" {
			return
		}
		if strings.HasPrefix(s, "@") { // an abstract socket
			*into = s
			return
		}
		if home, err := os.UserHomeDir(); err == nil && (s == "~" || strings.HasPrefix(s, "~/")) {
			s = home + s[1:]
		}
		if !filepath.IsAbs(s) {
			s = filepath.Join(filepath.Dir(r.path), s)
		}
		*into = filepath.Clean(s)
	}
	return k
}

// hostPort is an address of TCP.
func hostPort() kind[string] {
	return scalar("host:port", schema{"type": "string", "pattern": `:[0-9]+$`},
		func(s string) (string, error) {
			_, port, ok := cutLast(s, ":")
			if n, err := strconv.Atoi(port); !ok || err != nil || n < 1 || n > 65535 {
				return "", errOther
			}
			return s, nil
		},
		func(s string) any { return nonZero(s, escape(s)) })
}

// location is a URL with one of these schemes.
func location(schemes ...string) kind[string] {
	want := "a URL that begins with " + strings.Join(schemes, ":// or ") + "://"
	return scalar(want, schema{"type": "string", "format": "uri"},
		func(s string) (string, error) {
			u, err := url.Parse(s)
			if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" {
				return "", errOther
			}
			return s, nil
		},
		func(s string) any { return nonZero(s, escape(s)) })
}

// words is a list of arguments, or a text that is split as a shell does, of which nothing else is
// understood.
func words() kind[[]string] {
	list := listOf(argument())
	line := scalar("a command", schema{"type": "string"}, splitCommand, nil)
	return kind[[]string]{
		read: func(r *reader, n node, into *[]string) {
			v, ok := r.resolve(n)
			if !ok {
				return
			}
			if _, isList := v.ast.(*ast.SequenceNode); isList {
				list.read(r, v, into)
			} else {
				line.read(r, v, into)
			}
		},
		write:  list.write,
		schema: schema{"anyOf": []any{line.schema, list.schema}},
	}
}

func splitCommand(s string) ([]string, error) {
	p := shellwords.NewParser()
	p.ParseEnv, p.ParseBacktick, p.ParseComment = false, false, false
	args, err := p.Parse(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("a quote or bracket is not closed, or is a shell's; for a shell "+
			"write [sh, -c, %q]", shorten(s))
	case p.Position >= 0:
		return nil, fmt.Errorf("%q is a shell's; for a shell write [sh, -c, %q]",
			string([]rune(s)[p.Position]), shorten(s))
	case strings.IndexByte(s, 0) >= 0:
		return nil, fmt.Errorf("it has a zero byte")
	}
	return args, nil
}

// listOf is a list of values of one kind.
func listOf[T any](k kind[T]) kind[[]T] {
	return kind[[]T]{
		read: func(r *reader, n node, into *[]T) {
			n, ok := r.resolve(n)
			if !ok {
				return
			}
			list, ok := n.ast.(*ast.SequenceNode)
			if !ok {
				r.fail(n, "want a list, not %s", describe(n.ast))
				return
			}
			all := make([]T, len(list.Values))
			for i, v := range list.Values {
				k.read(r, n.item(i, v), &all[i])
			}
			*into = all
		},
		write: func(list []T) any {
			if list == nil {
				return nil
			}
			out := make([]any, len(list))
			for i, v := range list {
				out[i] = k.write(v)
			}
			return out
		},
		schema: schema{"type": "array", "items": k.schema},
	}
}

// oneOrMore is a list, or one value that stands for a list of it.
func oneOrMore[T any](k kind[T]) kind[[]T] {
	list := listOf(k)
	read := list.read
	list.read = func(r *reader, n node, into *[]T) {
		v, ok := r.resolve(n)
		if !ok {
			return
		}
		if _, isList := v.ast.(*ast.SequenceNode); isList {
			read(r, v, into)
			return
		}
		before := len(r.errs)
		var one T
		if k.read(r, v, &one); len(r.errs) == before {
			*into = []T{one}
		}
	}
	list.schema = schema{"anyOf": []any{k.schema, list.schema}}
	return list
}

// variables is a map from names of variables of the environment to their values.
func variables() kind[map[string]string] {
	value := argument()
	return kind[map[string]string]{
		read: func(r *reader, n node, into *map[string]string) {
			_, entries, ok := r.mapping(n)
			if !ok {
				return
			}
			vars := make(map[string]string, len(entries))
			for _, e := range entries {
				if !variableName(e.name) {
					r.fail(e.key, "want a name of letters, digits and _")
					continue
				}
				v, ok := r.resolve(e.node)
				if !ok {
					continue
				}
				var s string
				value.read(r, v, &s)
				vars[e.name] = s
			}
			*into = vars
		},
		write: func(vars map[string]string) any {
			if len(vars) == 0 {
				return nil
			}
			var out yaml.MapSlice
			for _, name := range sortedKeys(vars) {
				out = append(out, yaml.MapItem{Key: name, Value: escape(vars[name])})
			}
			return out
		},
		schema: schema{"type": "object", "additionalProperties": value.schema},
	}
}

// mapping resolves n and returns its entries; it reports when it is no map.
func (r *reader) mapping(n node) (node, []entry, bool) {
	n, ok := r.resolve(n)
	if !ok {
		return n, nil, false
	}
	entries, ok := r.entries(n)
	if !ok {
		r.fail(n, "want a map, not %s", describe(n.ast))
	}
	return n, entries, ok
}
