package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// fateMeaning says in words what became of an allocation.
func fateMeaning(f snapshot.Fate) string {
	switch f {
	case snapshot.FateConnection:
		return "held by a connection"
	case snapshot.FateApplication:
		return "held, but by no connection"
	case snapshot.FateLost:
		return "used in its pool, its buffer object is gone: a missing release"
	case snapshot.FateUnreachable:
		return "garbage that waits for a collection"
	case snapshot.FateThreadCache:
		return "cached by a thread for reuse"
	case snapshot.FatePoolFree:
		return "inside a pool, unused"
	case snapshot.FateRuntime:
		return "the JVM's own"
	case snapshot.FateUnattributed:
		return "not known what holds it"
	}
	return string(f)
}

// fatesOf are the rows of fates that have memory, their sum, and the rows that
// are in no total: the runtime's own.
func fatesOf(r *analyze.Result) (rows []analyze.FateRow, bytes, allocations analyze.Delta, runtime *analyze.FateRow) {
	bytes, allocations = zero(), zero()
	for i := range r.Fates {
		row := r.Fates[i]
		if row.Fate == snapshot.FateRuntime {
			if !nothing(row.Bytes) {
				runtime = &row
			}
			continue
		}
		bytes, allocations = plusDelta(bytes, row.Bytes), plusDelta(allocations, row.Allocations)
		if !nothing(row.Bytes) || !nothing(row.Allocations) {
			rows = append(rows, row)
		}
	}
	return rows, bytes, allocations, runtime
}

func (v *view) fates() {
	rows, bytes, allocations, runtime := fatesOf(v.r)
	if len(rows) == 0 && !v.heapKnown() {
		return // the state table has said why
	}
	v.heading("What became of every byte", "")
	if len(rows) == 0 {
		v.para("", "no off-heap allocations were found", plain)
	} else {
		g := &grid{columns: []column{left("fate"), figure("buffers"), figure("bytes"), figure("share"), flexible("meaning")}}
		if v.diff {
			g.columns = []column{left("fate"), figure("buffers"), delta(), figure("bytes"), delta(), figure("share"), flexible("meaning")}
		}
		row := func(name string, a, b analyze.Delta, meaning string) []cell {
			cells := []cell{text(name), text(countOf(a.Head))}
			if v.diff {
				cells = append(cells, text(countChange(a.Base, a.Head)))
			}
			cells = append(cells, text(bytesOf(b.Head)))
			if v.diff {
				cells = append(cells, text(byteChange(b.Base, b.Head)))
			}
			return append(cells, text(shareOf(b.Head, bytes.Head)), text(meaning))
		}
		for _, f := range rows {
			g.add(row(string(f.Fate), f.Allocations, f.Bytes, fateMeaning(f.Fate))...)
		}
		g.total = row("total", allocations, bytes, "")
		v.grid(g)
		v.isUnknown("memory is not known", v.whyNoHeap())
	}
	if runtime != nil {
		v.para("", fmt.Sprintf("besides, in no total: %s of the JVM's own (its module image and counters)", bytesOf(runtime.Bytes.Head)), v.p.faint)
	}
}

func (v *view) trends() {
	if len(v.r.Trends) == 0 {
		return
	}
	shown := v.r.Trends[:v.o.top(len(v.r.Trends))]
	v.heading("Trends", ofTotal(len(shown), len(v.r.Trends))+", 90 % interval of the slope")
	g := &grid{columns: []column{flexible("of"), left("shape"), figure("slope"), figure("low"), figure("high"), figure("samples")}}
	for _, t := range shown {
		slope := func(f analyze.Float) string {
			n, ok := f.Get()
			if !ok {
				return unknown
			}
			if t.Per == "second" {
				return signedRate(n)
			}
			return units.SignedBytes(int64(n))
		}
		of := t.Of
		if t.Key != "" && t.Key != t.Of {
			of += " " + strings.Join(v.names.path(strings.Split(t.Key, " → ")), " ")
		}
		if t.Per != "second" {
			of += " per " + strings.ReplaceAll(t.Per, "-", " ")
		}
		g.add(text(of), text(string(t.Shape)), text(slope(t.Slope)), text(slope(t.Low)), text(slope(t.High)), text(count(t.Samples)))
	}
	v.grid(g)
	if slices.ContainsFunc(shown, func(t analyze.Trend) bool { return !t.Low.IsKnown() || !t.High.IsKnown() }) {
		v.isUnknown("an interval takes four snapshots with the evidence, or more", []string{"with fewer the shape is undecided"})
	}
}

func (v *view) reconciliation() {
	rows := v.r.Reconciliation
	v.heading("Beside other counters", " (they overlap: compared, never added)")
	if len(rows) == 0 {
		v.para("", "no counter was readable", plain)
		return
	}
	g := &grid{columns: []column{flexible("counter"), figure("value"), figure("difference")}}
	if v.diff {
		g.columns = []column{flexible("counter"), figure("before"), figure("after"), delta(), figure("difference")}
	}
	unknownDifference := false
	for _, r := range rows {
		cells := []cell{text(counterName(r.Counter))}
		if v.diff {
			cells = append(cells, text(bytesOf(r.Base)))
		}
		cells = append(cells, text(bytesOf(r.Head)))
		if v.diff {
			cells = append(cells, text(byteChange(r.Base, r.Head)))
		}
		cells = append(cells, text(signedBytesOf(r.DifferenceBytes)))
		unknownDifference = unknownDifference || !r.DifferenceBytes.IsKnown()
		g.add(cells...)
	}
	v.grid(g)
	for _, r := range rows {
		note := counterName(r.Counter) + " counts " + r.Covers
		if r.Covers == "" {
			note = counterName(r.Counter)
		}
		if r.Explanation != "" {
			note += "; the difference: " + r.Explanation
		}
		if r.Covers != "" || r.Explanation != "" {
			v.item("  ", note)
		}
	}
	if unknownDifference {
		why := v.whyNoHeap()
		if len(why) == 0 {
			why = []string{"a snapshot lacks the counter, or the allocations it should count"}
		}
		v.isUnknown("not known", why)
	}
}

// counterName leaves the package out of a counter that is a static field.
func counterName(name string) string {
	parts := strings.Split(name, ".")
	if len(parts) > 2 {
		return strings.Join(parts[len(parts)-2:], ".")
	}
	return name
}

func (v *view) residency() {
	rows := v.r.Residency
	if len(rows) == 0 {
		return
	}
	v.heading("Resident memory", "")
	g := &grid{columns: []column{left("part"), figure("bytes"), figure("share"), flexible("from")}}
	if v.diff {
		g.columns = []column{left("part"), figure("before"), figure("after"), delta(), figure("share"), flexible("from")}
	}
	base, head := zero().Base, zero().Base
	for _, r := range rows {
		base, head = plus(base, r.BaseBytes), plus(head, r.HeadBytes)
	}
	row := func(part string, b, h analyze.Int, source string) []cell {
		if !v.diff {
			return []cell{text(part), text(bytesOf(h)), text(shareOf(h, head)), text(source)}
		}
		return []cell{text(part), text(bytesOf(b)), text(bytesOf(h)), text(byteChange(b, h)), text(shareOf(h, head)), text(source)}
	}
	for _, r := range rows {
		g.add(row(r.Part, r.BaseBytes, r.HeadBytes, r.Source)...)
	}
	g.total = row("rss", base, head, "")
	v.grid(g)
	if !head.IsKnown() || v.diff && !base.IsKnown() {
		v.isUnknown("not known", []string{"a snapshot has no resident size of its mappings"})
	}
}
