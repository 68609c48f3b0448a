package policy

import (
	"math"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

func findingMetrics() []Metric {
	labels := []Label{
		label("cause", "the root cause", analyze.Causes()),
		label("form", "the cause's form", nil),
		label("severity", "how bad", severities),
		label("confidence", "how it was learned", confidences),
		{Name: "id", Meaning: "the stable id: cause/form/place", begins: analyze.Causes()},
	}
	count := func(analyze.Finding) analyze.Int { return analyze.Int{} }
	one := func(of func(analyze.Finding) analyze.Int, key string) func(*reading, *metricRef) figure {
		return func(in *reading, m *metricRef) figure { return in.findings(m, of, key) }
	}
	return []Metric{
		{
			Name: "findings", Unit: UnitCount, Labels: labels,
			Meaning: "findings; without whole evidence in every snapshot, one that was found counts, and how many there are is not known",
			From:    "findings", read: func(in *reading, m *metricRef) figure { return in.findings(m, count, "") },
		},
		{
			Name: "findings.bytes", Unit: UnitBytes, Labels: labels,
			Meaning: "bytes behind the findings in the last snapshot; memory that two findings name counts twice",
			From:    "findings[].bytes.head", read: one(func(f analyze.Finding) analyze.Int { return f.Bytes.Head }, keyBytes),
		},
		{
			Name: "findings.connections", Unit: UnitCount, Labels: labels,
			Meaning: "connections behind the findings in the last snapshot; one that two findings name counts twice",
			From:    "findings[].connections.head", read: one(func(f analyze.Finding) analyze.Int { return f.Connections.Head }, "connections.head"),
		},
	}
}

// findings counts the selected findings, or sums one of their figures. Where
// evidence is missing, one that was found is there, but how many there would be
// is not known: they are told apart by places that need the evidence.
func (in *reading) findings(m *metricRef, of func(analyze.Finding) analyze.Int, key string) figure {
	f := figure{confidence: analyze.Exact, from: "findings[]: count"}
	if key != "" {
		f.from = "findings[]." + key
	}
	in.addEvidence(&f, "", need{heap: true, table: true})
	sum, known := 0.0, true
	certain := 0.0 // the largest of those that do not rest on what is missing
	for i := range in.r.Findings {
		finding := &in.r.Findings[i]
		labels := map[string]string{
			"cause": finding.Cause, "form": finding.Form, "severity": string(finding.Severity),
			"confidence": string(finding.Confidence), "id": finding.ID,
		}
		if slices.ContainsFunc(m.selectors, func(s selector) bool { return !s.matches(labels[s.label]) }) {
			continue
		}
		f.confidence = worst(f.confidence, finding.Confidence)
		v, ok := int64(1), true
		if key != "" {
			v, ok = of(*finding).Get()
		}
		known = known && ok
		sum += float64(v)
		if finding.Bytes.Head.IsKnown() && (in.base == nil || finding.Bytes.Base.IsKnown()) {
			certain = max(certain, float64(v))
		}
	}
	f.interval = exactly(sum)
	f.missing = append(in.gaps(), in.limitGaps(m.on("cause"))...)
	if !known {
		f.lacks("a finding's figure is not known")
	}
	switch {
	case len(f.missing) == 0:
	case key == keyBytes:
		f.interval = atLeast(0)
	default:
		f.interval = atLeast(certain)
	}
	return f
}

const keyBytes = "bytes.head"

// limitGaps lists what is missing to say that no limit is near: the process's
// memory figures, and where that cause is asked for by name, all of them and the
// JVM's flags.
func (in *reading) limitGaps(causes []*selector) []string {
	if !selected(causes, analyze.CauseNearLimit) && !selected(causes, analyze.CauseLimitTooLow) {
		return nil
	}
	var all []string
	for i := range in.inputs {
		name := in.inputs[i].name
		memory, ok := sourceOf(in.r, i, snapshot.SourceMemory)
		switch {
		case !ok:
			all = append(all, name+" has no source "+snapshot.SourceMemory)
		case memory.Status != snapshot.StatusOK && (memory.Status != snapshot.StatusPartial || len(causes) > 0):
			all = append(all, name+": "+describe(memory))
		}
		if len(causes) == 0 {
			continue
		}
		attach, okAttach := sourceOf(in.r, i, snapshot.SourceAttach)
		outside, okOutside := sourceOf(in.r, i, snapshot.SourceVMStructs)
		switch {
		case okAttach && attach.Status == snapshot.StatusOK || okOutside && outside.Status == snapshot.StatusOK:
		case okAttach:
			all = append(all, name+": "+describe(attach))
		default:
			all = append(all, name+" has no source "+snapshot.SourceAttach)
		}
	}
	return all
}

// The ends of a transition that are no states.
const (
	notThereBefore = "new"
	notThereAfter  = "gone"
)

func transitionMetrics() []Metric {
	labels := []Label{
		label("from", "state in the first snapshot; new: it was not there", append(words(analyze.States()), notThereBefore)),
		label("to", "state in the last snapshot; gone: it is not there", append(words(analyze.States()), notThereAfter)),
	}
	return []Metric{
		{
			Name: "transitions.connections", Unit: UnitCount, Labels: labels,
			Meaning: "connections that went from one state to another between the first snapshot and the last, or stayed",
			From:    "transitions[].connections", read: readTransitions(false),
		},
		{
			Name: "transitions.kept_bytes", Unit: UnitBytes, Labels: labels,
			Meaning: "bytes that these connections held before and still hold",
			From:    "transitions[].retained_bytes", read: readTransitions(true),
		},
	}
}

func readTransitions(bytes bool) func(*reading, *metricRef) figure {
	return func(in *reading, m *metricRef) figure {
		from, to := m.on("from"), m.on("to")
		var rows, slack []analyze.Delta
		for _, t := range in.r.Transitions {
			d := analyze.Delta{New: t.RetainedBytes}
			if !bytes {
				d.New = snapshot.Known(t.Connections)
			}
			start, end := string(t.From), string(t.To)
			if start == "" {
				start = notThereBefore
			}
			if end == "" {
				end = notThereAfter
			}
			begins, mayBegin := selectsState(from, start)
			ends, mayEnd := selectsState(to, end)
			switch {
			case begins && ends:
				rows = append(rows, d)
			case mayBegin && mayEnd:
				slack = append(slack, d)
			}
		}
		f := in.amount("new", rows, slack, need{heap: true, whole: true, table: true, joined: true})
		f.from = "transitions[" + plural(len(rows), "row") + "].connections"
		if bytes {
			f.from = "transitions[" + plural(len(rows), "row") + "].retained_bytes"
		}
		return f
	}
}

func counterMetrics() []Metric {
	labels := []Label{label("counter", "the counter's name in the report's reconciliation", nil)}
	var all []Metric
	for _, s := range sides[:3] {
		all = append(all, Metric{
			Name: s.name + ".counter_bytes", Unit: UnitBytes, Labels: labels, single: true, required: "counter",
			Meaning: "a counter that the target or the kernel keeps, " + strings.TrimPrefix(s.meaning, "that were "),
			From:    "reconciliation", read: readCounter(s.name),
		})
	}
	all = append(all, Metric{
		Name: "head.counter_difference_bytes", Unit: UnitBytes, Labels: labels, single: true, required: "counter",
		Meaning: "a counter less the allocations it should count, in the last snapshot",
		From:    "reconciliation[].difference_bytes", read: readCounter("difference"),
	})
	for _, s := range sides[:3] {
		all = append(all, Metric{
			Name: s.name + ".resident_bytes", Unit: UnitBytes,
			Labels:  []Label{label("part", "the part of resident memory, as the report names it", nil)},
			Meaning: "resident memory by part, " + s.meaning + "; the parts sum to rss",
			From:    "residency", read: readResidency(s.name),
		})
	}
	return all
}

func readResidency(side string) func(*reading, *metricRef) figure {
	return func(in *reading, m *metricRef) figure {
		f := figure{interval: anything, confidence: analyze.Inferred, samples: len(in.inputs)}
		var rows []analyze.Delta
		var names, parts, from []string
		for _, r := range in.r.Residency {
			names = append(names, r.Part)
			if selected(m.on("part"), r.Part) {
				rows = append(rows, analyze.Delta{Base: r.BaseBytes, Head: r.HeadBytes})
				parts = append(parts, r.Part)
				from = append(from, r.Source)
			}
		}
		f.from = reportPlace("residency", parts, "bytes", side)
		switch {
		case len(names) == 0:
			f.lacks("resident memory could not be split")
		case len(rows) == 0: // a part nobody has heard of must not be zero
			f.lacks("no part of resident memory is selected; there are " + strings.Join(names, ", "))
		case in.base == nil && side != "head":
			f.lacks(in.lacksBase())
		case !in.splits(&f, side, from):
		default:
			base, okBase := total(rows, func(d analyze.Delta) analyze.Int { return d.Base })
			head, okHead := total(rows, func(d analyze.Delta) analyze.Int { return d.Head })
			switch {
			case side == "base" && okBase:
				f.interval = exactly(base)
			case side == "head" && okHead:
				f.interval = exactly(head)
			case side == "delta" && okBase && okHead:
				f.interval = exactly(head).minus(exactly(base))
			default:
				f.lacks("resident memory could not be split in every snapshot")
			}
		}
		slices.Sort(from)
		f.evidence = slices.Compact(from)
		return f
	}
}

// splits reports whether the mappings of the side's snapshots were read whole,
// and the heap too where a part rests on it; what is missing is noted.
func (in *reading) splits(f *figure, side string, from []string) bool {
	for i := range in.inputs {
		e := &in.inputs[i]
		if e != in.base && e != in.head || side == "head" && e != in.head || side == "base" && e != in.base {
			continue
		}
		if row, ok := sourceOf(in.r, i, snapshot.SourceMappings); ok && row.Status != snapshot.StatusOK {
			f.lacks(e.name + ": " + describe(row))
		}
		if e.heapPart != "" && slices.ContainsFunc(from, func(s string) bool { return strings.HasPrefix(s, "heap walk") || s == "rest" }) {
			f.lacks(e.heapPart)
		}
	}
	return len(f.missing) == 0
}

func readCounter(side string) func(*reading, *metricRef) figure {
	return func(in *reading, m *metricRef) figure {
		name := m.selectors[0].value
		f := figure{interval: anything, confidence: analyze.Inferred, samples: len(in.inputs)}
		f.from = "reconciliation[" + name + "]." + map[string]string{"base": "base", "head": "head", "delta": "head - base", "difference": "difference_bytes"}[side]
		i := slices.IndexFunc(in.r.Reconciliation, func(r analyze.Reconciliation) bool { return r.Counter == name })
		if i < 0 {
			var names []string
			for _, r := range in.r.Reconciliation {
				names = append(names, r.Counter)
			}
			why := "no snapshot has a counter " + quote(name)
			if near := didYouMean(name, names); near != "" {
				why += "; " + near
			} else if len(names) > 0 {
				why += "; there are " + strings.Join(names[:min(len(names), 10)], ", ")
			}
			f.lacks(why)
			return f
		}
		row := &in.r.Reconciliation[i]
		f.evidence = append(f.evidence, row.Source)
		if side == "difference" || name == "allocations" { // these rest on the heap walk
			whole := true
			for _, e := range []*inputEvidence{in.base, in.head} {
				if e != nil && e.whyHeap() != "" && (e == in.head || side != "head" && side != "difference") {
					f.lacks(e.whyHeap())
					whole = false
				}
			}
			if !whole {
				return f
			}
		}
		at := func(v analyze.Int, input *inputEvidence) interval {
			if n, ok := v.Get(); ok {
				return exactly(float64(n))
			}
			if input == nil {
				f.lacks(in.lacksBase())
			} else {
				f.lacks(input.name + ": counter " + name + " was not readable")
			}
			return interval{math.Inf(-1), math.Inf(1)}
		}
		switch side {
		case "base":
			f.interval = at(row.Base, in.base)
		case "head":
			f.interval = at(row.Head, in.head)
		case "delta":
			f.interval = at(row.Head, in.head).minus(at(row.Base, in.base))
		default:
			f.interval = at(row.DifferenceBytes, in.head)
		}
		return f
	}
}
