package policy

import (
	"regexp"
	"strings"
)

// maxNesting bounds parentheses, not and minus signs within each other.
const maxNesting = 50

// maxPattern is the longest regular expression read, in bytes.
const maxPattern = 256

// parseExpression reads and checks one condition. All faults of its meaning
// are returned; of its form, the first.
func parseExpression(text string) (*Expr, []*fault) {
	root, f := parseForm(text)
	if f != nil {
		return nil, []*fault{f}
	}
	e := &Expr{root: root}
	if faults := e.check(); len(faults) > 0 {
		return nil, faults
	}
	return e, nil
}

// parseForm reads the grammar, without the meaning of names.
func parseForm(text string) (node, *fault) {
	tokens, f := lex(text)
	if f != nil {
		return nil, f
	}
	p := parser{tokens: tokens}
	if p.peek().kind == tokenEnd {
		return nil, faultf(0, "the expression is empty")
	}
	n := p.or()
	if p.fault == nil && p.peek().kind != tokenEnd {
		p.unexpected("and, or, or the end")
	}
	if p.fault != nil {
		return nil, p.fault
	}
	return n, nil
}

// parser is a recursive descent over the tokens; after the first fault every
// step returns nil.
type parser struct {
	tokens []token
	next   int
	depth  int
	fault  *fault
}

func (p *parser) peek() token { return p.tokens[p.next] }

func (p *parser) take() token {
	t := p.tokens[p.next]
	if t.kind != tokenEnd {
		p.next++
	}
	return t
}

func (p *parser) isOperator(ops ...string) bool {
	t := p.peek()
	for _, op := range ops {
		if t.kind == tokenOperator && t.text == op {
			return true
		}
	}
	return false
}

func (p *parser) isName(name string) bool {
	t := p.peek()
	return t.kind == tokenName && t.text == name
}

func (p *parser) fail(f *fault) {
	if p.fault == nil {
		p.fault = f
	}
}

func (p *parser) unexpected(want string) {
	t := p.peek()
	f := faultf(t.at, "unexpected %s, expected %s", t.shown(), want)
	if t.kind == tokenName {
		if lower := strings.ToLower(t.text); lower != t.text && isKeyword(lower) {
			f.hint = `write "` + lower + `"`
		}
		if before := p.next - 1; before >= 0 && p.tokens[before].kind == tokenQuantity && (isTimeUnit(t.text) || isByteQuantity("1"+t.text)) {
			f.hint = `write the unit right after the number: "` + p.tokens[before].text + t.text + `"`
		}
	}
	p.fail(f)
}

func isKeyword(s string) bool { return s == "and" || s == "or" || s == "not" }

func (p *parser) enter() bool {
	if p.depth++; p.depth > maxNesting {
		p.fail(faultf(p.peek().at, "nested deeper than %d", maxNesting))
	}
	return p.fault == nil
}

func (p *parser) or() node {
	n := p.and()
	for p.fault == nil && p.isName("or") {
		at := place(p.take().at)
		n = &logic{at, "or", n, p.and()}
	}
	return n
}

func (p *parser) and() node {
	n := p.not()
	for p.fault == nil && p.isName("and") {
		at := place(p.take().at)
		n = &logic{at, "and", n, p.not()}
	}
	return n
}

func (p *parser) not() node {
	if !p.isName("not") {
		return p.comparison()
	}
	if !p.enter() {
		return nil
	}
	defer func() { p.depth-- }()
	at := place(p.take().at)
	return &negated{at, p.not()}
}

var comparisons = []string{"<=", ">=", "==", "!=", "<", ">"}

func (p *parser) comparison() node {
	n := p.sum()
	if p.fault != nil {
		return nil
	}
	if p.isOperator("=") {
		p.fail(faultf(p.peek().at, `unexpected "="`).or(`write "=="`))
		return nil
	}
	if !p.isOperator(comparisons...) {
		return n
	}
	op := p.take()
	n = &comparison{place(op.at), op.text, n, p.sum()}
	if p.fault == nil && p.isOperator(comparisons...) {
		p.fail(faultf(p.peek().at, "comparisons do not chain").or("join two of them with and"))
	}
	return n
}

func (p *parser) sum() node {
	n := p.product()
	for p.fault == nil && p.isOperator("+", "-") {
		op := p.take()
		n = &arithmetic{place(op.at), op.text, n, p.product()}
	}
	return n
}

func (p *parser) product() node {
	n := p.minus()
	for p.fault == nil && p.isOperator("*", "/") {
		op := p.take()
		n = &arithmetic{place(op.at), op.text, n, p.minus()}
	}
	return n
}

func (p *parser) minus() node {
	if !p.isOperator("-") {
		return p.primary()
	}
	if !p.enter() {
		return nil
	}
	defer func() { p.depth-- }()
	at := place(p.take().at)
	return &minus{at, p.minus()}
}

func (p *parser) primary() node {
	if p.fault != nil {
		return nil
	}
	t := p.peek()
	switch {
	case t.kind == tokenQuantity:
		p.take()
		value, dimension, f := parseQuantity(t.text)
		if f != nil {
			f.at += t.at
			p.fail(f)
			return nil
		}
		return &quantity{place(t.at), t.text, value, dimension}
	case t.kind == tokenString:
		p.take()
		return &word{place(t.at), t.text}
	case t.kind == tokenName && !isKeyword(strings.ToLower(t.text)):
		p.take()
		return p.metric(t)
	case p.isOperator("("):
		if !p.enter() {
			return nil
		}
		defer func() { p.depth-- }()
		p.take()
		n := p.or()
		if p.fault == nil && !p.isOperator(")") {
			p.unexpected(`")"`)
			return nil
		}
		p.take()
		return n
	}
	p.unexpected("a metric, a number or a string")
	return nil
}

func (p *parser) metric(name token) node {
	m := &metricRef{place: place(name.at), name: name.text}
	if !p.isOperator("{") {
		return m
	}
	p.take()
	for !p.isOperator("}") {
		s, ok := p.selector()
		if !ok {
			return nil
		}
		m.selectors = append(m.selectors, s)
		if p.isOperator(",") {
			p.take()
		} else if !p.isOperator("}") {
			p.unexpected(`"," or "}"`)
			return nil
		}
	}
	p.take()
	return m
}

func (p *parser) selector() (selector, bool) {
	label := p.peek()
	if label.kind != tokenName {
		p.unexpected(`a label or "}"`)
		return selector{}, false
	}
	p.take()
	if !p.isOperator("=", "!=", "=~", "!~") {
		p.unexpected(`"=", "!=", "=~" or "!~"`)
		if p.isOperator("==") {
			p.fault.hint = `write "="`
		}
		return selector{}, false
	}
	op := p.take()
	value := p.peek()
	if value.kind != tokenString {
		p.unexpected("a string in quotes")
		return selector{}, false
	}
	p.take()
	s := selector{at: label.at, valueAt: value.at, label: label.text, op: op.text, value: value.text}
	if s.label == labelHolder { // reports draw the arrow, keyboards do not have it
		s.value = strings.ReplaceAll(s.value, "→", "->")
	}
	if op.text == "=~" || op.text == "!~" {
		if len(s.value) > maxPattern {
			p.fail(faultf(value.at, "the pattern has %d bytes, at most %d are read", len(s.value), maxPattern))
			return selector{}, false
		}
		pattern, err := regexp.Compile(s.value)
		if err != nil {
			p.fail(faultf(value.at, "not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
			return selector{}, false
		}
		s.pattern = pattern
	}
	return s, true
}
