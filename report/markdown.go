package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

// The sizes that GitHub takes: a comment has at most 65,536 characters, the
// summary of a step 1 MiB. A little is left for what others add.
const (
	commentBytes     = 64_000
	stepSummaryBytes = 1_000_000
)

// Markdown writes a result as a comment for a pull request, in GitHub's
// flavour. Addresses and host names are masked unless o.ShowAddresses is set.
// What does not fit a comment is left out, and the comment says so. Its first
// line is a mark by which a later run can find and replace it.
func Markdown(w io.Writer, r *analyze.Result, gate *policy.Outcome, o Options) error {
	return writeMarkdown(w, r, gate, o, commentBytes)
}

// GitHubSummary writes the same for the summary of a workflow step, to be
// appended to the file that GITHUB_STEP_SUMMARY names.
func GitHubSummary(w io.Writer, r *analyze.Result, gate *policy.Outcome, o Options) error {
	return writeMarkdown(w, r, gate, o, stepSummaryBytes)
}

func writeMarkdown(w io.Writer, r *analyze.Result, gate *policy.Outcome, o Options, limit int) error {
	r, gate, m := masked(r, gate, o.ShowAddresses)
	d := &markdown{view: newView(r, o), mask: m, limit: limit - len(cutNote)}
	d.head()
	d.gateTable(gate)
	if len(r.Inputs) > 0 {
		d.stateTable()
		d.findingList()
		d.holderTable()
		d.connectionTable()
		d.transitionTable()
		d.fateTable()
		d.counterTable()
	}
	d.evidenceList()
	d.inputTable()
	if d.cut {
		d.b.WriteString(cutNote)
	}
	if _, err := io.WriteString(w, d.b.String()); err != nil {
		return fmt.Errorf("write Markdown: %w", err)
	}
	return nil
}

const cutNote = "\n_The rest does not fit here; `--format json` has all of it._\n"

// markdown is one comment while it is written.
type markdown struct {
	*view
	mask  *masker
	b     strings.Builder
	limit int  // bytes
	cut   bool // something was left out
}

// add writes one piece if it fits, and from the first that does not on nothing.
func (d *markdown) add(piece string) bool {
	if d.cut || d.b.Len()+len(piece) > d.limit {
		d.cut = true
		return false
	}
	d.b.WriteString(piece)
	return true
}

// special are the characters that mean something in Markdown, in HTML, to
// GitHub's mentions and references, or in its mathematics.
const special = "\\`*_[]<>&|~$@#"

// escaped is text that Markdown shows as it is, also in a table.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune(special, r) {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return unlinked.Replace(b.String())
}

// unlinked keeps GitHub from making links of addresses in a text.
var unlinked = strings.NewReplacer("://", "&#58;//", "www.", "www&#46;", "WWW.", "WWW&#46;")

// code is text in a code span, also in a table.
func code(text string) string {
	if strings.TrimSpace(text) == "" {
		return ""
	}
	if strings.Contains(text, "`") || strings.Contains(text, "\\") {
		return escaped(text) // a code span cannot hold them in every place
	}
	return "`" + strings.ReplaceAll(text, "|", "\\|") + "`"
}

// tabular is a table whose rows are written while they fit.
type tabular struct {
	title   string
	fold    bool // show it folded
	columns []string
	right   map[int]bool // columns of figures
	rows    [][]string   // Markdown already
	after   string       // a line below
}

func (d *markdown) table(t tabular) {
	if len(t.rows) == 0 && t.after == "" {
		return
	}
	var b strings.Builder
	end := ""
	if t.fold {
		fmt.Fprintf(&b, "\n<details><summary>%s</summary>\n\n", escaped(t.title))
		end = "\n</details>\n"
	} else {
		fmt.Fprintf(&b, "\n#### %s\n\n", escaped(t.title))
	}
	if len(t.rows) > 0 {
		b.WriteString("| " + strings.Join(t.columns, " | ") + " |\n|")
		for i := range t.columns {
			if t.right[i] {
				b.WriteString("---:|")
			} else {
				b.WriteString("---|")
			}
		}
		b.WriteByte('\n')
	}
	d.limit -= len(end)
	defer func() { d.limit += len(end) }()
	if !d.add(b.String()) {
		return
	}
	for _, row := range t.rows {
		if !d.add("| " + strings.Join(row, " | ") + " |\n") {
			break
		}
	}
	if t.after != "" {
		if len(t.rows) > 0 {
			d.add("\n")
		}
		d.add(t.after + "\n")
	}
	d.b.WriteString(end)
}

