package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// Gate is the answer of a policy as a whole.
type Gate string

// The answers, worst first.
const (
	Failed   Gate = "failed"   // a rule of level error does not hold
	Unjudged Gate = "unjudged" // none fails, but one could not be judged
	Passed   Gate = "passed"
)

// Status is what became of one rule.
type Status string

// The statuses of a rule.
const (
	StatusPass     Status = "pass"
	StatusFail     Status = "fail"
	StatusUnjudged Status = "unjudged" // evidence is missing
	StatusWaived   Status = "waived"   // it fails or cannot be judged, and a waiver is in force
	StatusSkipped  Status = "skipped"  // evidence is missing, and the rule says on_missing: skip
)

// Outcome is a policy held against a result.
type Outcome struct {
	Gate    Gate            `json:"gate"`
	Policy  string          `json:"policy"`  // where the rules come from
	Reasons []string        `json:"reasons"` // why the gate did not pass, empty when it did
	Rules   []RuleOutcome   `json:"rules"`   // in the order of the policy
	Waivers []WaiverOutcome `json:"waivers"` // in the order of the policy
}

// RuleOutcome is one rule and how it was judged.
type RuleOutcome struct {
	ID          string        `json:"id"`
	Description string        `json:"description,omitempty"`
	Level       Level         `json:"level"`
	Status      Status        `json:"status"`
	Expr        string        `json:"expr"`
	FailsWhen   bool          `json:"fails_when"` // Expr is what must not be
	Reasons     []string      `json:"reasons"`    // how it was judged: the deciding comparisons, or what is missing
	Metrics     []MetricValue `json:"metrics"`    // each once, in the order of Expr
	Waiver      string        `json:"waiver,omitempty"`
	Origin      string        `json:"origin"`
	Line        int           `json:"line,omitempty"`   // from 1; 0 for rules that are in no file
	Column      int           `json:"column,omitempty"` // from 1
}

// MetricValue is one figure a rule used. Value is unknown where evidence is
// missing; AtLeast and AtMost are then what is known all the same.
type MetricValue struct {
	Metric     string             `json:"metric"` // with its selectors
	Unit       Unit               `json:"unit"`
	Value      analyze.Float      `json:"value"`
	AtLeast    analyze.Float      `json:"at_least"`
	AtMost     analyze.Float      `json:"at_most"`
	Word       string             `json:"word,omitempty"` // of UnitWord
	Known      bool               `json:"known"`
	Missing    []string           `json:"missing"`  // why it is not known
	From       string             `json:"from"`     // the place in the JSON report
	Evidence   []string           `json:"evidence"` // snapshot: source
	Confidence analyze.Confidence `json:"confidence"`
	Samples    int                `json:"samples"` // snapshots that have the evidence
}

// WaiverState is what a waiver did.
type WaiverState string

// The states of a waiver.
const (
	WaiverUsed     WaiverState = "used"     // it covers a rule that would count
	WaiverUnneeded WaiverState = "unneeded" // its rule does not need it
	WaiverExpired  WaiverState = "expired"  // it waives nothing; the rule counts again
)

// WaiverOutcome is one waiver and what it did.
type WaiverOutcome struct {
	Rule   string      `json:"rule"`
	Until  time.Time   `json:"until"`
	Reason string      `json:"reason"`
	State  WaiverState `json:"state"`
	Line   int         `json:"line,omitempty"`
	Column int         `json:"column,omitempty"`
}

// Evaluate holds every rule against the result. The time decides which waivers
// are in force; nothing else depends on it.
//
// The gate fails when a rule of level error fails; else it is unjudged when one
// cannot be judged, or when all of them were skipped so that nothing was
// judged; else it passes. Rules of level warning and note never decide it.
func Evaluate(p *Policy, r *analyze.Result, now time.Time) *Outcome {
	in := read(r)
	return p.outcome(now, func(rule *Rule) RuleOutcome { return in.judge(rule) })
}

