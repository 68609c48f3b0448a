package policy

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// spot is a place in a file: line and column from 1, columns in characters.
type spot struct{ line, column int }

// places maps every character of a scalar's value, and the one after it, to
// its place in the source, so that an error inside an expression points at the
// character that was typed. It walks value and source side by side: white
// space may have been folded or indented, quotes and escapes taken off, the
// rest is the same. Where that does not work out it returns what it has.
func (f *file) places(n *yaml.Node) []spot {
	src := source{lines: f.lines}
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		src.seek(spot{n.Line + 1, 1}) // the text starts below its indicator
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		src.seek(spot{n.Line, n.Column + 1})
	default:
		src.seek(spot{n.Line, n.Column})
	}
	var all []spot
	for _, want := range n.Value {
		if isSpace(want) {
			all = append(all, src.at)
			continue
		}
		src.toText(n.Style)
		all = append(all, src.at)
		if !src.match(want, n.Style) {
			return all
		}
	}
	return append(all, src.at)
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }

// source is a reading position in the lines of a file.
type source struct {
	lines []string
	at    spot
	rest  string // of the line, from the position
}

func (s *source) seek(to spot) {
	s.at, s.rest = spot{to.line, 1}, ""
	if to.line >= 1 && to.line <= len(s.lines) {
		s.rest = s.lines[to.line-1]
	}
	for s.at.column < to.column && s.rest != "" {
		s.skip()
	}
}

// peek is the character at the position; 0 at the end of the file.
func (s *source) peek() rune {
	if s.rest == "" {
		return 0
	}
	r, _ := utf8.DecodeRuneInString(s.rest)
	return r
}

func (s *source) skip() {
	r, size := utf8.DecodeRuneInString(s.rest)
	if s.rest = s.rest[size:]; r != '\n' {
		s.at.column++
		return
	}
	s.seek(spot{s.at.line + 1, 1})
}

// toText skips white space, and in double quotes a backslash before it.
func (s *source) toText(style yaml.Style) {
	for {
		switch c := s.peek(); {
		case c != 0 && isSpace(c):
			s.skip()
		case c == '\\' && style&yaml.DoubleQuotedStyle != 0:
			ahead := *s
			ahead.skip()
			if !isSpace(ahead.peek()) {
				return
			}
			*s = ahead
		default:
			return
		}
	}
}

// match passes one character of the value, and reports whether it was there.
func (s *source) match(want rune, style yaml.Style) bool {
	c := s.peek()
	switch {
	case c == '\'' && style&yaml.SingleQuotedStyle != 0:
		s.skip() // doubled
	case c == '\\' && style&yaml.DoubleQuotedStyle != 0:
		s.skip()
		return s.escape(want)
	}
	ok := s.peek() == want
	s.skip()
	return ok
}

// escape passes what follows a backslash in double quotes.
func (s *source) escape(want rune) bool {
	c := s.peek()
	s.skip()
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[c]
	if digits == 0 {
		return c == want
	}
	var hex strings.Builder
	for range digits {
		hex.WriteRune(s.peek())
		s.skip()
	}
	v, err := strconv.ParseUint(hex.String(), 16, 32)
	return err == nil && rune(v) == want
}
