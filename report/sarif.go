package report

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

// The parts of SARIF 2.1.0 (OASIS, errata 01) that are written.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		ColumnKind  string            `json:"columnKind"`
		Results     []sarifResult     `json:"results"`
		Properties  map[string]any    `json:"properties"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string             `json:"id"`
		ShortDescription sarifText          `json:"shortDescription"`
		FullDescription  sarifText          `json:"fullDescription"`
		Help             sarifText          `json:"help"`
		Default          sarifConfiguration `json:"defaultConfiguration"`
	}
	sarifConfiguration struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		ExecutionSuccessful bool                `json:"executionSuccessful"`
		Notifications       []sarifNotification `json:"toolExecutionNotifications"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Kind         string             `json:"kind"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Properties   map[string]any     `json:"properties"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	sarifLogical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
)

const (
	sarifSchema    = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	informationURI = "https://github.com/leakscope/leakscope"
	// sarifHolders is how many holder paths stand beside a result.
	sarifHolders = 3
)

// SARIF writes the rules of the gate as a SARIF 2.1.0 log: a result for each
// rule that failed, could not be judged (so that a viewer never shows nothing
// where evidence was missing), or was waived, which is suppressed. Its place
// is the rule's line in the policy file; for a rule that is in no file it is
// the last snapshot, because a result without a file is refused by GitHub.
// Addresses and host names are masked unless o.ShowAddresses is set.
func SARIF(w io.Writer, r *analyze.Result, gate *policy.Outcome, o Options) error {
	if gate == nil {
		return ErrNeedsGate
	}
	r, gate, _ = masked(r, gate, o.ShowAddresses)
	run := sarifRun{
		Tool: sarifTool{sarifDriver{
			Name: "leakscope", Version: r.Tool.Version, InformationURI: informationURI, Rules: []sarifRule{},
		}},
		Invocations: []sarifInvocation{{ExecutionSuccessful: true, Notifications: []sarifNotification{}}},
		ColumnKind:  "unicodeCodePoints",
		Results:     []sarifResult{},
		Properties:  map[string]any{"gate": gate.Gate, "verdict": r.Summary.Verdict, "confidence": r.Summary.Confidence},
	}
	note := func(level, text string) {
		n := &run.Invocations[0].Notifications
		*n = append(*n, sarifNotification{level, sarifText{text}})
	}
	for i := range gate.Rules {
		rule := &gate.Rules[i]
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(rule))
		switch rule.Status {
		case policy.StatusPass:
		case policy.StatusSkipped:
			note("note", rule.ID+" was skipped: "+strings.Join(rule.Reasons, "; "))
		default:
			run.Results = append(run.Results, sarifResultOf(r, rule, i))
		}
	}
	if gate.Gate == policy.Unjudged {
		note("error", "the gate could not be judged: "+strings.Join(gate.Reasons, "; "))
	}
	for _, g := range gapsOf(r) {
		note("note", g.sentence(len(r.Inputs)))
	}
	for _, text := range r.Warnings {
		note("warning", text)
	}
	return encodeJSON(w, sarifLog{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{run}})
}

func sarifLevel(l policy.Level) string { return string(cmp.Or(l, policy.LevelError)) }

func sarifRuleOf(rule *policy.RuleOutcome) sarifRule {
	must := "must hold: "
	if rule.FailsWhen {
		must = "must not hold: "
	}
	return sarifRule{
		ID: rule.ID, ShortDescription: sarifText{cmp.Or(rule.Description, must+rule.Expr)},
		FullDescription: sarifText{must + rule.Expr},
		Help:            sarifText{"leakscope check --explain shows each figure of this rule and where it comes from"},
		Default:         sarifConfiguration{sarifLevel(rule.Level)},
	}
}

func sarifResultOf(r *analyze.Result, rule *policy.RuleOutcome, index int) sarifResult {
	text := map[policy.Status]string{
		policy.StatusFail: "failed: ", policy.StatusUnjudged: "could not be judged: ", policy.StatusWaived: "waived " + rule.Waiver + "; ",
	}[rule.Status] + strings.Join(rule.Reasons, "; ")
	if len(r.Summary.Reasons) > 0 {
		text += fmt.Sprintf(". Verdict %s: %s", r.Summary.Verdict, r.Summary.Reasons[0])
	}
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Severity != analyze.SeverityNote {
			text += fmt.Sprintf(". %s: %s", f.Title, f.Remedy)
			break
		}
	}
	result := sarifResult{
		RuleID: rule.ID, RuleIndex: index, Kind: "fail", Level: sarifLevel(rule.Level), Message: sarifText{text},
		Locations: []sarifLocation{{
			Physical: sarifPhysical{
				Artifact: sarifArtifact{sarifURI(rule, r)},
				Region:   sarifRegion{StartLine: max(rule.Line, 1), StartColumn: rule.Column},
			},
			Logical: sarifHolderNames(r),
		}},
		Fingerprints: map[string]string{"leakscope/rule/v1": rule.Origin + "#" + rule.ID},
		Properties:   map[string]any{"status": rule.Status},
	}
	if rule.Line == 0 {
		result.Locations[0].Physical.Region.StartColumn = 0
	}
	if rule.Status == policy.StatusWaived {
		result.Suppressions = []sarifSuppression{{Kind: "external", Status: "accepted", Justification: rule.Waiver}}
	}
	return result
}

// sarifURI is the file of a rule as a URI reference, relative where the name
// is.
func sarifURI(rule *policy.RuleOutcome, r *analyze.Result) string {
	name := rule.Origin
	if rule.Line == 0 {
		name = "leakscope"
		if n := len(r.Inputs); n > 0 && r.Inputs[n-1].Name != "" {
			name = r.Inputs[n-1].Name
		}
	}
	name = path.Clean(strings.ReplaceAll(name, "\\", "/"))
	switch {
	case len(name) > 2 && name[1] == ':' && name[2] == '/': // a drive
		return (&url.URL{Scheme: "file", Path: "/" + name}).String()
	case path.IsAbs(name):
		return (&url.URL{Scheme: "file", Path: name}).String()
	}
	return (&url.URL{Path: name}).String()
}

// sarifHolderNames are the paths that keep most, as far as they grew.
func sarifHolderNames(r *analyze.Result) []sarifLogical {
	var names []sarifLogical
	seen := map[string]bool{}
	for _, h := range holdersOf(r) {
		grown, known := change(h.Bytes.Base, h.Bytes.Head).Get()
		if len(names) == sarifHolders || known && grown <= 0 {
			break
		}
		name := strings.Join(h.Path, " → ")
		if name != "" && !seen[name] {
			names = append(names, sarifLogical{name, "member"})
		}
		seen[name] = true
	}
	return names
}
