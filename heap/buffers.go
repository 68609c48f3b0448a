package heap

import (
	"cmp"
	"slices"
)

// readBatch is how many objects are read at once where there can be millions.
const readBatch = 1 << 13

// nodeSet is a set of nodes below a bound.
type nodeSet []uint64

func newNodeSet(n int) nodeSet { return make(nodeSet, (n+63)/64) }

func (s nodeSet) add(n Node) { s[n/64] |= 1 << (n % 64) }

func (s nodeSet) has(n Node) bool { return int(n/64) < len(s) && s[n/64]>>(n%64)&1 != 0 }

// freeing is what the walk knows of how direct buffers are freed.
type freeing struct {
	w     *walk
	known nodeSet // Cleaners and what they run, as far as the search for their classes met them
	freed nodeSet // what was run
	used  nodeSet // what frees a buffer that is still there

	byAddress map[uint64]Node

	values []uint64 // for reading, again and again
	ok     []bool
	thunks []thunk
}

// thunk is what frees an allocation.
type thunk struct {
	address, size uint64
	mapped        bool
}

// each reads fields of many objects in batches; row i of values and ok is
// nodes[i].
func (f *freeing) each(nodes []Node, names []string, visit func(nodes []Node, values []uint64, ok []bool) error) error {
	for batch := range slices.Chunk(nodes, readBatch) {
		values, ok := make([]uint64, len(batch)*len(names)), make([]bool, len(batch)*len(names))
		if err := f.w.fill(batch, names, values, ok); err != nil {
			return err
		}
		if err := visit(batch, values, ok); err != nil {
			return err
		}
	}
	return nil
}

var thunkFields = []string{"address", "size", "capacity", "cap"}

// read reads what frees allocations. The result holds until the next call.
func (f *freeing) read(nodes []Node) ([]thunk, error) {
	width := len(thunkFields)
	f.values, f.ok = resized(f.values, len(nodes)*width), resized(f.ok, len(nodes)*width)
	if err := f.w.fill(nodes, thunkFields, f.values, f.ok); err != nil {
		return nil, err
	}
	f.thunks = f.thunks[:0]
	for i, n := range nodes {
		v, ok := f.values[i*width:], f.ok[i*width:]
		t := thunk{address: v[0], size: v[1], mapped: f.w.roleOf(n) == roleUnmapper}
		switch {
		case ok[1]:
		case ok[2]:
			t.size = v[2]
		default:
			t.size = v[3]
		}
		if f.freed.has(n) {
			t.address = 0
		}
		f.thunks = append(f.thunks, t)
	}
	return f.thunks, nil
}

// resized returns a slice of that length with nothing in it, s where it fits.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// readFreeing finds what was freed already, and sums what is still to be.
func (w *walk) readFreeing() (*freeing, error) {
	n := w.g.Len()
	f := &freeing{w: w, known: newNodeSet(n), freed: newNodeSet(n), used: newNodeSet(n)}
	for _, r := range []role{roleDeallocator, roleUnmapper, roleCleaner} {
		for _, n := range w.objects[r] {
			f.known.add(n)
		}
	}
	for batch := range slices.Chunk(w.objects[roleDeallocator], readBatch) {
		thunks, err := f.read(batch)
		if err != nil {
			return nil, err
		}
		for _, t := range thunks {
			if t.address != 0 {
				w.thunkBytes += int64(t.size)
			}
		}
	}
	return f, f.each(w.objects[roleCleaner], []string{"thunk", "action", "next", "node"}, func(nodes []Node, values []uint64, ok []bool) error {
		var ran []Node
		for i, n := range nodes {
			row, known := values[4*i:4*i+4], ok[4*i:4*i+4]
			// A Cleaner that has run points to itself (jdk.internal.ref.Cleaner,
			// remove). Since JDK 24 that alone says so: the deallocator is a record
			// and keeps its address. Since 26 it is in no list (java.nio.BufferCleaner,
			// CleanerList.remove).
			done, runs := row[2] == uint64(n), Node(row[0])
			if known[1] {
				done, runs = known[3] && Node(row[3]) == None, Node(row[1])
			}
			if done && f.known.has(runs) && w.roleOf(runs) == roleDeallocator && !f.freed.has(runs) {
				ran = append(ran, runs)
			}
		}
		thunks, err := f.read(ran)
		if err != nil {
			return err
		}
		for i, t := range thunks {
			if t.address != 0 && !f.freed.has(ran[i]) {
				w.thunkBytes -= int64(t.size)
			}
			f.freed.add(ran[i])
		}
		return nil
	})
}

// find returns what frees each of some buffers with a Cleaner, None where that
// is not known.
func (f *freeing) find(cleaners []Node, addresses []uint64) ([]Node, error) {
	found := make([]Node, len(cleaners))
	v, ok, err := f.w.columns(cleaners, "thunk", "action")
	if err != nil {
		return nil, err
	}
	for i, c := range cleaners {
		found[i] = None
		runs := None
		switch {
		case !f.known.has(c) || f.w.roleOf(c) != roleCleaner:
			// No Cleaner of a kind known here: join by address.
			if runs, err = f.at(addresses[i]); err != nil {
				return nil, err
			}
		case ok[2*i+1]:
			runs = Node(v[2*i+1])
		case ok[2*i]:
			runs = Node(v[2*i])
		}
		if !f.known.has(runs) {
			continue
		}
		if r := f.w.roleOf(runs); r == roleDeallocator || r == roleUnmapper {
			found[i] = runs
		}
	}
	return found, nil
}

