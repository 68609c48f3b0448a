package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/fatih/color"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/units"
)

// ProofFormats lists the formats that show a comparison of two runs, by name.
// The others are about one run: rules with their places, series, a profile.
func ProofFormats() []string { return []string{"table", "json", "markdown", "github", "junit"} }

// WriteProof writes a comparison of two runs in the format of that name. It
// returns an [UnknownFormatError] for one that is not among [ProofFormats].
func WriteProof(format string, w io.Writer, p *analyze.Proof, o Options) error {
	var text string
	var err error
	switch format {
	case "table":
		text, err = proofTable(rewritten(p, visible), o)
	case "json":
		return encodeJSON(w, rewritten(p, nil))
	case "markdown":
		return proofMarkdown(w, p, o, commentBytes)
	case "github":
		text = proofAnnotations(maskedProof(p, o.ShowAddresses))
	case "junit":
		text, err = proofJUnit(rewritten(p, visible))
	default:
		return &UnknownFormatError{format}
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write %s report: %w", format, err)
	}
	return nil
}

// ProofSummary writes the same as Markdown, for the summary of a workflow step.
func ProofSummary(w io.Writer, p *analyze.Proof, o Options) error {
	return proofMarkdown(w, p, o, stepSummaryBytes)
}

// maskedProof is masked for both runs together, so that one host has one name.
func maskedProof(p *analyze.Proof, show bool) *analyze.Proof {
	if show {
		return rewritten(p, visible)
	}
	both := &analyze.Result{Summary: analyze.Summary{Reasons: p.Reasons}}
	for _, r := range []*analyze.Result{p.Before, p.After} {
		if r != nil {
			both.Connections = append(both.Connections, r.Connections...)
			both.Inputs = append(both.Inputs, r.Inputs...)
		}
	}
	_, _, m := masked(both, nil, false)
	return rewritten(p, func(s string) string { return m.text(visible(s)) })
}

// proofRun is one of the two runs.
type proofRun struct {
	name   string
	result *analyze.Result // nil: not compared in itself
}

func runsOf(p *analyze.Proof) []proofRun {
	return []proofRun{{"before", p.Before}, {"after", p.After}}
}

func (r proofRun) verdict() string {
	if r.result == nil {
		return unknown
	}
	return string(r.result.Summary.Verdict)
}

func (r proofRun) target() string {
	if r.result == nil || len(r.result.Inputs) == 0 {
		return unknown
	}
	return describeTarget(&r.result.Inputs[0].Target)
}

func (r proofRun) snapshots() string {
	if r.result == nil {
		return unknown
	}
	var names []string
	for _, in := range r.result.Inputs {
		names = append(names, in.Name)
	}
	return strings.Join(names, ", ")
}

// rateName is the name of a rate in words, and its unit.
func rateName(name string) (words, unit string) {
	switch name {
	case "growth_bytes_per_second":
		return "growth", "/s"
	case "growth_bytes_per_closed_connection":
		return "growth for each closed connection", ""
	}
	return name, ""
}

func rateOf(f analyze.Float, unit string) string {
	v, ok := f.Get()
	if !ok || math.Abs(v) > math.MaxInt64/2 {
		return unknown
	}
	return units.Bytes(int64(math.Round(v))) + unit
}

func severityOf(s analyze.Severity) string {
	if s == "" {
		return "none"
	}
	return string(s)
}

// proofTable writes a proof for a terminal.
func proofTable(p *analyze.Proof, o Options) (string, error) {
	v := newView(&analyze.Result{}, o)
	title := strings.ToUpper(string(p.Outcome))
	v.labelled(title, v.p.outcome(p.Outcome), " ("+string(p.Confidence)+")")
	for _, reason := range p.Reasons {
		v.item("  - ", reason)
	}
	if len(p.Rates) > 0 {
		v.heading("Rates", "")
		g := &grid{columns: []column{left("rate"), figure("before"), figure("after")}}
		for _, r := range p.Rates {
			name, unit := rateName(r.Name)
			g.add(text(name), text(rateOf(r.Before, unit)), text(rateOf(r.After, unit)))
		}
		v.grid(g)
	}
	if len(p.Findings) > 0 {
		v.heading("Findings", "")
		g := &grid{columns: []column{left(""), flexible("finding"), left("before"), left("after"), figure("growth"), figure("then")}}
		for _, f := range p.Findings {
			g.add(painted(string(f.Change), v.p.change(f)), text(f.ID), text(severityOf(f.Before)), text(severityOf(f.After)),
				text(rateOf(f.BeforeBytesPerSecond, "/s")), text(rateOf(f.AfterBytesPerSecond, "/s")))
		}
		v.grid(g)
	}
	v.heading("Runs", "")
	g := &grid{columns: []column{left("run"), left("verdict"), flexible("process"), flexible("snapshots")}}
	for _, r := range runsOf(p) {
		g.add(text(r.name), text(r.verdict()), text(r.target()), text(r.snapshots()))
	}
	v.grid(g)
	return v.b.String(), v.err
}

func (p palette) outcome(o analyze.Outcome) *color.Color {
	switch o {
	case analyze.Fixed:
		return p.good
	case analyze.Improved, analyze.Unproven:
		return p.warn
	}
	return p.bad
}

