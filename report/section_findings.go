package report

import (
	"fmt"
	"strings"

	"github.com/leakscope/leakscope/analyze"
)

func (v *view) findings() {
	if len(v.r.Findings) == 0 {
		return
	}
	v.heading("Findings", "")
	shown := v.r.Findings[:v.o.top(len(v.r.Findings))]
	for i := range shown {
		if i > 0 {
			v.b.WriteByte('\n')
		}
		v.finding(&shown[i])
	}
	if n := len(v.r.Findings) - len(shown); n > 0 {
		v.para("", fmt.Sprintf("%d more %s", n, plural(int64(n), "finding")), v.p.faint)
	}
}

func (v *view) finding(f *analyze.Finding) {
	v.labelled(string(f.Severity), v.p.severity(f.Severity), fmt.Sprintf(": %s (%s, %s)", f.Title, f.ID, f.Confidence))
	v.item("  ", v.findingAmount(f))
	for _, e := range f.Evidence {
		v.item("  - ", e.Text+prefixed(" [", e.Source)+strings.Repeat("]", min(len(e.Source), 1)))
	}
	for _, part := range []struct{ label, text string }{
		{"fix:      ", f.Remedy}, {"verify:   ", f.Verify}, {"wrong if: ", f.Disproof},
	} {
		if part.text != "" {
			v.item("  "+part.label, part.text)
		}
	}
}

func (v *view) findingAmount(f *analyze.Finding) string {
	var parts []string
	if f.Bytes.Head.IsKnown() || f.Bytes.Base.IsKnown() {
		parts = append(parts, bytesOf(f.Bytes.Head))
		if c := change(f.Bytes.Base, f.Bytes.Head); c.IsKnown() && v.diff {
			parts[0] += " (" + signedBytesOf(c) + ")"
		}
	} else {
		parts = append(parts, "bytes not known")
	}
	if n, ok := f.Connections.Head.Get(); ok && n > 0 {
		text := count(n) + " " + plural(n, "connection")
		if len(f.States) > 0 {
			text += " (" + joined(f.States, ", ") + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}
