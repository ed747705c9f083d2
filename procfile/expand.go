package procfile

import "strings"

// expand replaces the variables in s, which is the text of n:
//
//	${NAME}  ${NAME:-default}  ${NAME:?why it is needed}  $${ for a literal ${
//
// A default is taken as it is: variables in it are not replaced.
func (r *reader) expand(n node, s string) (string, bool) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), true
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		inner, rest, closed := strings.Cut(s[i+2:], "}")
		if !closed {
			r.fail(n, "${%s has no closing brace; a literal ${ is written $${", shorten(inner))
			return "", false
		}
		value, ok := r.variable(n, inner)
		if !ok {
			return "", false
		}
		b.WriteString(value)
		s = rest
	}
}

// variable returns what stands between the braces of one.
func (r *reader) variable(n node, inner string) (string, bool) {
	name, rest, _ := strings.Cut(inner, ":")
	if !variableName(name) {
		r.fail(n, "${%s}: want a name of letters, digits and _; a literal ${ is written $${",
			shorten(inner))
		return "", false
	}
	value, set := r.lookup(name)
	switch {
	case rest == "" && name != inner, rest != "" && rest[0] != '-' && rest[0] != '?':
		r.fail(n, "${%s}: want ${%s}, ${%s:-default} or ${%s:?message}", shorten(inner), name, name,
			name)
		return "", false
	case rest == "" && !set:
		r.fail(n, "variable %s is not set; ${%s:-} is empty then, $${%s} is left for a shell", name,
			name, name)
		return "", false
	case rest == "" || value != "":
		return value, true
	case rest[0] == '?':
		r.fail(n, "variable %s is not set: %s", name, rest[1:])
		return "", false
	}
	return rest[1:], true
}

// escape undoes expand, for texts that are written.
func escape(s string) string { return strings.ReplaceAll(s, "${", "$${") }

func variableName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