func (d *markdown) head() {
	s := &d.r.Summary
	d.add("<!-- leakscope -->\n")
	title := fmt.Sprintf("### leakscope: %s (%s)\n\n", strings.ToUpper(string(s.Verdict)), s.Confidence)
	if s.Verdict == "" {
		title = "### leakscope: no verdict\n\n"
	}
	d.add(title)
	for i, reason := range s.Reasons {
		if i == 0 {
			d.add(guarded(escaped(reason)) + "\n")
			continue
		}
		if i == 1 {
			d.add("\n")
		}
		d.add("- " + guarded(escaped(reason)) + "\n")
	}
	if len(d.r.Inputs) == 0 {
		return
	}
	line := escaped(d.target())
	if g := d.growth(); g != "" {
		line += "<br>" + escaped(g)
	}
	d.add("\n" + guarded(line) + "\n")
}

// guarded keeps the start of a line from being read as a list, a quote or a
// heading.
func guarded(text string) string {
	if text == "" {
		return text
	}
	if strings.ContainsRune("-+=", rune(text[0])) {
		return fmt.Sprintf("&#%d;", text[0]) + text[1:]
	}
	digits := strings.TrimLeft(text, "0123456789")
	if len(digits) < len(text) && (strings.HasPrefix(digits, ". ") || strings.HasPrefix(digits, ") ")) {
		return text[:len(text)-len(digits)] + fmt.Sprintf("&#%d;", digits[0]) + digits[1:]
	}
	return text
}

func (d *markdown) gateTable(gate *policy.Outcome) {
	if gate == nil {
		return
	}
	word := map[policy.Gate]string{policy.Passed: "passed", policy.Failed: "failed", policy.Unjudged: "could not be judged"}[gate.Gate]
	t := tabular{title: "Gate: " + word, columns: []string{"rule", "level", "status", "condition", "why"}}
	for i := range gate.Rules {
		r := &gate.Rules[i]
		why := strings.Join(r.Reasons, "; ")
		if r.Waiver != "" {
			why = "waived " + r.Waiver + "; " + why
		}
		condition := code(r.Expr)
		if r.FailsWhen {
			condition = "fails when " + condition
		}
		t.rows = append(t.rows, []string{escaped(r.ID), escaped(string(r.Level)), escaped(string(r.Status)), condition, escaped(why)})
	}
	var notes []string
	for _, w := range gate.Waivers {
		if w.State == policy.WaiverExpired {
			notes = append(notes, fmt.Sprintf("The waiver of %s has expired on %s and waives nothing: %s", escaped(w.Rule), w.Until.Format("2006-01-02"), escaped(w.Reason)))
		}
	}
	if len(gate.Reasons) > 0 {
		notes = append([]string{guarded(escaped(strings.Join(gate.Reasons, "; ")))}, notes...)
	}
	t.after = strings.Join(notes, "\n\n")
	d.table(t)
}

// deltaColumns names columns of figures, with a Δ after each where there is a
// change to show.
func (d *markdown) deltaColumns(first string, figures []string, last ...string) ([]string, map[int]bool) {
	all, right := []string{first}, map[int]bool{}
	for _, f := range figures {
		right[len(all)] = true
		all = append(all, f)
		if d.diff {
			right[len(all)] = true
			all = append(all, "Δ")
		}
	}
	return append(all, last...), right
}

func (d *markdown) with(value, change string) []string {
	if d.diff {
		return []string{value, change}
	}
	return []string{value}
}

