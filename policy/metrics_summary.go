package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}

func summaryMetrics() []Metric {
	return []Metric{
		{
			Name: "summary.verdict", Unit: UnitWord, Words: verdicts,
			Meaning: "the verdict; a healthy one counts only with whole evidence in every snapshot, and growing excludes a leak only once the trend over enough snapshots was tested",
			From:    "summary.verdict", read: readVerdict,
		},
		{
			Name: "summary.confidence", Unit: UnitWord, Words: confidences,
			Meaning: "how the verdict was learned",
			From:    "summary.confidence", read: func(in *reading, _ *metricRef) figure {
				return figure{text: true, word: string(in.r.Summary.Confidence), sure: true, from: "summary.confidence", confidence: analyze.Exact, samples: len(in.inputs)}
			},
		},
		{
			Name: "summary.snapshots", Unit: UnitCount,
			Meaning: "snapshots compared",
			From:    "inputs", read: func(in *reading, _ *metricRef) figure {
				return in.plain(float64(len(in.inputs)), "inputs[]: count")
			},
		},
		{
			Name: "summary.partial_snapshots", Unit: UnitCount,
			Meaning: "snapshots whose capture was interrupted, or whose heap was read in part",
			From:    "inputs[].partial", read: func(in *reading, _ *metricRef) figure {
				n := 0
				for _, input := range in.r.Inputs {
					if input.Partial {
						n++
					}
				}
				return in.plain(float64(n), "inputs[].partial: count")
			},
		},
		{
			Name: "summary.elapsed_seconds", Unit: UnitSeconds,
			Meaning: "time from the first snapshot to the last",
			From:    "summary.elapsed_seconds", read: func(in *reading, _ *metricRef) figure { return in.elapsed() },
		},
		{
			Name: "summary.closed_connections", Unit: UnitCount,
			Meaning: "connections that ended between the first snapshot and the last: gone, closed, or closed by their peer",
			From:    "summary.closed_connections", read: readClosedConnections,
		},
		{
			Name: "summary.warnings", Unit: UnitCount,
			Meaning: "warnings of the comparison",
			From:    "warnings", read: func(in *reading, _ *metricRef) figure {
				return in.plain(float64(len(in.r.Warnings)), "warnings[]: count")
			},
		},
	}
}

// plain is a figure of the result itself: nothing can be missing from it.
func (in *reading) plain(v float64, from string) figure {
	f := figure{interval: exactly(v), from: from, confidence: analyze.Exact, samples: len(in.inputs)}
	if len(in.inputs) == 0 {
		f.interval = anything
		f.lacks(in.lacksBase())
	}
	return f
}

func (in *reading) elapsed() figure {
	f := figure{interval: anything, from: "summary.elapsed_seconds", confidence: analyze.Exact, samples: len(in.inputs)}
	if t, ok := in.r.Summary.ElapsedSeconds.Get(); ok {
		f.interval = exactly(t)
		return f
	}
	if in.base == nil {
		f.lacks(in.lacksBase())
	} else {
		f.lacks("the time between the snapshots is not known")
	}
	return f
}

func readClosedConnections(in *reading, _ *metricRef) figure {
	n := analyze.Delta{New: in.r.Summary.ClosedConnections}
	f := in.amount("new", []analyze.Delta{n}, nil, need{heap: true, whole: true, table: true, joined: true})
	f.from = "summary.closed_connections"
	return f
}

// readVerdict says which verdicts the evidence leaves possible. One of trouble
// stands as it is; a healthy one may hide a leak that missing evidence would
// have shown.
func readVerdict(in *reading, _ *metricRef) figure {
	s := &in.r.Summary
	f := figure{text: true, word: string(s.Verdict), from: "summary.verdict", confidence: s.Confidence}
	in.addEvidence(&f, "", need{heap: true, table: true})
	gaps := in.gaps()
	switch s.Verdict {
	case analyze.Leak:
		f.sure = true
	case analyze.Growing:
		f.sure = true
		if gaps == nil && !in.trendTested() {
			gaps = []string{fmt.Sprintf("%s cannot tell growth from a leak; %d would", plural(len(in.inputs), "snapshot"), snapshotsToDecide)}
		}
		if gaps != nil {
			f.open, f.missing = []string{string(analyze.Leak)}, gaps
		}
	case analyze.Steady, analyze.Shrinking:
		f.sure = gaps == nil
		if gaps != nil {
			f.open = []string{string(analyze.Leak), string(analyze.Growing), string(analyze.Steady), string(analyze.Shrinking)}
			f.missing = gaps
		}
	default: // inconclusive, or a verdict of a later version
		f.sure = s.Verdict == analyze.Inconclusive
		f.open = []string{string(analyze.Leak), string(analyze.Growing), string(analyze.Steady), string(analyze.Shrinking)}
		f.missing = gaps
		if len(gaps) == 0 {
			f.missing = append(f.missing, "the verdict is inconclusive")
			if len(s.Reasons) > 0 {
				f.missing[0] += ": " + s.Reasons[0]
			}
		}
	}
	return f
}

