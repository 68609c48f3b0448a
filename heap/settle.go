package heap

import (
	"cmp"
	"slices"
	"strings"
)

// settle gives each allocation its fate, connection and holder, and each chunk the
// rows for the rest of it.
func (w *walk) settle() {
	w.paths.init()
	for i := range w.allocations {
		w.judge(w.allocations[i].node, &w.allocations[i])
	}
	for i := range w.chunks {
		w.settleChunk(&w.chunks[i])
	}
	slices.SortFunc(w.allocations, func(a, b Allocation) int {
		return cmp.Or(
			cmp.Compare(a.Address, b.Address), cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Fate, b.Fate),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Connection, b.Connection), cmp.Compare(a.Holder, b.Holder),
		)
	})
	w.paths.sort(w.allocations)
	w.paths.release()
}

// judge decides the fate of the allocation that an object stands for.
func (w *walk) judge(n Node, row *Allocation) {
	if n == None {
		row.Fate = FateUnreachable
		return
	}
	held, known := w.reachable(n)
	if known && !held {
		if row.Fate = FateUnreachable; w.framesMissing {
			row.Fate = FateUnattributed
		}
		return
	}
	if w.images[n] {
		row.Fate = FateRuntime
		row.Holder = w.paths.holderFromRoot(w, n)
		return
	}
	if w.connWay.met(n) && w.owners.of[n] != noOwner {
		set := w.owners.of[n]
		members := w.owners.members(set)
		if !w.tooShared(set) {
			row.Fate = FateConnection
			row.Connection = members[0]
			if len(members) > 1 {
				row.Sharers = uint8(len(members))
			}
			row.Holder = w.paths.holderFromConnection(w, n)
			return
		}
	}
	if !known {
		row.Fate = FateUnattributed
		if w.rootWay.met(n) {
			row.Holder = w.paths.holderFromRoot(w, n) // that much is known
		}
		return
	}
	row.Fate = FateApplication
	switch t := w.nearHolder(n); {
	case t&runtimeHolder != 0:
		row.Fate = FateRuntime
	case t&threadCache != 0:
		row.Fate = FateThreadCache
	}
	row.Holder = w.paths.holderFromRoot(w, n)
}

// tooShared reports whether so many connections are equally near to an object
// that it belongs to what they share, the application, rather than to them.
func (w *walk) tooShared(set int32) bool {
	if set == manyOwner {
		return true
	}
	n := len(w.owners.members(set))
	return n > 8 || n > 2 && 2*n > len(w.connections)
}

// nearHolder returns the traits of the object that holds n, collections,
// arrays and views between them passed over: the JDK's module image and its
// performance counters, or the JDK's cache of a thread's temporary buffers.
func (w *walk) nearHolder(n Node) trait {
	for range 6 {
		if !w.rootWay.met(n) {
			return 0
		}
		from := w.rootWay.from[n]
		t := w.trait(from)
		if c, isMirror := w.mirrors[from]; isMirror {
			t = w.traits[c]
		}
		if t&(runtimeHolder|threadCache) != 0 {
			return t
		}
		if from == n || t&(internal|wrapper) == 0 && !strings.HasSuffix(w.className(from), "[]") {
			return 0
		}
		n = from
	}
	return 0
}

// settleChunk adds the rows that stand for the rest of a chunk, so that all
// rows of it sum to its size.
func (w *walk) settleChunk(c *chunkState) {
	if c.gone {
		return
	}
	kind := KindPooled
	add := func(fate Fate, bytes int64) {
		if bytes > 0 {
			c.rest.allocations++
			c.rest.bytes += bytes
			w.add(Allocation{
				node: None, Address: c.address, Bytes: bytes, Chunk: c.address, Kind: kind, Fate: fate, Remainder: true,
			})
		}
	}
	rest := c.size - c.live
	cached := max(0, min(c.cached, rest))
	rest -= cached
	free := max(0, min(c.free+c.subpage, rest))
	if c.adaptive {
		// An adaptive chunk only counts up: what has been released in it is
		// free again when all of it is.
		free = max(0, rest)
	}
	rest -= free
	add(FateThreadCache, cached)
	add(FatePoolFree, free)
	add(FateLost, rest)
}
