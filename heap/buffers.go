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

	// for reading, again and again
	values []uint64
	ok     []bool
	links  []uint64
	linked []bool
	thunks []thunk
	found  []Node
	some   []Node
}

// thunk is what frees an allocation.
type thunk struct {
	address, size uint64
	mapped        bool
}

// eachFreeing visits the objects of a role that frees memory, in batches.
func (w *walk) eachFreeing(r role, visit func(nodes []Node) error) error {
	for batch := range slices.Chunk(w.objects[r], readBatch) {
		if err := visit(batch); err != nil {
			return err
		}
	}
	if w.reached() == w.g.Len() {
		return nil
	}
	// Behind the nodes that references lead to there are no others.
	batch := make([]Node, 0, readBatch)
	for n, end := Node(w.reached()), Node(w.g.Len()); n < end; n++ {
		if w.roleOf(n) == r {
			batch = append(batch, n)
		}
		if len(batch) == readBatch || n == end-1 && len(batch) > 0 {
			if err := visit(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}

var thunkFields = []string{"address", "size", "cap"}

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
		if !ok[1] {
			t.size = v[2]
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
		_ = w.eachFreeing(r, func(nodes []Node) error {
			for _, n := range nodes {
				f.known.add(n)
			}
			return nil
		})
	}
	err := w.eachFreeing(roleDeallocator, func(batch []Node) error {
		thunks, err := f.read(batch)
		for _, t := range thunks {
			if t.address != 0 {
				w.thunkBytes += int64(t.size)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, w.eachFreeing(roleCleaner, f.readRan)
}

// readRan notes what Cleaners have run.
func (f *freeing) readRan(cleaners []Node) error {
	w := f.w
	f.links, f.linked = resized(f.links, 4*len(cleaners)), resized(f.linked, 4*len(cleaners))
	if err := w.fill(cleaners, []string{"thunk", "action", "next", "node"}, f.links, f.linked); err != nil {
		return err
	}
	var ran []Node
	for i, n := range cleaners {
		row, known := f.links[4*i:4*i+4], f.linked[4*i:4*i+4]
		// A Cleaner that has run points to itself (jdk.internal.ref.Cleaner,
		// remove). Since JDK 24 that alone says so: the deallocator is a record
		// and keeps its address. Since 26 it is in no list (java.nio.BufferCleaner,
		// CleanerList.remove).
		done, runs := row[2] == uint64(n), Node(row[0])
		if known[1] {
			done, runs = known[3] && Node(row[3]) == None, Node(row[1])
		}
		if done && f.known.has(runs) && w.roleOf(runs) == roleDeallocator {
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
}

// find returns what frees each of some buffers with a Cleaner, None where that
// is not known.
func (f *freeing) find(cleaners []Node, addresses []uint64) ([]Node, error) {
	f.links, f.linked = resized(f.links, 2*len(cleaners)), resized(f.linked, 2*len(cleaners))
	v, ok := f.links, f.linked
	if err := f.w.fill(cleaners, []string{"thunk", "action"}, v, ok); err != nil {
		return nil, err
	}
	found := f.found[:0]
	for i, c := range cleaners {
		found = append(found, None)
		runs := None
		switch {
		case !f.known.has(c) || f.w.roleOf(c) != roleCleaner:
			// No Cleaner of a kind known here: join by address.
			var err error
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
	f.found = found
	return found, nil
}

// at returns what frees the memory at an address.
func (f *freeing) at(address uint64) (Node, error) {
	if f.byAddress == nil {
		f.byAddress = map[uint64]Node{}
		for _, r := range []role{roleDeallocator, roleUnmapper} {
			err := f.w.eachFreeing(r, func(batch []Node) error {
				thunks, err := f.read(batch)
				for i, t := range thunks {
					if t.address != 0 {
						f.byAddress[t.address] = batch[i]
					}
				}
				return err
			})
			if err != nil {
				return None, err
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
	collectLarge(w.g.Len())
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
	var bare []Allocation
	var owned []Allocation // with a Cleaner
	var cleaners []Node
	var addresses []uint64
	w.allocations = slices.Grow(w.allocations, len(w.objects[roleBuffer]))
	names := []string{"address", "capacity", "att", "cleaner", "segment"}
	var v []uint64
	var ok []bool
	for nodes := range slices.Chunk(w.objects[roleBuffer], readBatch) {
		v, ok = resized(v, len(nodes)*len(names)), resized(ok, len(nodes)*len(names))
		if err := w.fill(nodes, names, v, ok); err != nil {
			return err
		}
		owned, cleaners, addresses = owned[:0], cleaners[:0], addresses[:0]
		for i, n := range nodes {
			row, known := v[i*5:i*5+5], ok[i*5:i*5+5]
			if w.refers(n, "att", row[2], known[2]) || w.refers(n, "segment", row[4], known[4]) {
				continue // a view
			}
			if row[0] == 0 {
				continue
			}
			a := Allocation{node: n, Address: row[0], Bytes: int64(row[1])}
			if known[3] && Node(row[3]) != None {
				owned = append(owned, a)
				cleaners = append(cleaners, Node(row[3]))
				addresses = append(addresses, row[0])
				continue
			}
			if w.memories[n] || a.Bytes == 0 {
				continue
			}
			if yes, known := w.reachable(n); known && !yes {
				continue // nothing says that the memory is still there
			}
			a.Kind = KindNoCleaner
			bare = append(bare, a)
		}
		if err := f.own(owned, cleaners, addresses, inUse); err != nil {
			return err
		}
	}
	for _, r := range []role{roleDeallocator, roleUnmapper} {
		err := w.eachFreeing(r, func(batch []Node) error {
			thunks, err := f.read(batch)
			for i, t := range thunks {
				if f.used.has(batch[i]) || t.address == 0 {
					continue
				}
				// The buffer is gone, its clean-up still to come.
				a := Allocation{node: None, Address: t.address, Bytes: int64(t.size)}
				if t.mapped {
					a.Kind = KindMapped
				}
				w.add(a)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	w.addBare(bare)
	return nil
}

// own adds buffers that a Cleaner frees: as much as it will free.
func (f *freeing) own(buffers []Allocation, cleaners []Node, addresses []uint64, inUse map[Node]bool) error {
	w := f.w
	runs, err := f.find(cleaners, addresses)
	if err != nil {
		return err
	}
	some := f.some[:0]
	for _, n := range runs {
		if n != None {
			some = append(some, n)
		}
	}
	f.some = some
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
			a.Address, a.Bytes = t.address, int64(t.size)
			if t.mapped {
				a.Kind = KindMapped
			}
		}
		if !inUse[a.node] {
			w.add(a)
		}
	}
	return nil
}

// readImages finds the buffers that are the JVM's module image, whoever else
// refers to them: what is read of it is a view of them, and a program may keep one.
func (w *walk) readImages() error {
	w.images = map[Node]bool{}
	buffers, _, err := w.refs(w.objects[roleImage], "memoryMap")
	for depth := 0; err == nil && depth < 3 && len(buffers) > 0; depth++ {
		buffers = slices.DeleteFunc(buffers, func(n Node) bool { return n == None || w.images[n] })
		for _, n := range buffers {
			w.images[n] = true
		}
		buffers, _, err = w.refs(buffers, "att")
	}
	return err
}

// addBare adds buffers without a Cleaner, but those that lie within another
// allocation or a chunk: they are views made outside the JDK's own API.
func (w *walk) addBare(bare []Allocation) {
	type span struct{ start, end uint64 }
	if len(bare) == 0 {
		return
	}
	spans := make([]span, 0, len(w.allocations)+len(w.chunks))
	for i := range w.allocations {
		a := &w.allocations[i]
		spans = append(spans, span{a.Address, a.Address + uint64(a.Bytes)})
	}
	for _, c := range w.chunks {
		if !c.gone {
			spans = append(spans, span{c.address, c.address + uint64(c.size)})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	// The largest of those at one address is the allocation.
	slices.SortStableFunc(bare, func(a, b Allocation) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(b.Bytes, a.Bytes))
	})
	var end uint64
	at := 0
	covered := uint64(0)
	for _, a := range bare {
		for at < len(spans) && spans[at].start <= a.Address {
			covered = max(covered, spans[at].end)
			at++
		}
		last := a.Address + uint64(a.Bytes)
		if last <= covered || last <= end {
			continue
		}
		end = max(end, last)
		w.add(a)
	}
}
