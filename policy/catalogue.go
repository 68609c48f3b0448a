package policy

import (
	"slices"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// Unit is what a metric is measured in.
type Unit string

// The units of metrics.
const (
	UnitBytes   Unit = "bytes"
	UnitSeconds Unit = "seconds"
	UnitRate    Unit = "bytes per second"
	UnitCount   Unit = "count"
	UnitWord    Unit = "word" // one of a closed set, compared with == and != alone
)

func (u Unit) dimension() dimension {
	switch u {
	case UnitBytes:
		return dimBytes
	case UnitSeconds:
		return dimSeconds
	case UnitRate:
		return dimRate
	}
	return dimCount
}

// Metric is one row of the catalogue: a figure that rules can name.
type Metric struct {
	Name    string
	Unit    Unit
	Words   []string // of UnitWord: its values
	Labels  []Label
	Meaning string // one sentence
	From    string // the place in the JSON report

	read func(*reading, *metricRef) figure
	// alone is the label that does not combine with others; required the one
	// that must be given. A single metric takes at most one selector, with "=".
	alone, required string
	single          bool
}

// Label selects among the rows behind a metric.
type Label struct {
	Name    string
	Values  []string // the closed set; nil: any string
	Meaning string
	// elsewhere explains values that other metrics have.
	elsewhere map[string]string
	// begins is the closed set of what stands before the first slash of an
	// exact value.
	begins []string
}

func (m *Metric) label(name string) *Label {
	i := slices.IndexFunc(m.Labels, func(l Label) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return &m.Labels[i]
}

// The labels, by name.
const (
	labelState  = "state"
	labelFate   = "fate"
	labelHolder = "holder"
)

// Catalogue lists every metric, in the order of doc/policy.md.
func Catalogue() []Metric { return slices.Clone(catalogue) }

var catalogue = buildCatalogue()

func metricNamed(name string) *Metric {
	i := slices.IndexFunc(catalogue, func(m Metric) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return &catalogue[i]
}

func metricNames() []string {
	names := make([]string, len(catalogue))
	for i := range catalogue {
		names[i] = catalogue[i].Name
	}
	return names
}

var verdicts = []string{
	string(analyze.Leak), string(analyze.Growing), string(analyze.Steady),
	string(analyze.Shrinking), string(analyze.Inconclusive),
}

var confidences = []string{string(analyze.Exact), string(analyze.Inferred), string(analyze.NoneKnown)}

var severities = []string{string(analyze.SeverityError), string(analyze.SeverityWarning), string(analyze.SeverityNote)}

var statuses = []string{
	string(snapshot.StatusOK), string(snapshot.StatusPartial), string(snapshot.StatusDenied),
	string(snapshot.StatusUnsupported), string(snapshot.StatusAbsent), string(snapshot.StatusUnstable),
}

// sourceNames are those of snapshot; a test holds the two together.
var sourceNames = []string{
	snapshot.SourceProc, snapshot.SourceMemory, snapshot.SourceMappings,
	snapshot.SourceFDs, snapshot.SourceFDsAfter, snapshot.SourceSockets, snapshot.SourceSocketsAfter,
	snapshot.SourceAttach, snapshot.SourceNMT,
	snapshot.SourceHeapDump, snapshot.SourceVMStructs,
}

func words[T ~string](all []T) []string {
	s := make([]string, len(all))
	for i, v := range all {
		s[i] = string(v)
	}
	return s
}

// inUse are the fates whose memory something keeps in use; the same as in
// analyze.Summary.RetainedBytes.
var inUse = []snapshot.Fate{
	snapshot.FateConnection, snapshot.FateApplication, snapshot.FateLost, snapshot.FateUnattributed,
}

// side is the part of a delta that a metric's name begins with.
type side struct{ name, meaning string }

var sides = []side{
	{"base", "in the first snapshot"},
	{"head", "in the last snapshot"},
	{"delta", "in the last snapshot less those in the first"},
	{"kept", "that were in the first snapshot and still are in the last"},
	{"new", "in the last snapshot that were not in the first"},
	{"freed", "that were in the first snapshot and are not in the last"},
}

func buildCatalogue() []Metric {
	all := summaryMetrics()
	all = append(all, amountMetrics()...)
	all = append(all, rateMetrics()...)
	all = append(all, findingMetrics()...)
	all = append(all, transitionMetrics()...)
	all = append(all, counterMetrics()...)
	return append(all, evidenceMetrics()...)
}

func label(name, meaning string, values []string) Label {
	return Label{Name: name, Meaning: meaning, Values: values}
}

// holderPath is a holder's path as the label holder matches it.
func holderPath(steps []string) string {
	return strings.ReplaceAll(strings.Join(steps, " -> "), "→", "->")
}
