package analyze

import (
	"fmt"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

func (c *comparison) inputRows() []Input {
	rows := make([]Input, len(c.inputs))
	for i, in := range c.inputs {
		s := in.Snapshot
		role := "between"
		switch {
		case i == len(c.inputs)-1:
			role = "head"
		case i == 0:
			role = "base"
		}
		rows[i] = Input{
			Name: in.Name, Role: role, Target: s.Manifest.Target, Started: s.Manifest.Clock.Started,
			ElapsedSeconds: elapsed(c.inputs[0].Snapshot, s),
			TotalBytes:     liveTotal(s),
			Partial:        s.Manifest.Interrupted || (s.Heap != nil && !s.Heap.Complete),
		}
	}
	return rows
}

// liveTotal is the bytes of all allocations but those of fate runtime.
func liveTotal(s *snapshot.Snapshot) Int {
	if s.Heap == nil {
		return Int{}
	}
	var total int64
	for i := range s.Heap.Allocations {
		if s.Heap.Allocations[i].Fate != snapshot.FateRuntime {
			total += s.Heap.Allocations[i].Bytes
		}
	}
	return snapshot.Known(total)
}

func (c *comparison) stateRows() []StateRow {
	rows := make([]StateRow, 0, len(States()))
	for _, state := range States() {
		s := c.states[state]
		confidence := s.confidence
		if !c.head.haveHeap {
			confidence = worse(confidence, Inferred)
		}
		rows = append(rows, StateRow{
			State:                state,
			Connections:          s.connections.pair(c.connectionsKnown()),
			Allocations:          s.count.delta(c.heapKnown()),
			Bytes:                s.bytes.delta(c.heapKnown()),
			Confidence:           confidence,
			KernelSendQueueBytes: s.sendQueue.pair(c.kernelKnown()),
		})
	}
	return rows
}

func (c *comparison) kernelKnown() evidence {
	known := func(a *Attribution) bool { return a != nil && a.Snapshot.Sockets != nil }
	return evidence{base: known(c.base), head: known(c.head)}
}

func (c *comparison) fateRows() []FateRow {
	rows := make([]FateRow, 0, len(snapshot.Fates()))
	for _, fate := range snapshot.Fates() {
		a := c.fates[fate]
		rows = append(rows, FateRow{Fate: fate, Allocations: a.count.delta(c.heapKnown()), Bytes: a.bytes.delta(c.heapKnown())})
	}
	return rows
}

func (c *comparison) holderRows() []HolderRow {
	rows := make([]HolderRow, 0, len(c.holders))
	for key, h := range c.holders {
		row := HolderRow{
			Path: slices.Clone(h.path), Root: key.root, Fate: key.fate, States: []State{},
			Connections: tally{base: int64(len(h.baseConns)), head: int64(len(h.headConns))}.pair(c.heapKnown()),
			Allocations: h.count.delta(c.heapKnown()),
			Bytes:       h.bytes.delta(c.heapKnown()),
		}
		if row.Path == nil {
			row.Path = []string{}
		}
		for _, s := range States() {
			if h.headStates[s] {
				row.States = append(row.States, s)
			}
		}
		rows = append(rows, row)
	}
	name := func(r *HolderRow) string {
		return string(r.Fate) + "\x00" + r.Root + "\x00" + strings.Join(r.Path, "\x00")
	}
	slices.SortFunc(rows, func(a, b HolderRow) int { return byGrowth(a.Bytes, b.Bytes, name(&a), name(&b)) })
	return rows
}

func (c *comparison) connectionRows() []ConnectionRow {
	rows := make([]ConnectionRow, 0, len(c.connections))
	for i, p := range c.connections {
		conn := c.at(p)
		row := ConnectionRow{
			ID: conn.ID(), Local: conn.local, Remote: conn.remote,
			Reason: conn.Reason, Confidence: conn.Confidence,
			Allocations: c.held[i].count.delta(c.heapKnown()),
			Bytes:       c.held[i].bytes.delta(c.heapKnown()),
			Socket:      conn.Socket,
		}
		if conn.Heap != nil {
			row.Class = conn.Heap.Class
			row.Evidence = conn.Heap.Evidence
			row.Labels = conn.Heap.Labels
			if fd, ok := conn.Heap.FD.Get(); ok && !conn.Heap.Closed.Or(false) {
				row.FD = snapshot.Known(int64(fd))
			}
		}
		if conn.Socket != nil {
			row.Inode = conn.Socket.Inode
			if len(conn.Socket.FDs) > 0 {
				row.FD = snapshot.Known(int64(conn.Socket.FDs[0]))
			}
		}
		if p.base >= 0 {
			row.BaseState = c.base.Connections[p.base].State
		}
		if p.head >= 0 {
			row.State = c.head.Connections[p.head].State
		} else {
			row.Reason = "gone; it was " + string(row.BaseState) + " (" + row.Reason + ")"
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b ConnectionRow) int { return byGrowth(a.Bytes, b.Bytes, a.ID, b.ID) })
	return rows
}

// at is the connection of a pair as the head sees it, else as the base did.
func (c *comparison) at(p connectionPair) *Connection {
	if p.head >= 0 {
		return &c.head.Connections[p.head]
	}
	return &c.base.Connections[p.base]
}

func (c *comparison) transitionRows() []Transition {
	rows := []Transition{}
	if c.base == nil {
		return rows
	}
	type key struct{ from, to State }
	type sums struct{ connections, base, head, retained int64 }
	all := map[key]*sums{}
	for i, p := range c.connections {
		var k key
		if p.base >= 0 {
			k.from = c.base.Connections[p.base].State
		}
		if p.head >= 0 {
			k.to = c.head.Connections[p.head].State
		}
		s := all[k]
		if s == nil {
			s = &sums{}
			all[k] = s
		}
		s.connections++
		s.base += c.held[i].bytes.base
		s.head += c.held[i].bytes.head
		s.retained += c.held[i].bytes.retained
	}
	known := c.heapKnown()
	states := append(States(), "")
	for _, from := range states {
		for _, to := range states {
			s := all[key{from, to}]
			if s == nil {
				continue
			}
			d := tally{base: s.base, head: s.head, retained: s.retained}.delta(known)
			rows = append(rows, Transition{
				From: from, To: to, Connections: s.connections,
				BaseBytes: d.Base, HeadBytes: d.Head, RetainedBytes: d.Retained,
			})
		}
	}
	return rows
}

func (c *comparison) sourceRows() []SourceRow {
	rows := []SourceRow{}
	for _, in := range c.inputs {
		for _, s := range in.Snapshot.Manifest.Sources {
			rows = append(rows, SourceRow{Input: in.Name, Source: believed(in.Snapshot, s)})
		}
	}
	return rows
}

func (c *comparison) allWarnings() []string {
	all := append([]string{}, c.warnings...)
	for _, in := range c.inputs {
		s := in.Snapshot
		if s.Manifest.Interrupted {
			all = append(all, in.Name+": the capture was interrupted; what was captured is used")
		}
		if s.Heap == nil {
			continue
		}
		if !s.Heap.Complete {
			all = append(all, fmt.Sprintf("%s: the heap was read in part: %s; its figures are lower bounds", in.Name, s.Heap.Reason))
		}
		for _, w := range s.Heap.Warnings {
			all = append(all, in.Name+": "+w)
		}
		for _, check := range s.Heap.Checks {
			if !check.OK {
				all = append(all, fmt.Sprintf("%s: check %s failed: expected %d, found %d", in.Name, check.Name, check.Expected, check.Actual))
			}
		}
	}
	return all
}