// CannotJudge is the outcome when there is no result to judge, such as when
// the snapshots are not of one target: every rule is unjudged for that reason,
// and so is the gate, whatever is waived.
func CannotJudge(p *Policy, reason string, now time.Time) *Outcome {
	o := p.outcome(now, func(rule *Rule) RuleOutcome {
		o := outcomeOf(rule)
		o.Status, o.Reasons = StatusUnjudged, []string{reason}
		return o
	})
	o.Gate, o.Reasons = Unjudged, []string{reason}
	return o
}

func (p *Policy) outcome(now time.Time, judge func(*Rule) RuleOutcome) *Outcome {
	o := &Outcome{Policy: p.Origin, Reasons: []string{}, Rules: []RuleOutcome{}}
	for i := range p.Rules {
		o.Rules = append(o.Rules, judge(&p.Rules[i]))
	}
	o.Waivers = make([]WaiverOutcome, len(p.Waivers))
	for _, expired := range []bool{false, true} { // those in force first
		for i, w := range p.Waivers {
			if expired == !now.Before(w.Until) {
				o.Waivers[i] = applyWaiver(w, expired, o.Rules)
			}
		}
	}
	o.decide()
	return o
}

// applyWaiver lets the waiver cover its rule where the rule would count.
func applyWaiver(w Waiver, expired bool, rules []RuleOutcome) WaiverOutcome {
	o := WaiverOutcome{Rule: w.Rule, Until: w.Until.UTC(), Reason: w.Reason, State: WaiverUnneeded, Line: w.Line, Column: w.Column}
	for i := range rules {
		r := &rules[i]
		if r.ID != w.Rule {
			continue
		}
		switch {
		case expired:
			o.State = WaiverExpired
			if r.Status == StatusFail || r.Status == StatusUnjudged {
				r.Reasons = append(r.Reasons, fmt.Sprintf("its waiver has expired on %s (%s)", o.Until.Format(time.RFC3339), w.Reason))
			}
		case r.Status == StatusFail || r.Status == StatusUnjudged:
			r.Status, r.Waiver = StatusWaived, fmt.Sprintf("until %s: %s", o.Until.Format(time.RFC3339), w.Reason)
			o.State = WaiverUsed
		}
	}
	return o
}

// decide gives the gate from the statuses of the rules of level error.
func (o *Outcome) decide() {
	count := map[Status]int{}
	named := map[Status][]string{}
	gating := 0
	for i := range o.Rules {
		r := &o.Rules[i]
		if r.Level != LevelError {
			continue
		}
		gating++
		count[r.Status]++
		named[r.Status] = append(named[r.Status], r.ID)
	}
	switch {
	case count[StatusFail] > 0:
		o.Gate = Failed
	case count[StatusUnjudged] > 0 || gating > 0 && count[StatusSkipped] == gating:
		o.Gate = Unjudged
	default:
		o.Gate = Passed
	}
	if n := named[StatusFail]; n != nil {
		o.Reasons = append(o.Reasons, plural(len(n), "rule")+" failed: "+strings.Join(n, ", "))
	}
	if n := named[StatusUnjudged]; n != nil {
		o.Reasons = append(o.Reasons, plural(len(n), "rule")+" could not be judged: "+strings.Join(n, ", "))
	}
	if o.Gate == Unjudged && count[StatusUnjudged] == 0 {
		o.Reasons = append(o.Reasons, "every rule that counts was skipped for missing evidence: nothing was judged")
	}
}

func outcomeOf(rule *Rule) RuleOutcome {
	return RuleOutcome{
		ID: rule.ID, Description: rule.Description, Level: rule.Level, Expr: rule.Expr.String(),
		FailsWhen: rule.FailsWhen, Reasons: []string{}, Metrics: []MetricValue{},
		Origin: rule.Origin, Line: rule.Line, Column: rule.Column,
	}
}

