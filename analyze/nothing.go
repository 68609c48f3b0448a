package analyze

// Nothing is the result of a comparison that could not be made: everything is
// unknown, and the reason is the only one.
func Nothing(reason error) *Result {
	return &Result{
		Schema: Schema, FormatVersion: FormatVersion,
		Inputs: []Input{}, States: []StateRow{}, Fates: []FateRow{}, Holders: []HolderRow{}, Connections: []ConnectionRow{},
		Transitions: []Transition{}, Findings: []Finding{}, Trends: []Trend{}, Reconciliation: []Reconciliation{},
		Residency: []Residency{}, Sources: []SourceRow{}, Warnings: []string{},
		Summary: Summary{Verdict: Inconclusive, Confidence: NoneKnown, Reasons: []string{reason.Error()}, NextSteps: []string{}},
	}
}
