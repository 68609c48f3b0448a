package heap

import (
	"fmt"
	"math/bits"
	"strings"
)

// chunkState is the books of one chunk of a pool.
type chunkState struct {
	node     Node
	memory   Node // the buffer that is its memory
	base     Node // what that is a view of, where memory is aligned; else None
	address  uint64
	size     int64
	free     int64    // by the chunk's own books
	live     int64    // of reachable buffers
	cached   int64    // regions that threads keep for reuse
	subpage  int64    // unused elements of runs cut into elements
	rest     retained // what the rows that stand for a part of it sum to
	gone     bool     // the chunk itself is garbage
	adaptive bool
	page     int64
	old      bool // bookkeeping before Netty 4.1.52: a buddy tree
}

// readChunks reads the chunks of Netty's pools; those of heap memory are left
// out.
func (w *walk) readChunks() error {
	w.chunkAt = map[Node]int32{}
	w.memories = map[Node]bool{}
	nodes := w.objects[roleChunk]
	v, ok, err := w.columns(nodes, "memory", "chunkSize", "freeBytes", "pageSize", "pageShifts")
	if err != nil {
		return err
	}
	var memories []Node
	for i, n := range nodes {
		row, known := v[i*5:i*5+5], ok[i*5:i*5+5]
		if !known[0] || !known[1] || Node(row[0]) == None || w.roleOf(Node(row[0])) != roleBuffer {
			continue
		}
		page := int64(row[3])
		if !known[3] || page <= 0 {
			page = 1 << min(row[4], 40)
		}
		w.chunkAt[n] = int32(len(w.chunks))
		w.chunks = append(w.chunks, chunkState{
			node: n, size: int64(row[1]), free: int64(row[2]), page: page,
			old: w.fieldNumber(w.g.Class(n), "memoryMap") >= 0,
		})
		memories = append(memories, Node(row[0]))
	}
	// Netty 4.2's adaptive chunks keep their memory in a buffer of their own.
	nodes = w.objects[roleAdaptiveChunk]
	if v, ok, err = w.columns(nodes, "capacity", "allocatedBytes", "delegate"); err != nil {
		return err
	}
	for i, n := range nodes {
		row, known := v[i*3:i*3+3], ok[i*3:i*3+3]
		if !known[0] {
			continue
		}
		delegate := Node(row[2])
		if !known[2] || delegate == None {
			delegate = w.follow(n, "delegate")
		}
		memory := w.follow(delegate, "buffer")
		if memory == None || w.roleOf(memory) != roleBuffer {
			continue
		}
		w.chunkAt[n] = int32(len(w.chunks))
		w.chunks = append(w.chunks, chunkState{
			node: n, size: int64(row[0]), free: int64(row[0]) - int64(row[1]), adaptive: true,
		})
		memories = append(memories, memory)
	}
	addresses, _, err := w.columnsOf(memories, "address")
	if err != nil {
		return err
	}
	bases, _, err := w.refs(memories, "att")
	if err != nil {
		return err
	}
	for i, m := range memories {
		w.chunks[i].memory = m
		w.chunks[i].address = addresses[i]
		w.chunks[i].base = bases[i]
		w.memories[m] = true
		if bases[i] != None {
			w.memories[bases[i]] = true
		}
	}
	return nil
}

// follow returns the object that a field of n refers to, by the references the
// graph holds.
func (w *walk) follow(n Node, name string) Node {
	if n == None {
		return None
	}
	found := None
	l := w.layout(w.g.Class(n))
	_ = w.g.References([]Node{n}, func(_ Node, field int32, to Node) {
		if field >= 0 && int(field) < len(l) && l[field].Name == name && found == None {
			found = to
		}
	})
	return found
}

// add adds an allocation that is to be settled.
func (w *walk) add(a Allocation) {
	a.Holder, a.Connection = -1, -1
	w.allocations = append(w.allocations, a)
}

// readAllocations finds the allocations and the objects that stand for them.
func (w *walk) readAllocations() error {
	for i := range w.chunks {
		yes, known := w.reachable(w.chunks[i].node)
		w.chunks[i].gone = known && !yes
	}
	if err := w.readBuffers(); err != nil {
		return err
	}
	if err := w.readImages(); err != nil {
		return err
	}
	if err := w.readForeign(); err != nil {
		return err
	}
	if err := w.readPooled(); err != nil {
		return err
	}
	return w.readBooks()
}

// readForeign reads the clean-up actions of foreign memory: segments may share
// memory, actions do not.
func (w *walk) readForeign() error {
	for _, n := range w.objects[roleCleanup] {
		c := w.g.Class(n)
		var sizes, addresses []string
		for _, f := range w.layout(c) {
			name := strings.ToLower(f.Name)
			switch {
			case f.Type != Long:
			case strings.Contains(name, "size"):
				sizes = append(sizes, f.Name)
			case strings.Contains(name, "base"), strings.Contains(name, "address"), strings.Contains(name, "buf"):
				addresses = append(addresses, f.Name)
			}
		}
		if len(sizes) == 0 || len(addresses) == 0 {
			continue
		}
		if yes, known := w.reachable(n); known && !yes {
			continue // closed, or its clean-up has run
		}
		v, ok, err := w.columns([]Node{n}, append(addresses[:1], sizes...)...)
		if err != nil {
			return err
		}
		var size uint64
		for i := range sizes {
			if ok[i+1] {
				size = max(size, v[i+1])
			}
		}
		if !ok[0] || v[0] == 0 {
			continue
		}
		w.foreignBytes += int64(size)
		w.add(Allocation{node: n, Address: v[0], Bytes: int64(size), Kind: KindForeign})
	}
	for _, c := range w.counters {
		if c.Name == "java.nio.Bits.RESERVED_MEMORY" && c.Known {
			// Exact to the byte on a whole dump.
			// Of foreign memory only that of automatic arenas counts there.
			foreign := max(0, min(c.Value-w.thunkBytes, w.foreignBytes))
			w.check("deallocators = java.nio.Bits.RESERVED_MEMORY", c.Value, w.thunkBytes+foreign)
		}
	}
	return nil
}

