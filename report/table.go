package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/fatih/color"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/snapshot"
)

// Table writes a result for a terminal: the verdict first, then why, then the
// evidence. It fits o.Width columns and reads without colour. gate is nil when
// no policy was held against the result.
func Table(w io.Writer, r *analyze.Result, gate *policy.Outcome, o Options) error {
	v := newView(rewritten(r, visible), o)
	v.verdict()
	v.gate(rewritten(gate, visible))
	if len(r.Inputs) > 0 {
		v.states()
		v.holders()
		v.retainers()
		v.connections()
		v.transitions()
		v.fates()
		v.trends()
		v.findings()
		v.reconciliation()
		v.residency()
	}
	v.evidence()
	v.inputs()
	v.nextSteps()
	return v.flush(w)
}

// view is one report for a terminal while it is written.
type view struct {
	r     *analyze.Result
	o     Options
	width int
	p     palette
	names classNames
	diff  bool // two snapshots or more: there is a change to show
	b     strings.Builder
	err   error // the first
}

func newView(r *analyze.Result, o Options) *view {
	return &view{r: r, o: o, width: o.width(), p: newPalette(o.Color), names: namesOf(r), diff: len(r.Inputs) > 1}
}

func (v *view) flush(w io.Writer) error {
	if v.err != nil {
		return v.err
	}
	if _, err := io.WriteString(w, v.b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (v *view) heading(title, aside string) {
	v.b.WriteByte('\n')
	lines := wrap(title+aside, v.width)
	if len(lines) == 1 {
		v.b.WriteString(paint(v.p.heading, title) + paint(v.p.faint, aside) + "\n")
		return
	}
	v.b.WriteString(paint(v.p.heading, title) + "\n")
	v.para("  ", strings.TrimLeft(aside, " "), v.p.faint)
}

// para writes a paragraph, each line after indent.
func (v *view) para(indent, text string, c *color.Color) {
	for _, line := range wrap(text, v.width-columns(indent)) {
		v.b.WriteString(indent + paint(c, line) + "\n")
	}
}

// item writes a paragraph whose first line has a mark of its own.
func (v *view) item(mark, text string) {
	writeWrapped(&v.b, mark, strings.Repeat(" ", columns(mark)), text, v.width)
}

// labelled writes a paragraph after a coloured word.
func (v *view) labelled(word string, c *color.Color, text string) {
	lines := wrap(word+text, v.width)
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, word); ok && i == 0 {
			line = paint(c, word) + rest
		}
		v.b.WriteString(line + "\n")
	}
}

func (v *view) grid(g *grid) {
	if err := g.render(&v.b, v.width, v.p); err != nil && v.err == nil {
		v.err = err
	}
}

// verdict writes the answer and the sentences it rests on.
func (v *view) verdict() {
	s := &v.r.Summary
	reason := ""
	if len(s.Reasons) > 0 {
		reason = s.Reasons[0]
	}
	if s.Verdict == "" {
		v.labelled("NO VERDICT", v.p.warn, prefixed(": ", cmp.Or(reason, "there is nothing to judge")))
	} else {
		v.labelled(strings.ToUpper(string(s.Verdict)), v.p.verdict(s.Verdict), fmt.Sprintf(" (%s): %s", s.Confidence, reason))
	}
	for _, reason := range s.Reasons[min(1, len(s.Reasons)):] {
		v.item("  - ", reason)
	}
	for _, f := range v.r.Findings[:min(3, len(v.r.Findings))] {
		if f.Severity != analyze.SeverityNote {
			v.item("  - ", "cause: "+f.Cause+", "+f.Title)
		}
	}
	if len(v.r.Inputs) == 0 {
		return
	}
	v.b.WriteByte('\n')
	v.para("", v.target(), v.p.faint)
	if line := v.growth(); line != "" {
		v.para("", line, v.p.faint)
	}
}

// target says what was looked at, and how often.
func (v *view) target() string {
	text := describeTarget(&v.r.Inputs[len(v.r.Inputs)-1].Target)
	if n := len(v.r.Inputs); n > 1 {
		text += fmt.Sprintf("; %d snapshots", n)
		if s, ok := v.r.Summary.ElapsedSeconds.Get(); ok {
			text += " over " + units.Seconds(s)
		}
		return text
	}
	return text + "; one snapshot"
}

func describeTarget(t *snapshot.Target) string {
	name := cmp.Or(t.Name, t.Executable, "target without a name")
	if t.PID == 0 {
		return name + cmp.Or(prefixed(", heap dump ", t.HeapDumpFile), ", no process")
	}
	text := fmt.Sprintf("%s, pid %d", name, t.PID)
	if t.NamespacePID != 0 && t.NamespacePID != t.PID {
		text += fmt.Sprintf(" (%d in its container)", t.NamespacePID)
	}
	return text + prefixed(", ", string(t.Runtime))
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// growth is the line of totals.
func (v *view) growth() string {
	s := &v.r.Summary
	if !s.RetainedBytes.Head.IsKnown() && !s.RetainedBytes.Base.IsKnown() {
		return ""
	}
	inWords := func(n analyze.Int) string {
		if n.IsKnown() {
			return bytesOf(n)
		}
		return "not known"
	}
	text := "off-heap memory in use: " + inWords(s.RetainedBytes.Head)
	if !v.diff {
		return text
	}
	text = fmt.Sprintf("off-heap memory in use: %s, then %s", inWords(s.RetainedBytes.Base), inWords(s.RetainedBytes.Head))
	if d := change(s.RetainedBytes.Base, s.RetainedBytes.Head); d.IsKnown() {
		text += " (" + signedBytesOf(d)
		if rate, ok := s.GrowthBytesPerSecond.Get(); ok {
			text += ", " + signedRate(rate)
		}
		text += ")"
	}
	if n, ok := s.ClosedConnections.Get(); ok {
		text += fmt.Sprintf("; %s %s ended meanwhile", count(n), plural(n, "connection"))
		if each, ok := s.GrowthBytesPerClosedConnection.Get(); ok {
			text += ", " + units.SignedBytes(int64(each)) + " for each"
		}
	}
	// Two points tell no more of an allocation's age than this.
	kept, okKept := s.RetainedBytes.Retained.Get()
	fresh, okNew := s.RetainedBytes.New.Get()
	if seconds, ok := s.ElapsedSeconds.Get(); ok && okKept && okNew && kept+fresh > 0 {
		text += fmt.Sprintf("; %s of it has been held for %s or longer, %s is younger", units.Bytes(kept), units.Seconds(seconds), units.Bytes(fresh))
	}
	return text
}

func signedRate(bytesPerSecond float64) string {
	if bytesPerSecond > 0 {
		return "+" + units.Rate(bytesPerSecond)
	}
	return units.Rate(bytesPerSecond)
}

func (v *view) nextSteps() {
	if len(v.r.Summary.NextSteps) == 0 {
		return
	}
	v.heading("Next", "")
	for _, step := range v.r.Summary.NextSteps {
		v.item("  - ", step)
	}
}

// isUnknown notes below a table what its "–" stand for.
func (v *view) isUnknown(what string, why []string) {
	if len(why) == 0 {
		return
	}
	v.item(unknown+" ", what+": "+strings.Join(why, "; "))
}