// at returns what frees the memory at an address.
func (f *freeing) at(address uint64) (Node, error) {
	if f.byAddress == nil {
		f.byAddress = map[uint64]Node{}
		for _, r := range []role{roleDeallocator, roleUnmapper} {
			for batch := range slices.Chunk(f.w.objects[r], readBatch) {
				thunks, err := f.read(batch)
				if err != nil {
					return None, err
				}
				for i, t := range thunks {
					if t.address != 0 {
						f.byAddress[t.address] = batch[i]
					}
				}
			}
		}
	}
	if n, ok := f.byAddress[address]; ok {
		return n, nil
	}
	return None, nil
}

// refers reports whether a reference field that was read is not null: also when
// it leads to an object that the graph does not hold.
func (w *walk) refers(n Node, field string, value uint64, ok bool) bool {
	if ok {
		return Node(value) != None
	}
	return w.fieldNumber(w.g.Class(n), field) >= 0
}

// readBuffers reads direct buffers and their deallocators. A buffer without
// one is an allocation of its own, unless it lies within another.
func (w *walk) readBuffers() error {
	f, err := w.readFreeing()
	if err != nil {
		return err
	}
	inUse := map[Node]bool{} // memory of chunks that are not garbage
	for i := range w.chunks {
		if c := &w.chunks[i]; !c.gone {
			inUse[c.memory], inUse[c.base] = true, true
		}
	}
	var bare []anchor
	var owned []anchor // with a Cleaner
	var cleaners []Node
	var addresses []uint64
	w.anchors = slices.Grow(w.anchors, len(w.objects[roleBuffer]))
	err = f.each(w.objects[roleBuffer], []string{"address", "capacity", "att", "cleaner", "segment"}, func(nodes []Node, v []uint64, ok []bool) error {
		owned, cleaners, addresses = owned[:0], cleaners[:0], addresses[:0]
		for i, n := range nodes {
			row, known := v[i*5:i*5+5], ok[i*5:i*5+5]
			if w.refers(n, "att", row[2], known[2]) || w.refers(n, "segment", row[4], known[4]) {
				continue // a view
			}
			if row[0] == 0 {
				continue
			}
			a := anchor{node: n, address: row[0], bytes: int64(row[1]), chunk: -1}
			if known[3] && Node(row[3]) != None {
				owned = append(owned, a)
				cleaners = append(cleaners, Node(row[3]))
				addresses = append(addresses, row[0])
				continue
			}
			if w.memories[n] || a.bytes == 0 {
				continue
			}
			if yes, known := w.reachable(n); known && !yes {
				continue // nothing says that the memory is still there
			}
			a.kind = KindNoCleaner
			bare = append(bare, a)
		}
		return f.own(owned, cleaners, addresses, inUse)
	})
	if err != nil {
		return err
	}
	for _, r := range []role{roleDeallocator, roleUnmapper} {
		for batch := range slices.Chunk(w.objects[r], readBatch) {
			thunks, err := f.read(batch)
			if err != nil {
				return err
			}
			for i, t := range thunks {
				if f.used.has(batch[i]) || t.address == 0 {
					continue
				}
				// The buffer is gone, its clean-up still to come.
				a := anchor{node: None, address: t.address, bytes: int64(t.size), chunk: -1}
				if t.mapped {
					a.kind = KindMapped
				}
				w.anchors = append(w.anchors, a)
			}
		}
	}
	w.addBare(bare)
	return nil
}

// own adds buffers that a Cleaner frees: as much as it will free.
func (f *freeing) own(buffers []anchor, cleaners []Node, addresses []uint64, inUse map[Node]bool) error {
	w := f.w
	runs, err := f.find(cleaners, addresses)
	if err != nil {
		return err
	}
	var some []Node
	for _, n := range runs {
		if n != None {
			some = append(some, n)
		}
	}
	thunks, err := f.read(some)
	if err != nil {
		return err
	}
	for i := range buffers {
		a := buffers[i]
		if runs[i] != None {
			t := thunks[0]
			thunks = thunks[1:]
			f.used.add(runs[i])
			if t.address == 0 {
				continue // freed
			}
			a.address, a.bytes = t.address, int64(t.size)
			if t.mapped {
				a.kind = KindMapped
			}
		}
		if !inUse[a.node] {
			w.anchors = append(w.anchors, a)
		}
	}
	return nil
}

// addBare adds buffers without a Cleaner, but those that lie within another
// allocation or a chunk: they are views made outside the JDK's own API.
func (w *walk) addBare(bare []anchor) {
	type span struct{ start, end uint64 }
	if len(bare) == 0 {
		return
	}
	spans := make([]span, 0, len(w.anchors)+len(w.chunks))
	for _, a := range w.anchors {
		spans = append(spans, span{a.address, a.address + uint64(a.bytes)})
	}
	for _, c := range w.chunks {
		if !c.gone {
			spans = append(spans, span{c.address, c.address + uint64(c.size)})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	// The largest of those at one address is the allocation.
	slices.SortStableFunc(bare, func(a, b anchor) int {
		return cmp.Or(cmp.Compare(a.address, b.address), cmp.Compare(b.bytes, a.bytes))
	})
	var end uint64
	at := 0
	covered := uint64(0)
	for _, a := range bare {
		for at < len(spans) && spans[at].start <= a.address {
			covered = max(covered, spans[at].end)
			at++
		}
		last := a.address + uint64(a.bytes)
		if last <= covered || last <= end {
			continue
		}
		end = max(end, last)
		w.anchors = append(w.anchors, a)
	}
}
