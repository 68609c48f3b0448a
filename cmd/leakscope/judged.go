package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/leakscope/leakscope/policy"
)

// explainGate writes how each rule was judged: its condition, the value of each
// metric in it and where that was read, and the reasons.
func explainGate(w io.Writer, gate *policy.Outcome) error {
	var b strings.Builder
	fmt.Fprintf(&b, "gate: %s\n", gate.Gate)
	for _, r := range gate.Rules {
		fmt.Fprintf(&b, "\nrule %s (%s): %s\n  %s\n", r.ID, r.Level, r.Status, r.Expr)
		for _, m := range r.Metrics {
			fmt.Fprintf(&b, "  %s = %s\n    from: %s\n", m.Metric, m.String(), m.From)
			for _, missing := range m.Missing {
				fmt.Fprintf(&b, "    missing: %s\n", missing)
			}
		}
		for _, reason := range r.Reasons {
			fmt.Fprintf(&b, "  because: %s\n", reason)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
