package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one fault of a policy or an expression and its place.
type Error struct {
	Origin  string // the file's name as given, or "--fail-on"
	Line    int    // from 1; 0 for an expression of the command line
	Column  int    // from 1, in characters; 0: the file as a whole
	Message string
	Hint    string // the way out, "" when the message says it
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Origin)
	switch {
	case e.Line > 0:
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	case e.Column > 0:
		fmt.Fprintf(&b, ": column %d", e.Column)
	}
	b.WriteString(": " + e.Message)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Errors are all faults of one policy, in the order of their places. It is
// what [Parse] and [FromExpressions] return, never empty.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As each fault.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// maxErrors bounds how many faults of one policy are reported.
const maxErrors = 50

// sorted orders the faults by place and cuts them off where nobody reads on.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(e) > maxErrors {
		last := *e[maxErrors]
		last.Message, last.Hint = fmt.Sprintf("%d more errors", len(e)-maxErrors), ""
		e = append(e[:maxErrors:maxErrors], &last)
	}
	return e
}

// fault is an error inside one expression: an offset in characters from its start.
type fault struct {
	at      int
	message string
	hint    string
}

func faultf(at int, format string, args ...any) *fault {
	return &fault{at: at, message: fmt.Sprintf(format, args...)}
}

func (f *fault) or(hint string) *fault {
	f.hint = hint
	return f
}