// snapshotsToDecide is the least number of snapshots for which the slope of a
// trend has a confidence interval (see analyze.Trend).
const snapshotsToDecide = 4

// trendTested reports whether the trend of retained memory had an interval.
func (in *reading) trendTested() bool {
	for _, t := range in.r.Trends {
		if t.Of == "total" && t.Key == "retained" && t.Per == "second" {
			return t.Low.IsKnown() && t.High.IsKnown()
		}
	}
	return false
}

func rateMetrics() []Metric {
	fate := label(labelFate, "what became of it; only fates that are in use", words(inUse))
	all := []Metric{{
		Name: "growth.bytes_per_second", Unit: UnitRate,
		Labels:  []Label{stateLabel(), fate, holderLabel()},
		Meaning: "delta.retained_bytes over the time between the first snapshot and the last",
		From:    "summary.growth_bytes_per_second; with a label states, fates or holders",
		alone:   labelState, read: readGrowth,
	}}
	bounds := []struct {
		suffix, meaning string
		of              func(analyze.Trend) analyze.Float
	}{
		{"", "", func(t analyze.Trend) analyze.Float { return t.Slope }},
		{".low", ", the lower end of its 90 % interval", func(t analyze.Trend) analyze.Float { return t.Low }},
		{".high", ", the upper end of its 90 % interval", func(t analyze.Trend) analyze.Float { return t.High }},
	}
	for _, b := range bounds {
		all = append(all, Metric{
			Name: "slope.retained_bytes_per_second" + b.suffix, Unit: UnitRate, single: true,
			Labels:  []Label{stateLabel(), fate, holderLabel()},
			Meaning: "robust slope of retained bytes over three snapshots or more" + b.meaning,
			From:    "trends", read: readSlope(b.of),
		})
	}
	for _, b := range bounds {
		meaning := "growth of retained bytes for each connection that ended, which tells a leak from warm-up"
		if b.suffix != "" {
			meaning = "the same" + b.meaning + " over four snapshots or more"
		}
		all = append(all, Metric{
			Name: "slope.retained_bytes_per_closed_connection" + b.suffix, Unit: UnitBytes,
			Meaning: meaning,
			From:    "trends; over two snapshots summary.growth_bytes_per_closed_connection",
			read:    readSlopePerClosed(b.of, b.suffix == ""),
		})
	}
	return all
}

func readGrowth(in *reading, m *metricRef) figure {
	f := readAmount("delta", measuredRetained)(in, m)
	t := in.elapsed()
	for _, why := range t.missing {
		f.lacks(why)
	}
	if t.exact() && t.low == 0 {
		f.lacks("no time passed between the snapshots")
	}
	if t.exact() { // backwards: the growth is what it is, the time counts forwards
		t.interval = exactly(math.Abs(t.low))
	}
	f.interval = f.over(t.interval)
	f.from += " over summary.elapsed_seconds"
	return f
}

// trendFigure starts a figure that rests on the evidence of every snapshot.
func (in *reading) trendFigure(n need) (figure, bool) {
	f := figure{interval: anything, confidence: in.r.Summary.Confidence, from: "trends[]"}
	in.addEvidence(&f, "", n)
	for i := range in.inputs {
		e := &in.inputs[i]
		if why := e.whyHeap(); n.heap && why != "" {
			f.lacks(why)
		}
		if n.table && e.table != "" {
			f.lacks(e.table)
		}
	}
	return f, len(f.missing) == 0
}

func readSlope(of func(analyze.Trend) analyze.Float) func(*reading, *metricRef) figure {
	return func(in *reading, m *metricRef) figure {
		what, key := "total", "retained"
		if len(m.selectors) > 0 {
			what, key = m.selectors[0].label, m.selectors[0].value
		}
		f, whole := in.trendFigure(need{heap: true, table: what == labelState})
		f.from = "trends[" + what + " " + key + ", per second]"
		if !whole {
			return f
		}
		if len(in.inputs) < 3 {
			f.lacks(plural(len(in.inputs), "snapshot") + ": a slope takes 3 or more")
			return f
		}
		found := false
		for _, t := range in.r.Trends {
			k := t.Key
			if what == labelHolder {
				k = holderPath([]string{k})
			}
			if t.Of != what || k != key || t.Per != "second" {
				continue
			}
			found = true
			if v, ok := of(t).Get(); ok {
				f.interval = exactly(v)
				return f
			}
		}
		switch {
		case found:
			f.lacks("too few snapshots for an interval: it takes 4 or more")
		case what == "total" || !in.r.Summary.ElapsedSeconds.IsKnown():
			f.lacks("the trend is not known")
		default: // nothing of it in any snapshot
			f.interval = exactly(0)
		}
		return f
	}
}

