package vmstructs

import (
	"errors"
	"fmt"

	"github.com/leakscope/leakscope/heap"
)

// Buffer is a direct buffer that a Cleaner frees, by its native memory.
type Buffer struct {
	Address uint64
	Bytes   int64
}

const maxCleaners = 1 << 20

// errCleaners says that a list of Cleaners has no end that can be believed.
var errCleaners = fmt.Errorf("%w: more than %d Cleaners", ErrUnsupported, maxCleaners)

// cleaners walks the list that the JDK keeps of its Cleaners and returns the
// memory of those that free a direct buffer: exact, also where no more of a
// heap can be read. Up to 25 the list hangs off a static field of
// sun.misc.Cleaner (8) or jdk.internal.ref.Cleaner; from 26 on it is a list of
// arrays, java.nio.BufferCleaner.cleanerList.
func (g *graph) cleaners() ([]Buffer, error) {
	for c := range g.j.classes {
		switch g.j.classes[c].Name {
		case "jdk.internal.ref.Cleaner", "sun.misc.Cleaner":
			if found, err := g.cleanersFrom(heap.ClassID(c)); err != nil || len(found) > 0 {
				return found, err
			}
		case "java.nio.BufferCleaner":
			return g.cleanersIn(heap.ClassID(c))
		}
	}
	return nil, nil
}

// cleanersIn walks a list of arrays: CleanerList.head, a Node{arr, size, next}
// whose array holds PhantomCleaners, each with the action that frees a buffer.
func (g *graph) cleanersIn(c heap.ClassID) ([]Buffer, error) {
	list, _, ok := g.Static(c, "cleanerList")
	if !ok || heap.Node(list) == heap.None {
		return nil, nil
	}
	head, err := g.reference(heap.Node(list), "head")
	var out []Buffer
	steps := 0
	for n := head; err == nil && n != heap.None; n, err = g.reference(n, "next") {
		if steps++; steps > maxCleaners {
			return nil, errCleaners
		}
		var array heap.Node
		if array, err = g.reference(n, "arr"); err != nil || array == heap.None {
			break
		}
		var cleaners []heap.Node
		if err := g.References([]heap.Node{array}, func(_ heap.Node, _ int32, to heap.Node) { cleaners = append(cleaners, to) }); err != nil {
			return nil, err
		}
		for _, cleaner := range cleaners {
			thunk, err := g.reference(cleaner, "action")
			if err != nil {
				return nil, err
			}
			if b, known, err := g.deallocator(thunk); err != nil {
				return nil, err
			} else if known {
				out = append(out, b)
			}
		}
		if len(out) > maxCleaners {
			return nil, errCleaners
		}
	}
	return out, err
}

// reference reads a reference field by name.
func (g *graph) reference(n heap.Node, name string) (heap.Node, error) {
	c := g.Class(n)
	if n == heap.None || c < 0 {
		return heap.None, nil
	}
	field := g.number(c, name)
	if field < 0 {
		return heap.None, nil
	}
	var v [1]uint64
	var ok [1]bool
	if err := g.Values([]heap.Node{n}, []int32{field}, v[:], ok[:]); err != nil || !ok[0] {
		return heap.None, err
	}
	return heap.Node(v[0]), nil
}

// errBroken says that a list leads to what is no object: ZGC moves objects and
// mends the references to them when the program next uses these.
var errBroken = errors.New("the list of Cleaners is broken off where objects have moved")

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
	steps := 0
	for n := heap.Node(first); n != heap.None; {
		if steps++; steps > maxCleaners {
			return nil, errCleaners
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
		if !ok[0] {
			return nil, errBroken
		}
		if heap.Node(v[0]) == n {
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
	if !g.note(err) {
		return -1
	}
	for i, f := range all {
		if f.Name == name {
			return int32(i)
		}
	}
	return -1
}
