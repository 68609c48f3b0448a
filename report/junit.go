package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

// The elements of a JUnit report, as Jenkins' and Ant's schemas have them.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Package    string          `xml:"package,attr"`
		ID         int             `xml:"id,attr"`
		Hostname   string          `xml:"hostname,attr"`
		Timestamp  string          `xml:"timestamp,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
		Out        string          `xml:"system-out"`
		Err        string          `xml:"system-err"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Skipped *junitSkipped `xml:"skipped"`
		Error   *junitProblem `xml:"error"`
		Failure *junitProblem `xml:"failure"`
	}
	junitSkipped struct {
		Text string `xml:",chardata"`
	}
	junitProblem struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the rules of the gate as a JUnit report, one case a rule: a rule
// of level error that fails is a failure, one that could not be judged an
// error, a waived or skipped one is skipped. Rules of other levels decide
// nothing: where they fail, they are skipped with what they found.
func JUnit(w io.Writer, r *analyze.Result, gate *policy.Outcome, _ Options) error {
	if gate == nil {
		return ErrNeedsGate
	}
	r, gate = rewritten(r, visible), rewritten(gate, visible)
	suite := junitSuite{
		Name: "leakscope", Package: "leakscope", Hostname: "localhost", Timestamp: "1970-01-01T00:00:00", Time: "0",
		Properties: []junitProperty{
			{"gate", string(gate.Gate)}, {"policy", gate.Policy}, {"verdict", string(r.Summary.Verdict)}, {"confidence", string(r.Summary.Confidence)},
		},
		Out: strings.Join(r.Summary.Reasons, "\n"), Err: strings.Join(r.Warnings, "\n"),
	}
	if n := len(r.Inputs); n > 0 && !r.Inputs[n-1].Started.IsZero() {
		suite.Timestamp = r.Inputs[n-1].Started.UTC().Format("2006-01-02T15:04:05")
	}
	for i := range gate.Rules {
		suite.add(&gate.Rules[i])
	}
	if gate.Gate != policy.Passed && suite.Failures+suite.Errors == 0 {
		// All that counts was skipped: the report must not look like a pass.
		reasons := strings.Join(gate.Reasons, "\n")
		suite.Tests++
		suite.Errors++
		suite.Cases = append(suite.Cases, junitCase{
			Name: "gate", Class: "leakscope", Time: "0",
			Error: &junitProblem{"unjudged", shortened(strings.ReplaceAll(reasons, "\n", "; "), annotationRunes), reasons},
		})
	}
	text, err := xml.MarshalIndent(junitSuites{Suites: []junitSuite{suite}}, "", "  ")
	if err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	if _, err := io.WriteString(w, xml.Header+string(text)+"\n"); err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	return nil
}

func (s *junitSuite) add(rule *policy.RuleOutcome) {
	c := junitCase{Name: rule.ID, Class: "leakscope", Time: "0"}
	detail := rule.Expr + "\n" + strings.Join(rule.Reasons, "\n")
	if rule.Line > 0 {
		detail += fmt.Sprintf("\n%s:%d:%d", rule.Origin, rule.Line, rule.Column)
	}
	message := shortened(strings.Join(rule.Reasons, "; "), annotationRunes)
	decides := rule.Level == policy.LevelError
	switch {
	case rule.Status == policy.StatusPass:
	case rule.Status == policy.StatusFail && decides:
		c.Failure = &junitProblem{"rule", message, detail}
		s.Failures++
	case rule.Status == policy.StatusUnjudged && decides:
		c.Error = &junitProblem{"unjudged", message, detail}
		s.Errors++
	default:
		why := string(rule.Status)
		if rule.Waiver != "" {
			why = "waived " + rule.Waiver
		} else if rule.Status != policy.StatusSkipped {
			why = string(rule.Level) + " only, " + why
		}
		c.Skipped = &junitSkipped{why + ": " + strings.Join(rule.Reasons, "; ")}
		s.Skipped++
	}
	s.Tests++
	s.Cases = append(s.Cases, c)
}
