package policy

import (
	"fmt"
	"slices"
	"strings"
)

// kind is what a node stands for.
type kind int

const (
	kindBroken kind = iota // a fault was reported already
	kindCondition
	kindNumber
	kindText
)

// shape is the static type of a node.
type shape struct {
	kind      kind
	dimension dimension // of a number
	anyUnit   bool      // a plain 0, which fits every unit
	words     []string  // of a text metric: its values; nil for a string
}

func (s shape) String() string {
	switch s.kind {
	case kindCondition:
		return "a condition"
	case kindText:
		return "a word"
	}
	return s.dimension.String()
}

// check resolves metrics and labels and holds the units against each other.
func (e *Expr) check() []*fault {
	c := checker{}
	s := c.shape(e.root)
	if len(c.faults) > 0 {
		return c.faults
	}
	if s.kind != kindCondition {
		return []*fault{faultf(e.root.at(), "this is %s, not a condition", s).or("compare it with something: <, <=, ==, !=, >=, >")}
	}
	return nil
}

type checker struct{ faults []*fault }

func (c *checker) fault(f *fault) shape {
	c.faults = append(c.faults, f)
	return shape{}
}

func (c *checker) shape(n node) shape {
	switch n := n.(type) {
	case *logic:
		c.condition(n.x, n.op)
		c.condition(n.y, n.op)
		return shape{kind: kindCondition}
	case *negated:
		c.condition(n.x, "not")
		return shape{kind: kindCondition}
	case *comparison:
		return c.comparison(n)
	case *arithmetic:
		return c.arithmetic(n)
	case *minus:
		s := c.shape(n.x)
		if s.kind != kindNumber && s.kind != kindBroken {
			return c.fault(faultf(n.x.at(), "%s cannot be negated", s))
		}
		return s
	case *quantity:
		return shape{kind: kindNumber, dimension: n.dimension, anyUnit: n.text == "0"}
	case *word:
		return shape{kind: kindText}
	case *metricRef:
		return c.metric(n)
	}
	return shape{}
}

func (c *checker) condition(n node, op string) {
	if s := c.shape(n); s.kind == kindNumber || s.kind == kindText {
		c.fault(faultf(n.at(), "%q joins conditions, and this is %s", op, s).or("compare it with something"))
	}
}

func (c *checker) comparison(n *comparison) shape {
	x, y := c.shape(n.x), c.shape(n.y)
	result := shape{kind: kindCondition}
	switch {
	case x.kind == kindBroken || y.kind == kindBroken:
	case x.kind == kindCondition || y.kind == kindCondition:
		return c.fault(faultf(n.at(), "%q compares figures, not conditions", n.op).or("join conditions with and, or, not"))
	case x.kind == kindText && y.kind == kindText:
		c.words(n, x, y)
	case x.kind != y.kind:
		return c.fault(faultf(n.at(), "cannot compare %s and %s", x, y))
	case !hasMetric(n.x) && !hasMetric(n.y):
		return c.fault(faultf(n.at(), "both sides are constants: this never changes"))
	default:
		c.sameUnit(n.at(), "compare", n.x, n.y, x, y)
	}
	return result
}

// words checks a comparison of a text metric with a string.
func (c *checker) words(n *comparison, x, y shape) {
	literal, isLiteral := n.y.(*word)
	words := x.words
	if words == nil {
		literal, isLiteral = n.x.(*word)
		words = y.words
	}
	switch {
	case words == nil:
		c.fault(faultf(n.at(), "both sides are constants: this never changes"))
	case !isLiteral:
		c.fault(faultf(n.at(), "a word is compared with a string in quotes"))
	case n.op != "==" && n.op != "!=":
		c.fault(faultf(n.at(), "words have no order: %q takes figures", n.op).or("use == or !="))
	case !slices.Contains(words, literal.text):
		c.fault(unknownValue(literal.at(), "value", literal.text, words))
	}
}

// sameUnit refuses bytes against seconds; a plain 0 fits every unit.
func (c *checker) sameUnit(at int, verb string, nx, ny node, x, y shape) {
	if x.dimension == y.dimension || x.anyUnit || y.anyUnit {
		return
	}
	f := faultf(at, "cannot %s %s and %s", verb, x, y)
	for _, side := range []struct {
		n     node
		s     shape
		other shape
	}{{nx, x, y}, {ny, y, x}} {
		q, ok := side.n.(*quantity)
		if !ok || side.s.dimension != dimCount {
			continue
		}
		if unit := map[dimension]string{dimBytes: "B", dimSeconds: "s", dimRate: "B/s"}[side.other.dimension]; unit != "" && !strings.HasSuffix(q.text, "%") {
			f.hint = fmt.Sprintf("give %s its unit, such as %s%s", q.text, q.text, unit)
		}
	}
	c.fault(f)
}

