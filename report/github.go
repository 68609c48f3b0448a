package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

// What GitHub shows of a step: ten annotations of each level. Longer texts are
// cut where an annotation would no longer be read.
const (
	annotationsPerLevel = 10
	annotationRunes     = 2000
	titleRunes          = 200
)

// annotation is one workflow command.
type annotation struct {
	level       string // error, warning, notice
	file        string // "": at no place
	line, col   int
	title, text string
}

// GitHub writes a result as workflow commands that become annotations: one for
// each rule that failed or could not be judged, else the verdict, then the
// findings. Addresses and host names are masked unless o.ShowAddresses is set.
// [GitHubSummary] writes what belongs beside them.
func GitHub(w io.Writer, r *analyze.Result, gate *policy.Outcome, o Options) error {
	r, gate, _ = masked(r, gate, o.ShowAddresses)
	v := newView(r, o)
	var all []annotation
	if gate == nil {
		all = append(all, verdictAnnotation(r))
	} else {
		all = ruleAnnotations(gate)
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		all = append(all, annotation{
			level: findingLevel(f.Severity, gate != nil), title: "leakscope: " + f.Title,
			text: v.findingAmount(f) + ". " + f.Remedy + prefixed(" (", f.ID) + ")",
		})
	}
	var b strings.Builder
	for _, a := range withinLimits(all) {
		b.WriteString(a.command())
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write annotations: %w", err)
	}
	return nil
}

func verdictAnnotation(r *analyze.Result) annotation {
	s := &r.Summary
	a := annotation{level: "notice", title: fmt.Sprintf("leakscope: %s (%s)", s.Verdict, s.Confidence), text: strings.Join(s.Reasons, "; ")}
	switch s.Verdict {
	case analyze.Leak:
		a.level = "error"
	case analyze.Growing, analyze.Inconclusive:
		a.level = "warning"
	}
	if a.text == "" {
		a.text = "no reason is given"
	}
	return a
}

func ruleAnnotations(gate *policy.Outcome) []annotation {
	var all []annotation
	for i := range gate.Rules {
		r := &gate.Rules[i]
		a := annotation{level: "notice", text: strings.Join(r.Reasons, "; ")}
		switch r.Status {
		case policy.StatusPass, policy.StatusSkipped:
			continue
		case policy.StatusWaived:
			a.title, a.text = "leakscope: "+r.ID+" is waived", r.Waiver+"; "+a.text
		case policy.StatusUnjudged:
			a.level, a.title = ruleLevel(r.Level), "leakscope: "+r.ID+" could not be judged"
		default:
			a.level, a.title = ruleLevel(r.Level), "leakscope: "+r.ID+" failed"
		}
		if r.Line > 0 {
			a.file, a.line, a.col = r.Origin, r.Line, r.Column
		}
		all = append(all, a)
	}
	for _, w := range gate.Waivers {
		if w.State == policy.WaiverExpired {
			all = append(all, annotation{
				level: "warning", file: originOf(gate, w.Rule), line: w.Line, col: w.Column,
				title: "leakscope: the waiver of " + w.Rule + " has expired", text: w.Until.Format("2006-01-02") + ": " + w.Reason,
			})
		}
	}
	if len(all) == 0 || gate.Gate != policy.Passed && len(gate.Rules) == 0 {
		all = append(all, annotation{level: "notice", title: "leakscope: the gate " + string(gate.Gate), text: strings.Join(append([]string{gate.Policy}, gate.Reasons...), "; ")})
	}
	return all
}

func originOf(gate *policy.Outcome, rule string) string {
	for i := range gate.Rules {
		if gate.Rules[i].ID == rule && gate.Rules[i].Line > 0 {
			return gate.Rules[i].Origin
		}
	}
	return ""
}

func ruleLevel(l policy.Level) string {
	switch l {
	case policy.LevelError:
		return "error"
	case policy.LevelWarning:
		return "warning"
	}
	return "notice"
}

// findingLevel is a notice where a gate decides: the rules say what fails.
func findingLevel(s analyze.Severity, gated bool) string {
	if gated || s == analyze.SeverityNote {
		return "notice"
	}
	return "warning"
}

// withinLimits keeps what GitHub shows of each level; the last of a level that
// has more says how many there are.
func withinLimits(all []annotation) []annotation {
	total, used := map[string]int{}, map[string]int{}
	for _, a := range all {
		total[a.level]++
	}
	var kept []annotation
	for _, a := range all {
		used[a.level]++
		switch n := total[a.level]; {
		case n > annotationsPerLevel && used[a.level] == annotationsPerLevel:
			rest := n - annotationsPerLevel + 1
			kept = append(kept, annotation{
				level: a.level, title: fmt.Sprintf("leakscope: %d more", rest),
				text: fmt.Sprintf("%d more of this level are in the step summary and the JSON report", rest),
			})
		case used[a.level] < annotationsPerLevel || n <= annotationsPerLevel:
			kept = append(kept, a)
		}
	}
	return kept
}

// command writes an annotation as a workflow command, which is one line.
func (a *annotation) command() string {
	var properties []string
	add := func(name, value string) { properties = append(properties, name+"="+commandProperty.Replace(value)) }
	if a.file != "" {
		add("file", a.file)
		if a.line > 0 {
			add("line", fmt.Sprint(a.line))
		}
		if a.col > 0 {
			add("col", fmt.Sprint(a.col))
		}
	}
	add("title", shortened(a.title, titleRunes))
	return fmt.Sprintf("::%s %s::%s\n", a.level, strings.Join(properties, ","), commandData.Replace(shortened(a.text, annotationRunes)))
}

// The runner takes these escapes back (actions/toolkit, command.ts).
var (
	commandData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	commandProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func shortened(text string, runes int) string {
	all := []rune(text)
	if len(all) <= runes {
		return text
	}
	return string(all[:runes-1]) + "…"
}
