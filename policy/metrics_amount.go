package policy

import (
	"slices"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// quantity kinds of the memory metrics.
type measured int

const (
	measuredRetained measured = iota
	measuredBytes
	measuredAllocations
)

func amountMetrics() []Metric {
	var all []Metric
	retained := label(labelFate, "what became of it; only fates that are in use", words(inUse))
	retained.elsewhere = map[string]string{}
	for _, f := range snapshot.Fates() {
		if !slices.Contains(inUse, f) {
			retained.elsewhere[string(f)] = "memory of that fate is not in use: ask for it with bytes"
		}
	}
	fate := label(labelFate, "what became of it; runtime counts only where it is named", words(snapshot.Fates()))
	for _, s := range sides {
		all = append(all,
			Metric{
				Name: s.name + ".retained_bytes", Unit: UnitBytes,
				Labels:  []Label{stateLabel(), retained, holderLabel()},
				Meaning: "off-heap bytes that something keeps in use (no pool's reserve, no garbage) " + s.meaning,
				From:    "summary.retained_bytes; with a label states, fates or holders",
				alone:   labelState, read: readAmount(s.name, measuredRetained),
			},
			Metric{
				Name: s.name + ".bytes", Unit: UnitBytes,
				Labels:  []Label{stateLabel(), fate, holderLabel()},
				Meaning: "bytes of all off-heap allocations but the runtime's own " + s.meaning,
				From:    "summary.bytes; with a label states, fates or holders",
				alone:   labelState, read: readAmount(s.name, measuredBytes),
			},
			Metric{
				Name: s.name + ".allocations", Unit: UnitCount,
				Labels:  []Label{stateLabel(), fate, holderLabel()},
				Meaning: "all off-heap allocations but the runtime's own " + s.meaning,
				From:    "summary.allocations; with a label states, fates or holders",
				alone:   labelState, read: readAmount(s.name, measuredAllocations),
			})
	}
	for _, s := range sides[:3] {
		all = append(all,
			Metric{
				Name: s.name + ".connections", Unit: UnitCount,
				Labels:  []Label{stateLabel(), holderLabel()},
				Meaning: "connections " + s.meaning + "; by holder, those whose memory is held through it",
				From:    "summary.connections; with a label states or holders",
				alone:   labelState, read: readConnections(s.name),
			},
			Metric{
				Name: s.name + ".kernel_send_queue_bytes", Unit: UnitBytes,
				Labels:  []Label{stateLabel()},
				Meaning: "bytes in the kernel's send queues, outside the process and in no other total, " + s.meaning,
				From:    "states[].kernel_send_queue_bytes",
				read:    readSendQueue(s.name),
			})
	}
	return all
}

func stateLabel() Label {
	return label(labelState, "lifecycle state of the connection", words(analyze.States()))
}

func holderLabel() Label {
	return label(labelHolder, `holder path, its steps joined by " -> "; memory without a path has no holder`, nil)
}

// on lists the selectors of one label.
func (m *metricRef) on(label string) []*selector {
	var all []*selector
	for i := range m.selectors {
		if m.selectors[i].label == label {
			all = append(all, &m.selectors[i])
		}
	}
	return all
}

// readAmount reads one side of bytes or allocations.
func readAmount(side string, q measured) func(*reading, *metricRef) figure {
	return func(in *reading, m *metricRef) figure {
		states, fates, holders := m.on(labelState), m.on(labelFate), m.on(labelHolder)
		n := need{heap: true, whole: true}
		switch {
		case states != nil:
			n.table = true
			rows := in.stateRows(states)
			f := in.amount(side, deltasOf(rows.in, q), deltasOf(rows.slack, q), n)
			rows.complete(&f)
			f.confidence = rows.confidence(in.r.Summary.Confidence)
			f.from = reportPlace("states", rows.names(), q.key(), side)
			return f
		case holders != nil:
			var rows []analyze.Delta
			for i := range in.r.Holders {
				h := &in.r.Holders[i]
				if selected(holders, holderPath(h.Path)) && countsFate(fates, h.Fate, q) {
					rows = append(rows, pick(q, h.Bytes, h.Allocations))
				}
			}
			f := in.amount(side, rows, nil, n)
			f.from = reportPlace("holders", []string{plural(len(rows), "row")}, q.key(), side)
			return f
		case fates != nil:
			var rows []analyze.Delta
			var names []string
			for i := range in.r.Fates {
				row := &in.r.Fates[i]
				if countsFate(fates, row.Fate, q) {
					rows = append(rows, pick(q, row.Bytes, row.Allocations))
					names = append(names, string(row.Fate))
				}
			}
			f := in.amount(side, rows, nil, n)
			for _, fate := range snapshot.Fates() {
				if countsFate(fates, fate, q) && !slices.Contains(names, string(fate)) {
					f.forget(nil, "the report has no row for fate "+string(fate))
				}
			}
			f.from = reportPlace("fates", names, q.key(), side)
			return f
		}
		s := &in.r.Summary
		total := map[measured]analyze.Delta{measuredRetained: s.RetainedBytes, measuredBytes: s.Bytes, measuredAllocations: s.Allocations}[q]
		f := in.amount(side, []analyze.Delta{total}, nil, need{heap: true, whole: q == measuredRetained})
		f.from = reportPlace("summary", nil, map[measured]string{measuredRetained: "retained_bytes", measuredBytes: "bytes", measuredAllocations: "allocations"}[q], side)
		return f
	}
}

func (q measured) key() string {
	if q == measuredAllocations {
		return "allocations"
	}
	return "bytes"
}

func pick(q measured, bytes, allocations analyze.Delta) analyze.Delta {
	if q == measuredAllocations {
		return allocations
	}
	return bytes
}

// countsFate reports whether rows of a fate belong to the figure: those in use
// for retained bytes, and the runtime's own only where a selector names it.
func countsFate(all []*selector, fate snapshot.Fate, q measured) bool {
	if q == measuredRetained && !slices.Contains(inUse, fate) {
		return false
	}
	if fate == snapshot.FateRuntime && !slices.ContainsFunc(all, func(s *selector) bool { return s.op == "=" || s.op == "=~" }) {
		return false
	}
	return selected(all, string(fate))
}

// stateSelection is the rows of the selected states, and those of connections
// whose state is unknown and that might belong to them.
type stateSelection struct {
	in, slack []*analyze.StateRow
	absent    []string // selected states that the result has no row for
}

// complete makes nothing of a figure known when a row is absent.
func (s *stateSelection) complete(f *figure) {
	if s.absent != nil {
		f.forget(nil, "the report has no row for state "+strings.Join(s.absent, ", "))
	}
}

func (in *reading) stateRows(all []*selector) stateSelection {
	var s stateSelection
	for _, state := range analyze.States() {
		if selected(all, string(state)) && !slices.ContainsFunc(in.r.States, func(r analyze.StateRow) bool { return r.State == state }) {
			s.absent = append(s.absent, string(state))
		}
	}
	for i := range in.r.States {
		row := &in.r.States[i]
		surely, perhaps := selectsState(all, string(row.State))
		switch {
		case surely:
			s.in = append(s.in, row)
		case perhaps:
			s.slack = append(s.slack, row)
		}
	}
	return s
}

// selectsState reports whether connections of a state are selected, and
// whether they may be. One whose state is unknown may be in any; it is surely
// selected where unknown is asked for by name, or where every state is.
func selectsState(all []*selector, state string) (surely, perhaps bool) {
	if state != string(analyze.StateUnknown) {
		is := selected(all, state)
		return is, is
	}
	every := !slices.ContainsFunc(analyze.States(), func(s analyze.State) bool { return !selected(all, string(s)) })
	byName := slices.ContainsFunc(all, func(s *selector) bool { return s.op == "=" && s.value == state })
	return every || byName, true
}

func (s stateSelection) has(states ...analyze.State) bool {
	return slices.ContainsFunc(s.in, func(r *analyze.StateRow) bool { return slices.Contains(states, r.State) })
}

func (s stateSelection) names() []string {
	var names []string
	for _, r := range s.in {
		names = append(names, string(r.State))
	}
	return names
}

// confidence is the worst of the rows that have connections.
func (s stateSelection) confidence(least analyze.Confidence) analyze.Confidence {
	for _, r := range s.in {
		if r.Connections.Base.Or(0) != 0 || r.Connections.Head.Or(0) != 0 {
			least = worst(least, r.Confidence)
		}
	}
	return least
}

func deltasOf(rows []*analyze.StateRow, q measured) []analyze.Delta {
	var all []analyze.Delta
	for _, r := range rows {
		all = append(all, pick(q, r.Bytes, r.Allocations))
	}
	return all
}

func pairDelta(p analyze.Pair) analyze.Delta { return analyze.Delta{Base: p.Base, Head: p.Head} }

func readConnections(side string) func(*reading, *metricRef) figure {
	return func(in *reading, m *metricRef) figure {
		states, holders := m.on(labelState), m.on(labelHolder)
		switch {
		case states != nil:
			rows := in.stateRows(states)
			// The kernel does not know a channel that is closed, nor what the
			// heap has queued behind exhausted credit.
			n := need{table: true, heap: rows.has(analyze.StateClosed, analyze.StateStalled)}
			var deltas, slack []analyze.Delta
			for _, r := range rows.in {
				deltas = append(deltas, pairDelta(r.Connections))
			}
			for _, r := range rows.slack {
				slack = append(slack, pairDelta(r.Connections))
			}
			f := in.amount(side, deltas, slack, n)
			rows.complete(&f)
			f.confidence = rows.confidence(analyze.Exact)
			f.from = reportPlace("states", rows.names(), "connections", side)
			return f
		case holders != nil:
			var rows []analyze.Delta
			for i := range in.r.Holders {
				if h := &in.r.Holders[i]; selected(holders, holderPath(h.Path)) {
					rows = append(rows, pairDelta(h.Connections))
				}
			}
			f := in.amount(side, rows, nil, need{heap: true, whole: true})
			f.from = reportPlace("holders", []string{plural(len(rows), "row")}, "connections", side)
			return f
		}
		f := in.amount(side, []analyze.Delta{pairDelta(in.r.Summary.Connections)}, nil, need{heap: true, whole: true, table: true, joined: true})
		f.from = reportPlace("summary", nil, "connections", side)
		return f
	}
}

func readSendQueue(side string) func(*reading, *metricRef) figure {
	return func(in *reading, m *metricRef) figure {
		rows := in.stateRows(m.on(labelState))
		var deltas, slack []analyze.Delta
		for _, r := range rows.in {
			deltas = append(deltas, pairDelta(r.KernelSendQueueBytes))
		}
		for _, r := range rows.slack {
			slack = append(slack, pairDelta(r.KernelSendQueueBytes))
		}
		f := in.amount(side, deltas, slack, need{table: true})
		rows.complete(&f)
		f.confidence = rows.confidence(analyze.Exact)
		f.from = reportPlace("states", rows.names(), "kernel_send_queue_bytes", side)
		return f
	}
}

// reportPlace names the place in the JSON report that a side of a figure was read
// from.
func reportPlace(table string, rows []string, key, side string) string {
	if len(rows) > 0 {
		table += "[" + strings.Join(rows, ", ") + "]"
	} else if table != "summary" {
		table += "[]"
	}
	from := table + "." + key
	switch side {
	case "":
		return from
	case "delta":
		return from + ": head - base"
	case "kept":
		return from + ".retained"
	}
	return from + "." + side
}
