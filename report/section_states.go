package report

import (
	"fmt"
	"slices"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// stateTable is the rows of the state table and the sums they come to.
type stateTable struct {
	rows []analyze.StateRow // of states that have connections or memory
	// rest is what no connection holds, so that rows and rest sum to total.
	restBytes, restAllocations analyze.Delta
	// free is what of the rest nothing keeps in use, as far as its rows can be
	// told apart.
	split                        bool
	freeBytes, freeAllocations   analyze.Delta
	totalBytes, totalAllocations analyze.Delta
	connections                  analyze.Pair
	sendQueue                    analyze.Pair
}

func statesOf(r *analyze.Result) stateTable {
	t := stateTable{
		totalBytes: r.Summary.Bytes, totalAllocations: r.Summary.Allocations, connections: r.Summary.Connections,
		sendQueue: analyze.Pair{Base: snapshot.Known[int64](0), Head: snapshot.Known[int64](0)},
	}
	bytes, allocations := zero(), zero()
	for _, row := range r.States {
		bytes, allocations = plusDelta(bytes, row.Bytes), plusDelta(allocations, row.Allocations)
		t.sendQueue.Base = plus(t.sendQueue.Base, row.KernelSendQueueBytes.Base)
		t.sendQueue.Head = plus(t.sendQueue.Head, row.KernelSendQueueBytes.Head)
		if !nobody(row.Connections) || !nothing(row.Bytes) || !nothing(row.Allocations) {
			t.rows = append(t.rows, row)
		}
	}
	t.restBytes, t.restAllocations = lessDelta(t.totalBytes, bytes), lessDelta(t.totalAllocations, allocations)
	t.splitRest(r)
	return t
}

// splitRest takes what nothing keeps in use out of the rest. The summary has
// its bytes; its number of buffers is that of the fates that come to them.
func (t *stateTable) splitRest(r *analyze.Result) {
	want := lessDelta(r.Summary.Bytes, r.Summary.RetainedBytes)
	if !want.Head.IsKnown() || nothing(want) {
		return
	}
	fates := []snapshot.Fate{snapshot.FatePoolFree, snapshot.FateUnreachable}
	for range 2 {
		bytes, allocations := zero(), zero()
		for _, row := range r.Fates {
			if slices.Contains(fates, row.Fate) {
				bytes, allocations = plusDelta(bytes, row.Bytes), plusDelta(allocations, row.Allocations)
			}
		}
		rest := lessDelta(t.restBytes, bytes)
		if same(bytes, want) && rest.Head.Or(-1) >= 0 && rest.Base.Or(0) >= 0 {
			t.split, t.freeBytes, t.freeAllocations = true, bytes, allocations
			t.restBytes, t.restAllocations = rest, lessDelta(t.restAllocations, allocations)
			return
		}
		fates = append(fates, snapshot.FateThreadCache)
	}
}

// same reports equal figures of the base and of the head.
func same(a, b analyze.Delta) bool { return a.Base.Equal(b.Base) && a.Head.Equal(b.Head) }

func (v *view) states() {
	t := statesOf(v.r)
	v.heading("Connections by state", "")
	g := &grid{columns: []column{left("state"), figure("conns"), figure("buffers"), figure("retained"), figure("share"), left("confidence")}}
	if v.diff {
		g.columns = []column{
			left("state"), figure("conns"), delta(), figure("buffers"), delta(), figure("retained"), delta(),
			figure("share"), left("confidence"),
		}
	}
	row := func(name cell, connections *analyze.Pair, allocations, bytes analyze.Delta, confidence string) []cell {
		cells := []cell{name}
		put := func(value, change string) {
			cells = append(cells, text(value))
			if v.diff {
				cells = append(cells, text(change))
			}
		}
		if connections == nil {
			put("", "")
		} else {
			put(countOf(connections.Head), countChange(connections.Base, connections.Head))
		}
		put(countOf(allocations.Head), countChange(allocations.Base, allocations.Head))
		put(bytesOf(bytes.Head), byteChange(bytes.Base, bytes.Head))
		return append(cells, text(shareOf(bytes.Head, t.totalBytes.Head)), text(confidence))
	}
	for i := range t.rows {
		s := &t.rows[i]
		g.add(row(painted(string(s.State), v.p.state(s.State)), &s.Connections, s.Allocations, s.Bytes, string(s.Confidence))...)
	}
	confidence := ""
	if v.heapKnown() {
		confidence = string(v.r.Summary.Confidence)
	}
	g.add(row(text("no connection"), nil, t.restAllocations, t.restBytes, confidence)...)
	if t.split {
		g.add(row(painted("not in use", v.p.faint), nil, t.freeAllocations, t.freeBytes, confidence)...)
	}
	g.total = row(text("total"), &t.connections, t.totalAllocations, t.totalBytes, "")
	v.grid(g)
	if note := v.notInUse(); note != "" {
		v.para("", note, v.p.faint)
	}
	if queue, ok := t.sendQueue.Head.Get(); ok && queue > 0 {
		note := "the kernel holds " + bytesOf(t.sendQueue.Head) + " more unsent in send queues"
		if d := change(t.sendQueue.Base, t.sendQueue.Head); d.IsKnown() && v.diff {
			note += fmt.Sprintf(" (%s)", signedBytesOf(d))
		}
		v.para("", note+": outside the process's memory, and in no total here", v.p.faint)
	}
	v.isUnknown("memory is not known", v.whyNoHeap())
	v.isUnknown("connections are not known in full", v.whyNoConnections())
}

// notInUse says how much of the total nothing keeps in use; "" when all of it
// is used, or that is not known.
func (v *view) notInUse() string {
	s := &v.r.Summary
	free := lessDelta(s.Bytes, s.RetainedBytes)
	if !free.Head.IsKnown() || nothing(free) {
		return ""
	}
	with := func(d analyze.Delta) string {
		if v.diff {
			return fmt.Sprintf("%s (%s)", bytesOf(d.Head), byteChange(d.Base, d.Head))
		}
		return bytesOf(d.Head)
	}
	return fmt.Sprintf("in use are %s; %s are free for reuse in pools and caches, or garbage", with(s.RetainedBytes), with(free))
}

// heapKnown reports whether every input that counts has heap evidence.
func (v *view) heapKnown() bool {
	s := &v.r.Summary.Bytes
	return s.Head.IsKnown() && (!v.diff || s.Base.IsKnown())
}
