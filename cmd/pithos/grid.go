package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// grid is a table of text: a title, a line of heads, and rows of as many cells. A column whose head
// begins with a space is set to the right.
type grid struct {
	title string
	heads []string
	rows  [][]string
	none  string // said in place of no rows
	more  string // said behind the rows, or in place of them
}

// add appends a row. Each cell is shown as fmt.Sprint does, without what a terminal would obey.
func (g *grid) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = plainText(fmt.Sprint(c))
	}
	g.rows = append(g.rows, row)
}

// lines is the grid as text, each line of at most width characters; 0: of any length.
func (g *grid) lines(width int) []string {
	lines := []string{g.title}
	if g.title == "" {
		lines = lines[:0]
	}
	if len(g.rows) == 0 {
		lines = append(lines, "  "+g.none)
		if g.more != "" {
			lines = append(lines, "  "+g.more)
		}
		return lines
	}
	wide := make([]int, len(g.heads))
	for i, h := range g.heads {
		wide[i] = utf8.RuneCountInString(strings.TrimSpace(h))
		for _, row := range g.rows {
			wide[i] = max(wide[i], utf8.RuneCountInString(row[i]))
		}
	}
	gap := g.fit(wide, width)
	line := func(cells []string) string {
		var b strings.Builder
		for i, c := range cells {
			c = shorten(strings.TrimSpace(c), wide[i])
			pad := strings.Repeat(" ", wide[i]-utf8.RuneCountInString(c))
			b.WriteString(gap)
			if strings.HasPrefix(g.heads[i], " ") {
				b.WriteString(pad + c)
			} else {
				b.WriteString(c + pad)
			}
		}
		return clip(strings.TrimRight(b.String(), " "), width)
	}
	lines = append(lines, line(g.heads))
	for _, row := range g.rows {
		lines = append(lines, line(row))
	}
	if g.more != "" {
		lines = append(lines, "  "+g.more)
	}
	return lines
}

// leastName is how narrow a column of names becomes at most.
const leastName = 12

// fit makes the columns of text narrower until a line has width characters, the widest one first,
// and returns what goes between columns. Numbers stay whole; what is still too long is cut.
func (g *grid) fit(wide []int, width int) (gap string) {
	over := -width
	for _, w := range wide {
		over += len("  ") + w
	}
	if width <= 0 || over <= 0 {
		return "  "
	}
	for over -= len(wide); over > 0; over-- {
		widest := -1
		for i, h := range g.heads {
			if !strings.HasPrefix(h, " ") && wide[i] > leastName &&
				(widest < 0 || wide[i] > wide[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		wide[widest]--
	}
	return " "
}

// shorten cuts s to width characters, and marks that.
func shorten(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return clip(s, width-1) + "~"
}

// clip cuts s to width characters; 0: not at all.
func clip(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width])
}

// plainText shows what cannot be printed as an escape: names come from others, and nothing in them
// may reach the terminal's own language.
func plainText(s string) string { return show([]byte(s), len(s), 200) }

// harmless shows control characters as escapes, but for line breaks and tabs: for texts of others
// that are longer than a name.
func harmless(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// micros shows a time given in microseconds with three digits or so.
func micros(us float64) string {
	if us <= 0 {
		return "-"
	}
	return strings.Replace(rounded(time.Duration(us*1e3)).String(), "µ", "u", 1)
}

// sized shows bytes with a unit.
func sized[T ~int | ~int64 | ~uint64](n T) string { return withPrefix(float64(n), 1024, "B") }

// perSecond shows a rate.
func perSecond(rate float64) string {
	if rate < 0.05 {
		return "-"
	}
	return withPrefix(rate, 1000, "")
}

func withPrefix(v, step float64, unit string) string {
	for _, prefix := range []string{"", "k", "M", "G", "T"} {
		if v < step || prefix == "T" {
			digits := 0
			if v < 10 && prefix != "" || v < 10 && unit == "" && v != float64(int64(v)) {
				digits = 1
			}
			return strings.TrimSpace(fmt.Sprintf("%.*f %s%s", digits, v, prefix, unit))
		}
		v /= step
	}
	return ""
}