// judge holds one rule against the result.
func (in *reading) judge(rule *Rule) RuleOutcome {
	o := outcomeOf(rule)
	e := evaluation{figures: map[string]*figure{}}
	samples := len(in.inputs)
	for _, m := range rule.Expr.metrics() {
		f := m.metric.read(in, m)
		samples = min(samples, f.samples)
		if rule.Confidence != "" && rank(f.confidence) > rank(rule.Confidence) {
			f.forget(m.metric.Words, fmt.Sprintf("its confidence is %s, the rule takes %s", f.confidence, rule.Confidence))
		}
		e.figures[m.String()] = &f
		o.Metrics = append(o.Metrics, f.value(m))
	}
	result := e.truth(rule.Expr.root)
	if rule.FailsWhen {
		result = result.not()
	}
	switch {
	case samples < rule.MinSamples:
		o.Status = StatusUnjudged
		o.Reasons = append(o.Reasons, fmt.Sprintf("%s with the evidence, the rule takes %d or more", plural(samples, "snapshot"), rule.MinSamples))
	case result == yes:
		o.Status, o.Reasons = StatusPass, e.because(rule.Expr.root)
	case result == no:
		o.Status, o.Reasons = StatusFail, e.because(rule.Expr.root)
	default:
		o.Status, o.Reasons = StatusUnjudged, e.missing(rule.Expr.root)
	}
	if o.Status == StatusUnjudged && rule.OnMissing == MissingSkips {
		o.Status = StatusSkipped
	}
	return o
}

func (f *figure) value(m *metricRef) MetricValue {
	v := MetricValue{
		Metric: m.String(), Unit: m.metric.Unit, Word: f.word, Known: f.known(),
		Missing: append([]string{}, f.missing...), From: f.from, Evidence: append([]string{}, f.evidence...),
		Confidence: f.confidence, Samples: f.samples,
	}
	if f.text {
		return v
	}
	switch {
	case f.exact():
		v.Value = snapshot.Known(f.low)
	case !f.none():
		if !math.IsInf(f.low, -1) {
			v.AtLeast = snapshot.Known(f.low)
		}
		if !math.IsInf(f.high, 1) {
			v.AtMost = snapshot.Known(f.high)
		}
	}
	return v
}

// evaluation is one rule's condition with its figures filled in.
type evaluation struct{ figures map[string]*figure }

// truth judges a condition, by Kleene's logic: what is unknown stays unknown
// unless the rest decides.
func (e *evaluation) truth(n node) truth {
	switch n := n.(type) {
	case *logic:
		x, y := e.truth(n.x), e.truth(n.y)
		if n.op == "and" {
			return min(x, y)
		}
		return max(x, y)
	case *negated:
		return e.truth(n.x).not()
	case *comparison:
		if m, literal, ok := wordComparison(n); ok {
			return e.figures[m.String()].compareWord(n.op, literal)
		}
		x, _ := e.number(n.x)
		y, _ := e.number(n.y)
		return x.compare(n.op, y)
	}
	return unknown
}

// wordComparison takes apart a comparison of a text metric with a string.
func wordComparison(n *comparison) (*metricRef, string, bool) {
	m, okM := n.x.(*metricRef)
	w, okW := n.y.(*word)
	if !okM || !okW {
		m, okM = n.y.(*metricRef)
		w, okW = n.x.(*word)
	}
	if !okM || !okW {
		return nil, "", false
	}
	return m, w.text, true
}

// number computes a figure, and says why it is not known exactly where that is
// not a metric's fault.
func (e *evaluation) number(n node) (interval, string) {
	switch n := n.(type) {
	case *quantity:
		return exactly(n.value), ""
	case *minus:
		x, why := e.number(n.x)
		return x.negative(), why
	case *metricRef:
		return e.figures[n.String()].interval, ""
	case *arithmetic:
		x, why := e.number(n.x)
		y, whyY := e.number(n.y)
		if why == "" {
			why = whyY
		}
		switch n.op {
		case "+":
			return x.plus(y), why
		case "-":
			return x.minus(y), why
		case "*":
			return x.times(y), why
		}
		if why == "" && y.low <= 0 && y.high >= 0 {
			why = show(n.y, levelOr) + " is 0 or may be: nothing to divide by"
		}
		return x.over(y), why
	}
	return anything, ""
}