func (d *markdown) stateTable() {
	s := statesOf(d.r)
	t := tabular{title: "Connections by state"}
	t.columns, t.right = d.deltaColumns("state", []string{"connections", "buffers", "retained"}, "share", "confidence")
	t.right[len(t.columns)-2] = true
	row := func(name string, connections []string, a, b analyze.Delta, confidence string) {
		cells := append([]string{name}, connections...)
		cells = append(cells, d.with(countOf(a.Head), countChange(a.Base, a.Head))...)
		cells = append(cells, d.with(bytesOf(b.Head), byteChange(b.Base, b.Head))...)
		t.rows = append(t.rows, append(cells, shareOf(b.Head, s.totalBytes.Head), confidence))
	}
	for _, r := range s.rows {
		row(escaped(string(r.State)), d.with(countOf(r.Connections.Head), countChange(r.Connections.Base, r.Connections.Head)), r.Allocations, r.Bytes, escaped(string(r.Confidence)))
	}
	row("no connection", d.with("", ""), s.restAllocations, s.restBytes, "")
	if s.split {
		row("not in use", d.with("", ""), s.freeAllocations, s.freeBytes, "")
	}
	row("**total**", d.with(countOf(s.connections.Head), countChange(s.connections.Base, s.connections.Head)), s.totalAllocations, s.totalBytes, "")
	var notes []string
	if note := d.notInUse(); note != "" {
		notes = append(notes, escaped(note))
	}
	for _, why := range append(d.whyNoHeap(), d.whyNoConnections()...) {
		notes = append(notes, unknown+" not known: "+escaped(why))
	}
	t.after = strings.Join(notes, "<br>\n")
	d.table(t)
}

func (d *markdown) findingList() {
	for i, f := range d.r.Findings[:d.o.top(len(d.r.Findings))] {
		var b strings.Builder
		if i == 0 {
			b.WriteString("\n#### Findings\n")
		}
		fmt.Fprintf(&b, "\n**%s: %s** (%s, %s)<br>\n%s\n\n", escaped(string(f.Severity)), escaped(f.Title), code(f.ID), escaped(string(f.Confidence)), escaped(d.findingAmount(&f)))
		for _, e := range f.Evidence {
			b.WriteString("- " + guarded(escaped(e.Text+prefixed(" — ", e.Source))) + "\n")
		}
		for _, part := range []struct{ label, text string }{{"fix", f.Remedy}, {"verify", f.Verify}, {"wrong if", f.Disproof}} {
			if part.text != "" {
				fmt.Fprintf(&b, "- **%s**: %s\n", part.label, escaped(part.text))
			}
		}
		if !d.add(b.String()) {
			return
		}
	}
}

func (d *markdown) holderTable() {
	all := holdersOf(d.r)
	shown := all[:d.o.top(len(all))]
	t := tabular{title: "Top holders" + ofTotal(len(shown), len(all)), fold: true}
	t.columns, t.right = d.deltaColumns("held by", []string{"buffers", "bytes"}, "path")
	for i := range shown {
		h := &shown[i]
		cells := append([]string{escaped(d.heldBy(h))}, d.with(countOf(h.Allocations.Head), countChange(h.Allocations.Base, h.Allocations.Head))...)
		cells = append(cells, d.with(bytesOf(h.Bytes.Head), byteChange(h.Bytes.Base, h.Bytes.Head))...)
		steps := make([]string, len(h.Path))
		for k, s := range h.Path {
			steps[k] = code(d.names.step(s))
		}
		t.rows = append(t.rows, append(cells, strings.Join(steps, " → ")))
	}
	d.table(t)
}

