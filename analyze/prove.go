package analyze

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// ProofSchema identifies the JSON form of a Proof.
const ProofSchema = "urn:leakscope:schema:proof:1"

// Outcome is the one-word answer to whether a change fixed a leak.
type Outcome string

// The outcomes.
const (
	Fixed     Outcome = "fixed"
	Improved  Outcome = "improved"
	Unchanged Outcome = "unchanged"
	Worse     Outcome = "worse"
	Unproven  Outcome = "inconclusive"
)

// Proof compares two runs of a program, one before a change and one after it.
// They are different processes, so only rates and findings are compared, never
// addresses.
type Proof struct {
	Schema        string          `json:"schema"`
	FormatVersion string          `json:"format_version"`
	Tool          snapshot.Tool   `json:"tool"`
	Outcome       Outcome         `json:"outcome"`
	Confidence    Confidence      `json:"confidence"`
	Reasons       []string        `json:"reasons"`
	Rates         []RateChange    `json:"rates"`
	Findings      []FindingChange `json:"findings"`
	Before        *Result         `json:"before"` // null where the runs could not be compared
	After         *Result         `json:"after"`
}

// RateChange is one rate in both runs. Its unit is in its name.
type RateChange struct {
	Name   string `json:"name"`
	Before Float  `json:"before"`
	After  Float  `json:"after"`
}

// FindingChange is one finding in both runs.
type FindingChange struct {
	ID     string   `json:"id"`
	Cause  string   `json:"cause"`
	Title  string   `json:"title"`
	Change Change   `json:"change"`
	Before Severity `json:"before,omitempty"` // "": not there
	After  Severity `json:"after,omitempty"`
	// Growth of the bytes behind it.
	BeforeBytesPerSecond Float `json:"before_bytes_per_second"`
	AfterBytesPerSecond  Float `json:"after_bytes_per_second"`
}

// Change says what became of a finding.
type Change string

// The changes of a finding.
const (
	ChangeGone    Change = "gone"
	ChangeRemains Change = "remains"
	ChangeNew     Change = "new"
)

const (
	improvedShare = 0.5 // of the rate before: less is an improvement
	worseShare    = 1.2 // more is worse
)

// Prove compares the diff of one run with the diff of another.
func Prove(before, after []Named, o Options) (*Proof, error) {
	b, err := Diff(before, o)
	if err != nil {
		return nil, fmt.Errorf("before: %w", err)
	}
	a, err := Diff(after, o)
	if err != nil {
		return nil, fmt.Errorf("after: %w", err)
	}
	p := &Proof{
		Schema: ProofSchema, FormatVersion: FormatVersion, Before: b, After: a,
		Confidence: worse(b.Summary.Confidence, a.Summary.Confidence), Reasons: []string{},
		Rates: []RateChange{
			{"growth_bytes_per_second", b.Summary.GrowthBytesPerSecond, a.Summary.GrowthBytesPerSecond},
			{"growth_bytes_per_closed_connection", b.Summary.GrowthBytesPerClosedConnection, a.Summary.GrowthBytesPerClosedConnection},
		},
		Findings: findingChanges(b, a),
	}
	p.judge(append(gaps("before", before), gaps("after", after)...))
	return p, nil
}

// NotProven is the proof where a run cannot be compared in itself, such as
// when its snapshots are not of one process.
func NotProven(why error) *Proof {
	return &Proof{
		Schema: ProofSchema, FormatVersion: FormatVersion, Outcome: Unproven, Confidence: NoneKnown,
		Reasons: []string{why.Error()}, Rates: []RateChange{}, Findings: []FindingChange{},
	}
}

// gaps lists what is missing in a run for the statement that there is no leak:
// every heap and every connection table whole.
func gaps(run string, inputs []Named) []string {
	var all []string
	for _, in := range inputs {
		switch {
		case in.Snapshot.Heap == nil:
			all = append(all, fmt.Sprintf("%s: %s has no heap evidence", run, in.Name))
		case !in.Snapshot.Heap.Complete:
			all = append(all, fmt.Sprintf("%s: the heap in %s was read in part: %s", run, in.Name, in.Snapshot.Heap.Reason))
		case in.Snapshot.Manifest.Interrupted:
			all = append(all, fmt.Sprintf("%s: the capture of %s was interrupted", run, in.Name))
		}
		if known := tablesOf(in.Snapshot); !known.tcp {
			all = append(all, fmt.Sprintf("%s: in %s, %s", run, in.Name, known.why))
		}
	}
	return all
}