func (c *checker) arithmetic(n *arithmetic) shape {
	x, y := c.shape(n.x), c.shape(n.y)
	if x.kind == kindBroken || y.kind == kindBroken {
		return shape{}
	}
	if x.kind != kindNumber || y.kind != kindNumber {
		return c.fault(faultf(n.at(), "%q takes figures, not %s", n.op, map[bool]shape{true: x, false: y}[x.kind != kindNumber]))
	}
	if n.op == "+" || n.op == "-" {
		before := len(c.faults)
		c.sameUnit(n.at(), map[string]string{"+": "add", "-": "subtract"}[n.op], n.x, n.y, x, y)
		if len(c.faults) > before {
			return shape{}
		}
		if x.anyUnit {
			return shape{kind: kindNumber, dimension: y.dimension, anyUnit: y.anyUnit}
		}
		return shape{kind: kindNumber, dimension: x.dimension}
	}
	sign := int8(1)
	if n.op == "/" {
		sign = -1
	}
	d, ok := x.dimension.times(y.dimension, sign)
	if !ok {
		return c.fault(faultf(n.at(), "the units of this product have no meaning"))
	}
	return shape{kind: kindNumber, dimension: d}
}

func hasMetric(n node) bool {
	found := false
	walk(n, func(n node) {
		if _, ok := n.(*metricRef); ok {
			found = true
		}
	})
	return found
}

func (c *checker) metric(m *metricRef) shape {
	metric := metricNamed(m.name)
	if metric == nil {
		f := faultf(m.at(), "unknown metric %q", m.name)
		switch near := didYouMean(m.name, metricNames()); {
		case slices.ContainsFunc(catalogue, func(c Metric) bool { return slices.Contains(c.Words, m.name) }):
			f.hint = "a word is written in quotes: " + quote(m.name)
		case near != "":
			f.hint = near
		default:
			f.hint = "the metrics are listed in doc/policy.md"
		}
		return c.fault(f)
	}
	m.metric = metric
	before := len(c.faults)
	for i := range m.selectors {
		c.selector(metric, &m.selectors[i])
	}
	if len(c.faults) == before {
		c.combination(metric, m)
	}
	if len(c.faults) > before {
		return shape{}
	}
	if metric.Words != nil {
		return shape{kind: kindText, words: metric.Words}
	}
	return shape{kind: kindNumber, dimension: metric.Unit.dimension()}
}

func (c *checker) selector(metric *Metric, s *selector) {
	label := metric.label(s.label)
	if label == nil {
		var names []string
		for _, l := range metric.Labels {
			names = append(names, l.Name)
		}
		if len(names) == 0 {
			c.fault(faultf(s.at, "metric %s has no labels", metric.Name))
			return
		}
		f := faultf(s.at, "metric %s has no label %q", metric.Name, s.label)
		if f.hint = didYouMean(s.label, names); f.hint == "" {
			f.hint = "it has " + strings.Join(names, ", ")
		}
		c.fault(f)
		return
	}
	switch {
	case metric.single && s.op != "=":
		c.fault(faultf(s.at, "metric %s is one figure at a time", metric.Name).or(`select it with "="`))
	case label.begins != nil && s.op == "=":
		if start, _, _ := strings.Cut(s.value, "/"); !slices.Contains(label.begins, start) {
			c.fault(unknownValue(s.valueAt, s.label, start, label.begins))
		}
	case label.Values == nil:
	case s.pattern != nil:
		if !slices.ContainsFunc(label.Values, s.pattern.MatchString) {
			c.fault(faultf(s.valueAt, "the pattern matches no %s", s.label).or("they are " + strings.Join(label.Values, ", ")))
		}
	case !slices.Contains(label.Values, s.value):
		f := unknownValue(s.valueAt, s.label, s.value, label.Values)
		if note := label.elsewhere[s.value]; note != "" {
			f.hint = note
		}
		c.fault(f)
	}
}

// unknownValue is the fault of a value outside its closed set.
func unknownValue(at int, what, value string, known []string) *fault {
	f := faultf(at, "unknown %s %q", what, value)
	if f.hint = didYouMean(value, known); f.hint == "" {
		f.hint = "known are " + strings.Join(known, ", ")
	}
	return f
}

// combination refuses selectors that contradict each other, and labels that
// the result does not count together.
func (c *checker) combination(metric *Metric, m *metricRef) {
	if metric.required != "" && len(m.selectors) == 0 {
		c.fault(faultf(m.at(), "metric %s needs a %s", metric.Name, metric.required).or(fmt.Sprintf("write %s{%s=\"…\"}", metric.Name, metric.required)))
		return
	}
	if metric.single && len(m.selectors) > 1 {
		c.fault(faultf(m.selectors[1].at, "metric %s takes one selector", metric.Name))
		return
	}
	labels := map[string][]*selector{}
	for i := range m.selectors {
		s := &m.selectors[i]
		labels[s.label] = append(labels[s.label], s)
	}
	for i := range m.selectors {
		s := &m.selectors[i]
		if metric.alone == s.label && len(labels) > 1 {
			c.fault(faultf(s.at, "label %s does not combine with others: the result counts them apart", s.label))
			return
		}
		if all := labels[s.label]; s == all[len(all)-1] && len(all) > 1 && c.contradicts(metric.label(s.label), all) {
			c.fault(faultf(s.at, "no %s is selected by all of these", s.label))
		}
	}
}

// contradicts reports whether no value passes all selectors of one label.
func (c *checker) contradicts(label *Label, all []*selector) bool {
	values := label.Values
	if values == nil { // open: only an exact value can be tried
		for _, s := range all {
			if s.op == "=" {
				values = append(values, s.value)
			}
		}
		if values == nil {
			return false
		}
	}
	return !slices.ContainsFunc(values, func(v string) bool { return selected(all, v) })
}

func selected(all []*selector, value string) bool {
	for _, s := range all {
		if !s.matches(value) {
			return false
		}
	}
	return true
}