func (d *markdown) connectionTable() {
	all, _ := connectionsOf(d.r)
	shown := all[:d.o.top(len(all))]
	t := tabular{title: "Top connections" + ofTotal(len(shown), len(all)), fold: true}
	t.columns, t.right = d.deltaColumns("connection", []string{"buffers", "bytes"}, "state", "evidence")
	for i := range shown {
		c := &shown[i]
		name := cmp.Or(d.mask.peers(c.Local, c.Remote), d.names.class(c.Class), c.ID)
		cells := append([]string{escaped(name)}, d.with(countOf(c.Allocations.Head), countChange(c.Allocations.Base, c.Allocations.Head))...)
		cells = append(cells, d.with(bytesOf(c.Bytes.Head), byteChange(c.Bytes.Base, c.Bytes.Head))...)
		t.rows = append(t.rows, append(cells, escaped(d.lifecycle(c)), escaped(c.Reason)))
	}
	d.table(t)
}

func (d *markdown) transitionTable() {
	if !d.diff {
		return
	}
	t := tabular{
		title: "From state to state", fold: true, columns: []string{"from", "to", "connections", "held before", "held after", "kept"},
		right: map[int]bool{2: true, 3: true, 4: true, 5: true},
	}
	for _, x := range d.r.Transitions {
		t.rows = append(t.rows, []string{
			escaped(cmp.Or(string(x.From), "new")), escaped(cmp.Or(string(x.To), "gone")), count(x.Connections),
			bytesOf(x.BaseBytes), bytesOf(x.HeadBytes), bytesOf(x.RetainedBytes),
		})
	}
	d.table(t)
}

func (d *markdown) fateTable() {
	rows, bytes, allocations, _ := fatesOf(d.r)
	if len(rows) == 0 {
		return
	}
	t := tabular{title: "What became of every byte", fold: true}
	t.columns, t.right = d.deltaColumns("fate", []string{"buffers", "bytes"}, "meaning")
	row := func(name string, a, b analyze.Delta, meaning string) {
		cells := append([]string{name}, d.with(countOf(a.Head), countChange(a.Base, a.Head))...)
		cells = append(cells, d.with(bytesOf(b.Head), byteChange(b.Base, b.Head))...)
		t.rows = append(t.rows, append(cells, escaped(meaning)))
	}
	for _, f := range rows {
		row(escaped(string(f.Fate)), f.Allocations, f.Bytes, fateMeaning(f.Fate))
	}
	row("**total**", allocations, bytes, "")
	d.table(t)
}

func (d *markdown) counterTable() {
	t := tabular{title: "Beside other counters (they overlap: compared, never added)", fold: true}
	t.columns, t.right = d.deltaColumns("counter", []string{"value"}, "difference", "counts")
	t.right[len(t.columns)-2] = true
	for _, c := range d.r.Reconciliation {
		cells := append([]string{code(counterName(c.Counter))}, d.with(bytesOf(c.Head), byteChange(c.Base, c.Head))...)
		t.rows = append(t.rows, append(cells, signedBytesOf(c.DifferenceBytes), escaped(c.Covers+prefixed("; the difference: ", c.Explanation))))
	}
	d.table(t)
}

func (d *markdown) evidenceList() {
	gaps := gapsOf(d.r)
	if len(gaps) == 0 && len(d.r.Warnings) == 0 {
		return
	}
	var lines []string
	for i := range gaps {
		lines = append(lines, "- "+guarded(escaped(gaps[i].sentence(len(d.r.Inputs))+prefixed("; hint: ", gaps[i].source.Hint))))
	}
	for _, w := range d.r.Warnings {
		lines = append(lines, "- "+guarded(escaped(w)))
	}
	d.table(tabular{title: "Evidence that is missing", fold: true, after: strings.Join(lines, "\n")})
}

func (d *markdown) inputTable() {
	t := tabular{
		title: "Snapshots", fold: true, columns: []string{"file", "role", "taken (UTC)", "after", "off-heap", ""},
		right: map[int]bool{3: true, 4: true},
	}
	for _, in := range d.r.Inputs {
		note := ""
		if in.Partial {
			note = "partial"
		}
		t.rows = append(t.rows, []string{code(in.Name), escaped(in.Role), when(in.Started), secondsOf(in.ElapsedSeconds), bytesOf(in.TotalBytes), note})
	}
	d.table(t)
}
