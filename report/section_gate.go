package report

import (
	"strings"

	"github.com/fatih/color"

	"github.com/leakscope/leakscope/policy"
)

func (v *view) gate(o *policy.Outcome) {
	if o == nil {
		return
	}
	v.heading("Gate", " ("+o.Policy+")")
	word := map[policy.Gate]string{policy.Passed: "PASSED", policy.Failed: "FAILED", policy.Unjudged: "NOT JUDGED"}[o.Gate]
	reasons := strings.Join(o.Reasons, "; ")
	v.labelled(word, v.gateColor(o.Gate), prefixed(": ", reasons))
	g := &grid{columns: []column{left("rule"), left("level"), left("status"), flexible("why")}}
	g.columns[0].flex = true
	for i := range o.Rules {
		r := &o.Rules[i]
		why := strings.Join(r.Reasons, "; ")
		if r.Waiver != "" {
			why = "waived " + r.Waiver + "; " + why
		}
		g.add(text(r.ID), text(string(r.Level)), painted(string(r.Status), v.statusColor(r.Status)), text(why))
	}
	if len(g.rows) > 0 {
		v.grid(g)
	}
	for _, w := range o.Waivers {
		if w.State == policy.WaiverExpired {
			v.item("  ! ", "the waiver of "+w.Rule+" has expired on "+w.Until.Format("2006-01-02 15:04 MST")+" and waives nothing: "+w.Reason)
		}
	}
}

func (v *view) gateColor(g policy.Gate) *color.Color {
	switch g {
	case policy.Passed:
		return v.p.good
	case policy.Failed:
		return v.p.bad
	}
	return v.p.warn
}

func (v *view) statusColor(s policy.Status) *color.Color {
	switch s {
	case policy.StatusPass:
		return v.p.good
	case policy.StatusFail:
		return v.p.bad
	}
	return v.p.warn
}
