package policy

import (
	"regexp"
	"strings"
)

// Expr is one condition of the language in doc/policy.md: parsed, and checked
// against the catalogue of metrics.
type Expr struct {
	root condition
}

// String writes the expression in its canonical form: single spaces, double
// quotes, only the parentheses that are needed. It parses to the same Expr.
func (e *Expr) String() string { return show(e.root, levelOr) }

// node is a part of an expression; at() is where it starts, in characters.
type node interface{ at() int }

// condition is a node; that it is true or false is checked, not typed.
type condition = node

type place int

func (p place) at() int { return int(p) }

type (
	// logic is x and y, or x or y.
	logic struct {
		place
		op   string
		x, y node
	}
	// negated is not x.
	negated struct {
		place
		x node
	}
	// comparison is x op y; its place is the operator's.
	comparison struct {
		place
		op   string
		x, y node
	}
	// arithmetic is x op y with + - * /; its place is the operator's.
	arithmetic struct {
		place
		op   string
		x, y node
	}
	// minus is -x.
	minus struct {
		place
		x node
	}
	// quantity is a number as written, with its value in bytes, seconds or as
	// a plain number.
	quantity struct {
		place
		text      string
		value     float64
		dimension dimension
	}
	// word is a string.
	word struct {
		place
		text string
	}
	// metricRef is a metric with its selectors.
	metricRef struct {
		place
		name      string
		selectors []selector
		metric    *Metric // nil until checked
	}
)

// selector is label op value in a metric's braces.
type selector struct {
	at, valueAt int
	label       string
	op          string // = != =~ !~
	value       string
	pattern     *regexp.Regexp // of =~ and !~
}

// matches reports whether a label's value is selected. A pattern may match any
// part of the value.
func (s *selector) matches(value string) bool {
	switch s.op {
	case "=":
		return value == s.value
	case "!=":
		return value != s.value
	case "=~":
		return s.pattern.MatchString(value)
	}
	return !s.pattern.MatchString(value)
}

func (s *selector) String() string { return s.label + s.op + quote(s.value) }

// String is the metric as written, in canonical form.
func (m *metricRef) String() string {
	if len(m.selectors) == 0 {
		return m.name
	}
	all := make([]string, len(m.selectors))
	for i := range m.selectors {
		all[i] = m.selectors[i].String()
	}
	return m.name + "{" + strings.Join(all, ", ") + "}"
}

// The levels of precedence, weakest first.
const (
	levelOr = iota
	levelAnd
	levelNot
	levelComparison
	levelSum
	levelProduct
	levelMinus
	levelPrimary
)

func level(n node) int {
	switch n := n.(type) {
	case *logic:
		if n.op == "or" {
			return levelOr
		}
		return levelAnd
	case *negated:
		return levelNot
	case *comparison:
		return levelComparison
	case *arithmetic:
		if n.op == "+" || n.op == "-" {
			return levelSum
		}
		return levelProduct
	case *minus:
		return levelMinus
	}
	return levelPrimary
}

// show writes a node where one of at least the given level must stand.
func show(n node, least int) string {
	own := level(n)
	if own < least {
		return "(" + show(n, levelOr) + ")"
	}
	switch n := n.(type) {
	case *logic:
		return show(n.x, own) + " " + n.op + " " + show(n.y, own+1)
	case *negated:
		return "not " + show(n.x, own)
	case *comparison:
		return show(n.x, levelSum) + " " + n.op + " " + show(n.y, levelSum)
	case *arithmetic:
		return show(n.x, own) + " " + n.op + " " + show(n.y, own+1)
	case *minus:
		return "-" + show(n.x, own)
	case *quantity:
		return n.text
	case *word:
		return quote(n.text)
	case *metricRef:
		return n.String()
	}
	return ""
}

// walk calls visit for every node, parents first, in the order of the text.
func walk(n node, visit func(node)) {
	visit(n)
	switch n := n.(type) {
	case *logic:
		walk(n.x, visit)
		walk(n.y, visit)
	case *comparison:
		walk(n.x, visit)
		walk(n.y, visit)
	case *arithmetic:
		walk(n.x, visit)
		walk(n.y, visit)
	case *negated:
		walk(n.x, visit)
	case *minus:
		walk(n.x, visit)
	}
}

// metrics lists the metrics of an expression, each once, in the order of the text.
func (e *Expr) metrics() []*metricRef {
	var all []*metricRef
	seen := map[string]bool{}
	walk(e.root, func(n node) {
		if m, ok := n.(*metricRef); ok && !seen[m.String()] {
			seen[m.String()] = true
			all = append(all, m)
		}
	})
	return all
}