// because lists the comparisons that made a condition what it is.
func (e *evaluation) because(n node) []string {
	var all []string
	own := e.truth(n)
	switch n := n.(type) {
	case *logic:
		for _, part := range []node{n.x, n.y} {
			if e.truth(part) == own {
				all = append(all, e.because(part)...)
			}
		}
	case *negated:
		return e.because(n.x)
	case *comparison:
		all = append(all, e.told(n, own))
	}
	return all
}

// told is a comparison as a sentence: "x is 26.2 MiB, not <= 8MiB".
func (e *evaluation) told(n *comparison, own truth) string {
	if m, literal, ok := wordComparison(n); ok {
		f := e.figures[m.String()]
		is := (n.op == "==") == (own == yes) // the word is the literal
		switch {
		case is:
			return m.String() + " is " + quote(literal)
		case f.sure:
			return m.String() + " is " + quote(f.word) + ", not " + quote(literal)
		}
		return m.String() + " is not " + quote(literal)
	}
	x, op, y := n.x, n.op, n.y
	if !hasMetric(x) { // 8MiB >= x reads as x <= 8MiB
		x, y = y, x
		op = map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}[op]
	}
	text := show(x, levelOr) + " is " + e.shown(x) + ", "
	if own == no {
		text += "not "
	}
	text += op + " " + show(y, levelOr)
	if hasMetric(y) {
		text += ", which is " + e.shown(y)
	}
	return text
}

// missing lists why a condition cannot be judged.
func (e *evaluation) missing(n node) []string {
	var all []string
	add := func(why string) {
		if !slices.Contains(all, why) {
			all = append(all, why)
		}
	}
	switch n := n.(type) {
	case *logic:
		for _, part := range []node{n.x, n.y} {
			if e.truth(part) == unknown {
				for _, why := range e.missing(part) {
					add(why)
				}
			}
		}
	case *negated:
		return e.missing(n.x)
	case *comparison:
		walk(n, func(n node) {
			m, ok := n.(*metricRef)
			if !ok {
				return
			}
			f := e.figures[m.String()]
			if f.known() {
				return
			}
			add(m.String() + " is " + e.shown(m) + ": " + strings.Join(f.missing, "; "))
		})
		for _, side := range []node{n.x, n.y} {
			if _, why := e.number(side); why != "" {
				add(why)
			}
		}
		if len(all) == 0 {
			add(show(n, levelOr) + ": the figures are too large to compute with")
		}
	}
	return all
}

// shown writes what is known of a figure.
func (e *evaluation) shown(n node) string {
	if m, ok := n.(*metricRef); ok {
		f := e.figures[m.String()]
		if f.text {
			if f.sure {
				return quote(f.word)
			}
			return "not certain"
		}
		return showInterval(f.interval, m.metric.Unit.dimension())
	}
	x, _ := e.number(n)
	return showInterval(x, e.dimension(n))
}

// dimension is the unit of a figure that has been checked.
func (e *evaluation) dimension(n node) dimension {
	c := checker{}
	return c.shape(n).dimension
}

func showInterval(i interval, d dimension) string {
	switch {
	case i.exact():
		return showNumber(i.low, d)
	case i.none():
		return "not known"
	case math.IsInf(i.high, 1):
		return "at least " + showNumber(i.low, d)
	case math.IsInf(i.low, -1):
		return "at most " + showNumber(i.high, d)
	}
	return "between " + showNumber(i.low, d) + " and " + showNumber(i.high, d)
}

// String is the value for people: "26.2 MiB", "at least 3", "not known".
func (v MetricValue) String() string {
	if v.Unit == UnitWord {
		if v.Known {
			return v.Word
		}
		return "not certain: " + v.Word
	}
	i := anything
	if n, ok := v.Value.Get(); ok {
		i = exactly(n)
	}
	if n, ok := v.AtLeast.Get(); ok {
		i.low = n
	}
	if n, ok := v.AtMost.Get(); ok {
		i.high = n
	}
	return showInterval(i, v.Unit.dimension())
}
