package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/leakscope/leakscope/analyze"
)

// Level says what a rule's failure means.
type Level string

// The levels. Only rules of level error decide the gate; the others are shown.
const (
	LevelError   Level = "error"
	LevelWarning Level = "warning"
	LevelNote    Level = "note"
)

// OnMissing says what becomes of a rule that cannot be judged.
type OnMissing string

// The choices. With fail, the default, the gate does not pass: it says that it
// could not be judged. With skip the rule is left out.
const (
	MissingFails OnMissing = "fail"
	MissingSkips OnMissing = "skip"
)

// Rule is one condition of a policy.
type Rule struct {
	ID          string
	Description string
	Expr        *Expr
	// FailsWhen turns the rule round: Expr is the condition that fails the
	// gate (--fail-on) rather than the one that must hold.
	FailsWhen  bool
	Level      Level
	OnMissing  OnMissing
	MinSamples int                // 0: no bound
	Confidence analyze.Confidence // the least that counts; "": any
	// Origin is the policy file's name as given, "--fail-on", or "built-in";
	// Line and Column are the rule's place in it, Line 0 where it has none.
	Origin       string
	Line, Column int
}

// Waiver lets one rule fail until a time.
type Waiver struct {
	Rule         string
	Until        time.Time
	Reason       string
	Line, Column int
}

// Policy is a checked set of rules: every metric and label in it exists.
type Policy struct {
	Origin  string // file name as given, "--fail-on", or "built-in"; several joined by ", "
	Rules   []Rule
	Waivers []Waiver
}

// FailOn names the origin of expressions of the command line.
const FailOn = "--fail-on"

// FromExpressions makes a policy of conditions that fail the gate, one rule
// each, with the ids fail-on-1, fail-on-2, …. Note the direction: such an
// expression says what must not be, a rule's expr in a file what must hold.
// Faults are [Errors] that name --fail-on and the column.
func FromExpressions(all []string) (*Policy, error) {
	p := &Policy{Origin: FailOn}
	var errs Errors
	for i, text := range all {
		origin := FailOn
		if len(all) > 1 {
			origin = fmt.Sprintf("%s %d", FailOn, i+1)
		}
		e, faults := parseExpression(text)
		for _, f := range faults {
			errs = append(errs, &Error{Origin: origin, Column: f.at + 1, Message: f.message, Hint: f.hint})
		}
		p.Rules = append(p.Rules, Rule{
			ID: fmt.Sprintf("fail-on-%d", i+1), Expr: e, FailsWhen: true,
			Level: LevelError, OnMissing: MissingFails, Origin: FailOn,
		})
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return p, nil
}

// Join puts policies together. An id that occurs twice is an error.
func Join(all ...*Policy) (*Policy, error) {
	joined := &Policy{}
	var origins []string
	seen := map[string]Rule{}
	for _, p := range all {
		origins = append(origins, p.Origin)
		for _, r := range p.Rules {
			if first, ok := seen[r.ID]; ok {
				return nil, Errors{{
					Origin: r.Origin, Line: r.Line, Column: r.Column,
					Message: fmt.Sprintf("rule id %q is taken by a rule of %s", r.ID, first.Origin),
				}}
			}
			seen[r.ID] = r
			joined.Rules = append(joined.Rules, r)
		}
		joined.Waivers = append(joined.Waivers, p.Waivers...)
	}
	joined.Origin = strings.Join(origins, ", ")
	return joined, nil
}