func (w *walk) check(name string, expected, actual int64) {
	w.checks = append(w.checks, Check{name, expected, actual, expected == actual})
}

// readPooled reads the live buffers of pools.
func (w *walk) readPooled() error {
	nodes := w.objects[rolePooled]
	v, ok, err := w.columns(nodes, "chunk", "offset", "maxLength")
	if err != nil {
		return err
	}
	for i, n := range nodes {
		if ok[i*3] && ok[i*3+2] {
			w.addPooled(n, Node(v[i*3]), v[i*3+1], int64(v[i*3+2]))
		}
	}
	nodes = w.objects[roleAdaptive]
	// The place in the chunk was named adjustment at first.
	if v, ok, err = w.columns(nodes, "chunk", "startIndex", "adjustment", "length", "maxFastCapacity"); err != nil {
		return err
	}
	for i, n := range nodes {
		row, known := v[i*5:i*5+5], ok[i*5:i*5+5]
		if !known[0] {
			continue
		}
		place, size := row[1], row[3]
		if !known[1] {
			place = row[2]
		}
		if known[4] {
			size = max(size, row[4])
		}
		w.addPooled(n, Node(row[0]), place, int64(size))
	}
	return nil
}

func (w *walk) addPooled(n, chunk Node, offset uint64, bytes int64) {
	at, ok := w.chunkAt[chunk]
	if !ok || w.chunks[at].gone || bytes <= 0 {
		return
	}
	c := &w.chunks[at]
	if yes, known := w.reachable(n); known && !yes {
		return // its memory is used but nothing can release it: lost
	}
	c.live += bytes
	w.add(Allocation{node: n, Address: c.address + offset, Bytes: bytes, Kind: KindPooled, Chunk: c.address})
}

// readBooks reads what else a chunk's used bytes are made of: the unused
// elements of runs cut into elements, and regions that threads keep.
func (w *walk) readBooks() error {
	nodes := w.objects[roleSubpage]
	v, ok, err := w.columns(nodes, "chunk", "elemSize", "maxNumElems", "numAvail", "doNotDestroy", "pageSize", "runSize", "runOffset", "memoryMapIdx")
	if err != nil {
		return err
	}
	type run struct {
		chunk int32
		at    int64
	}
	elements := map[run]int64{}
	for i := range nodes {
		row, known := v[i*9:i*9+9], ok[i*9:i*9+9]
		at, in := w.chunkAt[Node(row[0])]
		if !known[0] || !in || known[4] && row[4] == 0 {
			continue
		}
		size := int64(row[6])
		if !known[6] {
			size = int64(row[5])
		}
		used := (int64(row[2]) - int64(row[3])) * int64(row[1])
		w.chunks[at].subpage += size - used
		key := int64(row[7])
		if known[8] {
			key = int64(row[8])
		}
		elements[run{at, key}] = int64(row[1])
	}
	nodes = w.objects[roleCacheEntry]
	if v, ok, err = w.columns(nodes, "chunk", "handle", "normCapacity"); err != nil {
		return err
	}
	for i, n := range nodes {
		at, in := w.chunkAt[Node(v[i*3])]
		if !ok[i*3] || !in {
			continue
		}
		if yes, known := w.reachable(n); known && !yes {
			continue
		}
		c := &w.chunks[at]
		handle := int64(v[i*3+1])
		size := int64(v[i*3+2])
		switch {
		case ok[i*3+2] && size > 0:
		case c.old && handle>>32 != 0:
			size = elements[run{at, int64(int32(handle))}]
		case c.old:
			// A node of the buddy tree: the deeper, the smaller.
			size = c.size >> (bits.Len32(uint32(handle)) - 1)
		case handle>>32&1 != 0:
			size = elements[run{at, handle >> 49}]
		default:
			size = handle >> 34 & 0x7fff * c.page
		}
		c.cached += size
	}
	w.checkBooks()
	return nil
}

// checkBooks holds the live buffers against the chunks' own books.
func (w *walk) checkBooks() {
	var used, seen int64
	chunks := 0
	for i := range w.chunks {
		c := &w.chunks[i]
		if c.gone || c.adaptive {
			continue
		}
		chunks++
		used += c.size - c.free
		seen += min(c.live+c.cached+c.subpage, c.size-c.free)
		if over := c.live + c.cached + c.subpage - (c.size - c.free); over > 0 {
			w.warnings = append(w.warnings, fmt.Sprintf(
				"pool chunk 0x%x: buffers, caches and subpages take up %d bytes more than its books say are used", c.address, over))
			seen += over
		}
	}
	if chunks > 0 {
		lost := used - seen
		w.checks = append(w.checks, Check{"pooled buffers ≤ used bytes of their chunks", used, seen, lost >= 0})
	}
}