func (p palette) change(f analyze.FindingChange) *color.Color {
	switch {
	case f.After == analyze.SeverityError:
		return p.bad
	case f.Change == analyze.ChangeGone:
		return p.good
	}
	return p.warn
}

func proofMarkdown(w io.Writer, p *analyze.Proof, o Options, limit int) error {
	p = maskedProof(p, o.ShowAddresses)
	d := &markdown{view: newView(&analyze.Result{}, o), limit: limit - len(cutNote)}
	d.add("<!-- leakscope proof -->\n")
	d.add(fmt.Sprintf("### leakscope: %s (%s)\n\n", strings.ToUpper(string(p.Outcome)), p.Confidence))
	for _, reason := range p.Reasons {
		d.add("- " + guarded(escaped(reason)) + "\n")
	}
	rates := tabular{title: "Rates", columns: []string{"rate", "before", "after"}, right: map[int]bool{1: true, 2: true}}
	for _, r := range p.Rates {
		name, unit := rateName(r.Name)
		rates.rows = append(rates.rows, []string{escaped(name), rateOf(r.Before, unit), rateOf(r.After, unit)})
	}
	d.table(rates)
	findings := tabular{
		title: "Findings", columns: []string{"", "finding", "before", "after", "growth before", "growth after"}, right: map[int]bool{4: true, 5: true},
	}
	for _, f := range p.Findings {
		findings.rows = append(findings.rows, []string{
			string(f.Change), escaped(f.Title) + "<br>" + code(f.ID), severityOf(f.Before), severityOf(f.After),
			rateOf(f.BeforeBytesPerSecond, "/s"), rateOf(f.AfterBytesPerSecond, "/s"),
		})
	}
	d.table(findings)
	runs := tabular{title: "Runs", fold: true, columns: []string{"run", "verdict", "process", "snapshots"}}
	for _, r := range runsOf(p) {
		runs.rows = append(runs.rows, []string{r.name, escaped(r.verdict()), escaped(r.target()), escaped(r.snapshots())})
	}
	d.table(runs)
	if d.cut {
		d.b.WriteString(cutNote)
	}
	if _, err := io.WriteString(w, d.b.String()); err != nil {
		return fmt.Errorf("write Markdown: %w", err)
	}
	return nil
}

// proofAnnotations writes workflow commands: one for the outcome, and one for
// each finding.
func proofAnnotations(p *analyze.Proof) string {
	level := map[analyze.Outcome]string{analyze.Fixed: "notice"}[p.Outcome]
	if level == "" {
		level = "error" // not fixed, or not decided: neither is a pass
	}
	all := []annotation{{level: level, title: "leakscope: " + string(p.Outcome), text: strings.Join(p.Reasons, "; ")}}
	for _, f := range p.Findings {
		level := "notice"
		if f.After == analyze.SeverityError || f.After == analyze.SeverityWarning {
			level = "warning"
		}
		all = append(all, annotation{
			level: level, title: "leakscope: " + string(f.Change) + ": " + f.Title,
			text: fmt.Sprintf("before: %s, after: %s (%s)", severityOf(f.Before), severityOf(f.After), f.ID),
		})
	}
	var b strings.Builder
	for _, a := range withinLimits(all) {
		b.WriteString(a.command())
	}
	return b.String()
}

// proofJUnit writes one case for the outcome, and one for each finding: it
// fails where the finding is an error after the change.
func proofJUnit(p *analyze.Proof) (string, error) {
	suite := junitSuite{
		Name: "leakscope proof", Package: "leakscope", Hostname: "localhost", Timestamp: "1970-01-01T00:00:00", Time: "0",
		Properties: []junitProperty{{"outcome", string(p.Outcome)}, {"confidence", string(p.Confidence)}},
		Out:        strings.Join(p.Reasons, "\n"),
	}
	for _, r := range runsOf(p) {
		suite.Properties = append(suite.Properties, junitProperty{r.name, r.verdict()})
		if r.result != nil {
			if n := len(r.result.Inputs); n > 0 && !r.result.Inputs[n-1].Started.IsZero() {
				suite.Timestamp = r.result.Inputs[n-1].Started.UTC().Format("2006-01-02T15:04:05")
			}
		}
	}
	reasons := strings.Join(p.Reasons, "\n")
	problem := &junitProblem{string(p.Outcome), shortened(strings.Join(p.Reasons, "; "), annotationRunes), reasons}
	outcome := junitCase{Name: "the change fixes the leak", Class: "leakscope.proof", Time: "0"}
	switch p.Outcome {
	case analyze.Fixed:
	case analyze.Unproven:
		outcome.Error = problem
		suite.Errors++
	default:
		outcome.Failure = problem
		suite.Failures++
	}
	suite.Cases = append(suite.Cases, outcome)
	for _, f := range p.Findings {
		c := junitCase{Name: f.ID, Class: "leakscope.proof", Time: "0"}
		if f.After == analyze.SeverityError {
			c.Failure = &junitProblem{string(f.Change), f.Title, fmt.Sprintf("before: %s, after: %s", severityOf(f.Before), severityOf(f.After))}
			suite.Failures++
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Tests = len(suite.Cases)
	out, err := xml.MarshalIndent(junitSuites{Suites: []junitSuite{suite}}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write JUnit report: %w", err)
	}
	return xml.Header + string(out) + "\n", nil
}
