package policy

import (
	"strings"
	"unicode/utf8"
)

// maxExpression is the longest expression read, in bytes.
const maxExpression = 4096

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenQuantity
	tokenString
	tokenOperator // also parentheses, braces and commas
)

// token is one word of an expression. For a string, text is its value.
type token struct {
	kind tokenKind
	text string
	at   int // in characters from the start of the expression
}

// shown is the token as messages quote it.
func (t token) shown() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the expression"
	case tokenString:
		return quote(t.text)
	}
	return `"` + t.text + `"`
}

// operators, longest first where one starts another.
var operators = []string{
	"<=", ">=", "==", "!=", "=~", "!~", "<", ">", "=", "(", ")", "{", "}", ",", "+", "-", "*", "/",
}

// foreign are spellings of other languages, and ours.
var foreign = map[string]string{"&&": "and", "||": "or", "≤": "<=", "≥": ">=", "≠": "!=", "→": "", "!": "not"}

// lex cuts an expression into tokens; the last one is tokenEnd.
func lex(text string) ([]token, *fault) {
	if len(text) > maxExpression {
		return nil, faultf(0, "the expression has %d bytes, at most %d are read", len(text), maxExpression)
	}
	if !utf8.ValidString(text) {
		return nil, faultf(0, "the expression is not valid UTF-8")
	}
	l := lexer{text: text}
	for {
		l.skipSpace()
		if l.rest() == "" {
			return append(l.tokens, token{tokenEnd, "", l.column}), nil
		}
		if f := l.next(); f != nil {
			return nil, f
		}
	}
}

type lexer struct {
	text   string
	offset int // in bytes
	column int // in characters
	tokens []token
}

func (l *lexer) rest() string { return l.text[l.offset:] }

func (l *lexer) skipSpace() {
	for l.offset < len(l.text) && strings.IndexByte(" \t\r\n", l.text[l.offset]) >= 0 {
		l.offset++
		l.column++
	}
}

func (l *lexer) take(kind tokenKind, text string, bytes int) {
	l.tokens = append(l.tokens, token{kind, text, l.column})
	l.column += utf8.RuneCountInString(l.text[l.offset : l.offset+bytes])
	l.offset += bytes
}

func (l *lexer) next() *fault {
	c := l.text[l.offset]
	switch {
	case c == '"' || c == '\'':
		return l.str(c)
	case isDigit(c) || c == '.' && len(l.rest()) > 1 && isDigit(l.rest()[1]):
		n := quantityLength(l.rest())
		l.take(tokenQuantity, l.rest()[:n], n)
		return nil
	case isLetter(c):
		n := 1
		for n < len(l.rest()) && (isLetter(l.rest()[n]) || isDigit(l.rest()[n]) || l.rest()[n] == '.') {
			n++
		}
		l.take(tokenName, l.rest()[:n], n)
		return nil
	}
	for _, op := range operators {
		if strings.HasPrefix(l.rest(), op) {
			l.take(tokenOperator, op, len(op))
			return nil
		}
	}
	for _, other := range []string{"&&", "||", "≤", "≥", "≠", "!"} {
		if strings.HasPrefix(l.rest(), other) {
			return faultf(l.column, "unexpected %q", other).or(`write "` + foreign[other] + `"`)
		}
	}
	r, _ := utf8.DecodeRuneInString(l.rest())
	return faultf(l.column, "unexpected character %q", r)
}

// str reads a string: in double quotes \" and \\ are escapes, in single quotes
// nothing is.
func (l *lexer) str(mark byte) *fault {
	var b strings.Builder
	rest := l.rest()
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == mark:
			l.take(tokenString, b.String(), i+1)
			return nil
		case c == '\n' || c == '\r':
			return faultf(l.column, "string without an end")
		case c == '\\' && mark == '"':
			i++
			if i >= len(rest) || rest[i] != '"' && rest[i] != '\\' {
				at := l.column + utf8.RuneCountInString(rest[:i-1])
				return faultf(at, `unknown escape in a string`).or(`write \\ for a backslash, or the string in single quotes`)
			}
			b.WriteByte(rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return faultf(l.column, "string without an end")
}

// quantityLength is how far a number and its unit reach: "8MiB/s" is one
// word, "8MiB / 2s" is three.
func quantityLength(text string) int {
	n := 0
	for n < len(text) && (isDigit(text[n]) || text[n] == '.' || isLetter(text[n]) || text[n] == '%') {
		n++
	}
	if n == len(text) || text[n] != '/' || !isByteQuantity(text[:n]) {
		return n
	}
	m := n + 1
	for m < len(text) && isLetter(text[m]) {
		m++
	}
	// A dot makes it a metric: "8MiB/summary.elapsed_seconds" is a division.
	if isTimeUnit(text[n+1:m]) && (m == len(text) || text[m] != '.' && !isDigit(text[m])) {
		return m
	}
	return n
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

// quote writes a string as the language reads it.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