func readSlopePerClosed(of func(analyze.Trend) analyze.Float, fromTwo bool) func(*reading, *metricRef) figure {
	return func(in *reading, _ *metricRef) figure {
		f, whole := in.trendFigure(need{heap: true, table: true})
		f.from = "trends[total retained, per closed-connection]"
		if in.base == nil {
			f.lacks(in.lacksBase())
			return f
		}
		if !whole {
			return f
		}
		for _, t := range in.r.Trends {
			if t.Of != "total" || t.Key != "retained" || t.Per != "closed-connection" {
				continue
			}
			if v, ok := of(t).Get(); ok {
				f.interval = exactly(v)
				return f
			}
		}
		if n, ok := in.r.Summary.ClosedConnections.Get(); ok && n == 0 {
			f.lacks("no connection ended between the snapshots: there is nothing to divide by")
			return f
		}
		if v, ok := in.r.Summary.GrowthBytesPerClosedConnection.Get(); ok && fromTwo {
			f.interval, f.from = exactly(v), "summary.growth_bytes_per_closed_connection"
			return f
		}
		f.lacks("too few snapshots: an interval takes 4 or more")
		return f
	}
}

func evidenceMetrics() []Metric {
	labels := []Label{
		label("name", "the source", sourceNames),
		label("status", "how it went", statuses),
		label("input", "the snapshot, by its base name", nil),
	}
	return []Metric{
		{
			Name: "sources", Unit: UnitCount, Labels: labels,
			Meaning: "sources of evidence, counted over all snapshots; one that is selected by name and was not recorded counts as absent",
			From:    "sources", read: readSources,
		},
		{
			Name: "sources.pause_seconds", Unit: UnitSeconds, Labels: labels,
			Meaning: "the longest stop of the target that one source caused",
			From:    "sources[].pause_seconds", read: readPause,
		},
	}
}

// sourceRows lists the selected sources, with those that are selected by name
// and missing.
func (in *reading) sourceRows(m *metricRef) []analyze.SourceRow {
	byName, byStatus, byInput := m.on("name"), m.on("status"), m.on("input")
	all := in.r.Sources
	for _, name := range sourceNames {
		if len(byName) == 0 || !selected(byName, name) {
			continue
		}
		for i := range in.r.Inputs {
			if _, ok := sourceOf(in.r, i, name); !ok {
				all = append(all[:len(all):len(all)], analyze.SourceRow{Input: in.r.Inputs[i].Name, Source: snapshot.Source{Name: name, Status: snapshot.StatusAbsent}})
			}
		}
	}
	var rows []analyze.SourceRow
	for _, s := range all {
		if selected(byName, s.Name) && selected(byStatus, string(s.Status)) && selected(byInput, s.Input) {
			rows = append(rows, s)
		}
	}
	return rows
}

func readSources(in *reading, m *metricRef) figure {
	f := in.plain(float64(len(in.sourceRows(m))), "sources[]: count")
	in.needsInput(&f, m)
	return f
}

// needsInput forgets a figure of sources when there are none, or none of the
// selected inputs: a misspelt name must not be zero.
func (in *reading) needsInput(f *figure, m *metricRef) {
	byInput := m.on("input")
	switch {
	case len(f.missing) > 0:
	case len(in.r.Sources) == 0:
		f.forget(nil, "the snapshots record no sources")
	case !slices.ContainsFunc(in.inputs, func(e inputEvidence) bool { return selected(byInput, e.name) }):
		f.forget(nil, "no snapshot is selected")
	}
}

func readPause(in *reading, m *metricRef) figure {
	longest, known := 0.0, true
	for _, s := range in.sourceRows(m) {
		pause, ok := s.PauseSeconds.Get()
		known = known && (ok || s.Status == snapshot.StatusAbsent)
		longest = math.Max(longest, pause)
	}
	f := in.plain(longest, "sources[].pause_seconds: the longest")
	in.needsInput(&f, m)
	if !known && len(f.missing) == 0 {
		f.interval = atLeast(longest)
		f.lacks("the pause of a source is not known")
	}
	return f
}
