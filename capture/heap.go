package capture

import (
	"github.com/leakscope/leakscope/heap"
	"github.com/leakscope/leakscope/snapshot"
)

// heapSection turns the result of a heap walk into a snapshot's section.
func heapSection(method string, r *heap.Result) *snapshot.Heap {
	h := &snapshot.Heap{
		Method: method, Complete: r.Complete, Reason: r.Reason,
		Counters:    counters(r.Counters),
		Checks:      make([]snapshot.Check, len(r.Checks)),
		Warnings:    append([]string{}, r.Warnings...),
		Holders:     make([]snapshot.Holder, len(r.Holders)),
		Connections: make([]snapshot.HeapConnection, len(r.Connections)),
		Allocations: make([]snapshot.Allocation, len(r.Allocations)),
		Retainers:   retainers(r.Retainers),
	}
	if r.Objects >= 0 {
		h.Objects = snapshot.Known(r.Objects)
	}
	if r.Bytes >= 0 {
		h.Bytes = snapshot.Known(r.Bytes)
	}
	for i, c := range r.Checks {
		h.Checks[i] = snapshot.Check(c)
	}
	for i, holder := range r.Holders {
		h.Holders[i] = snapshot.Holder(holder)
	}
	for _, c := range r.ThreadCaches {
		h.ThreadCaches = append(h.ThreadCaches, snapshot.ThreadCache{Thread: c.Thread, Live: optional(c.Live), Buffers: c.Buffers, Bytes: c.Bytes})
	}
	for i, c := range r.Connections {
		h.Connections[i] = snapshot.HeapConnection{
			Class: c.Class, Object: snapshot.Address(c.Object), FD: optional(c.FD), Closed: optional(c.Closed),
			State: c.State, Listening: c.Listening, Local: c.Local, Remote: c.Remote,
			Reachable: optional(c.Reachable), Evidence: c.Evidence, Labels: c.Labels,
		}
	}
	for i, a := range r.Allocations {
		h.Allocations[i] = snapshot.Allocation{
			Address: snapshot.Address(a.Address), Bytes: a.Bytes, Kind: snapshot.Kind(a.Kind.String()), Fate: snapshot.Fate(a.Fate.String()),
			Remainder: a.Remainder, Chunk: snapshot.Address(a.Chunk), Holder: a.Holder, Connection: a.Connection, Sharers: int32(a.Sharers),
		}
	}
	return h
}

func counters(of []heap.Counter) []snapshot.Counter {
	out := make([]snapshot.Counter, len(of))
	for i, c := range of {
		out[i].Name = c.Name
		if c.Known {
			out[i].Value = snapshot.Known(c.Value)
		}
	}
	return out
}

func retainers(r *heap.Retainer) *snapshot.Retainer {
	if r == nil {
		return nil
	}
	out := &snapshot.Retainer{Step: r.Step, Root: r.Root, Objects: r.Objects, Allocations: r.Allocations, Bytes: r.Bytes}
	for _, child := range r.Children {
		out.Children = append(out.Children, retainers(child))
	}
	return out
}

func optional[T any](p *T) snapshot.Optional[T] {
	if p == nil {
		return snapshot.Optional[T]{}
	}
	return snapshot.Known(*p)
}