func findingChanges(before, after *Result) []FindingChange {
	changes := []FindingChange{}
	for i := range before.Findings {
		f := &before.Findings[i]
		change := FindingChange{ID: f.ID, Cause: f.Cause, Title: f.Title, Change: ChangeGone, Before: f.Severity, BeforeBytesPerSecond: findingRate(f, before)}
		if g := sameFinding(f, after); g != nil {
			change.Change, change.After, change.AfterBytesPerSecond = ChangeRemains, g.Severity, findingRate(g, after)
		}
		changes = append(changes, change)
	}
	for i := range after.Findings {
		if f := &after.Findings[i]; sameFinding(f, before) == nil {
			changes = append(changes, FindingChange{ID: f.ID, Cause: f.Cause, Title: f.Title, Change: ChangeNew, After: f.Severity, AfterBytesPerSecond: findingRate(f, after)})
		}
	}
	rank := func(c Change) int { return slices.Index([]Change{ChangeNew, ChangeRemains, ChangeGone}, c) }
	slices.SortStableFunc(changes, func(a, b FindingChange) int {
		return cmp.Or(cmp.Compare(rank(a.Change), rank(b.Change)), cmp.Compare(a.ID, b.ID))
	})
	return changes
}

func sameFinding(f *Finding, in *Result) *Finding {
	for i := range in.Findings {
		if in.Findings[i].ID == f.ID {
			return &in.Findings[i]
		}
	}
	return nil
}

func findingRate(f *Finding, r *Result) Float {
	net, ok := growth(f.Bytes)
	t, okTime := r.Summary.ElapsedSeconds.Get()
	if !ok || !okTime || t == 0 {
		return Float{}
	}
	return snapshot.Known(float64(net) / math.Abs(t))
}

func (p *Proof) say(format string, args ...any) {
	p.Reasons = append(p.Reasons, fmt.Sprintf(format, args...))
}

// judge decides the outcome. A run without heap evidence proves nothing, a run
// that did not leak cannot have been fixed, and what is missing may hide a leak.
func (p *Proof) judge(missing []string) {
	before, after := p.Before.Summary, p.After.Summary
	p.say("before: %s; after: %s", before.Verdict, after.Verdict)
	for _, r := range p.Rates {
		b, okBefore := r.Before.Get()
		a, okAfter := r.After.Get()
		if okBefore && okAfter {
			p.say("%s: %s before, %s after", r.Name, units.Bytes(int64(math.Round(b))), units.Bytes(int64(math.Round(a))))
		}
	}
	bad := func(s Severity) bool { return s == SeverityError || s == SeverityWarning }
	var gone, remain, appeared int
	for _, f := range p.Findings {
		switch {
		case f.After == SeverityError && f.Before == SeverityError:
			remain++
		case f.After == SeverityError:
			appeared++
		case bad(f.Before) && !bad(f.After):
			gone++
		}
	}
	rate, comparable := p.rateShare()
	leaked := before.Verdict == Leak || before.Verdict == Growing
	still := after.Verdict == Leak || after.Verdict == Growing
	switch {
	case before.Verdict == Inconclusive || after.Verdict == Inconclusive || p.Confidence != Exact:
		p.Outcome = Unproven
		p.say("evidence is missing in one of the runs: capture both with --heap")
	case !leaked && !still:
		p.Outcome = Unchanged
		p.say("the run before did not leak, so there was nothing to fix: make the load reach the leak")
	case leaked && !still && remain == 0 && appeared == 0:
		p.Outcome = Fixed
	case appeared > 0 && remain == 0 && gone == 0, !leaked && still, comparable && rate > worseShare:
		p.Outcome = Worse
	case gone > 0 && appeared == 0, comparable && rate < improvedShare:
		p.Outcome = Improved
	default:
		p.Outcome = Unchanged
	}
	if better := p.Outcome == Fixed || p.Outcome == Improved; better && len(missing) > 0 {
		p.Outcome = Unproven
		p.Reasons = append(p.Reasons, missing...)
	}
}

// rateShare is the rate after as a share of the rate before: per closed
// connection where both runs closed some, because load differs; else per second.
func (p *Proof) rateShare() (float64, bool) {
	for _, r := range slices.Backward(p.Rates) {
		b, okBefore := r.Before.Get()
		a, okAfter := r.After.Get()
		if okBefore && okAfter && b > 0 {
			return a / b, true
		}
	}
	return 0, false
}
