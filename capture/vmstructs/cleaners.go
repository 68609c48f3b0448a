package vmstructs

import (
	"fmt"

	"github.com/leakscope/leakscope/heap"
)

// Buffer is a direct buffer that a Cleaner frees, by its native memory.
type Buffer struct {
	Address uint64
	Bytes   int64
}

const maxCleaners = 1 << 20

// cleaners walks the list that the JDK keeps of its Cleaners and returns the
// memory of those that free a direct buffer: exact, also where no more of a
// heap can be read. The list hangs off a static field up to 25
// (sun.misc.Cleaner on 8, jdk.internal.ref.Cleaner since); what 26 has in its
// place is not read.
func (g *graph) cleaners() ([]Buffer, error) {
	for c := range g.j.classes {
		switch g.j.classes[c].Name {
		case "jdk.internal.ref.Cleaner", "sun.misc.Cleaner":
			return g.cleanersFrom(heap.ClassID(c))
		}
	}
	return nil, nil
}

func (g *graph) cleanersFrom(c heap.ClassID) ([]Buffer, error) {
	first, typ, ok := g.Static(c, "first")
	if !ok || typ != heap.Object {
		return nil, nil
	}
	next, thunk := g.number(c, "next"), g.number(c, "thunk")
	if next < 0 || thunk < 0 {
		return nil, nil
	}
	var out []Buffer
	for n := heap.Node(first); n != heap.None; {
		if len(out) > maxCleaners {
			return nil, fmt.Errorf("%w: more than %d Cleaners", ErrUnsupported, maxCleaners)
		}
		var v [2]uint64
		var ok [2]bool
		if err := g.Values([]heap.Node{n}, []int32{next, thunk}, v[:], ok[:]); err != nil {
			return nil, err
		}
		if t := heap.Node(v[1]); ok[1] && t != heap.None {
			if b, known, err := g.deallocator(t); err != nil {
				return nil, err
			} else if known {
				out = append(out, b)
			}
		}
		if !ok[0] || heap.Node(v[0]) == n {
			break
		}
		n = heap.Node(v[0])
	}
	return out, g.ctx.Err()
}

// deallocator reads what frees a direct buffer.
func (g *graph) deallocator(n heap.Node) (b Buffer, ok bool, err error) {
	c := g.Class(n)
	if c < 0 || g.j.classes[c].Name != "java.nio.DirectByteBuffer$Deallocator" {
		return b, false, nil
	}
	var v [2]uint64
	var known [2]bool
	fields := []int32{g.number(c, "address"), g.number(c, "size")}
	if err := g.Values([]heap.Node{n}, fields, v[:], known[:]); err != nil {
		return b, false, err
	}
	return Buffer{v[0], int64(v[1])}, known[0] && known[1] && v[0] != 0, nil
}

// number returns a field's number by its name, -1 for none.
func (g *graph) number(c heap.ClassID, name string) int32 {
	all, err := g.j.fieldsOf(g.j.klasses[c])
	if err != nil {
		return -1
	}
	for i, f := range all {
		if f.Name == name {
			return int32(i)
		}
	}
	return -1
}
