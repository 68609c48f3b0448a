package vmstructs

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/leakscope/leakscope/heap"
)

// maxStack bounds what is read of one thread's stack, from its base on.
const maxStack = 1 << 20

// stackBounds returns the part of each thread's stack that is in use.
func (j *jvm) stackBounds(threads []thread) ([]extent, error) {
	var used []extent
	resident := make([]bool, maxStack/pageSize)
	for _, t := range threads {
		size := min(t.size, maxStack) &^ (pageSize - 1)
		if t.stack%8 != 0 || size == 0 || t.stack < size {
			continue
		}
		low := (t.stack - size) &^ (pageSize - 1)
		pages := int((t.stack - low + pageSize - 1) / pageSize)
		if pages > len(resident) {
			resident = make([]bool, pages)
		}
		if err := j.r.residentPages(low, pages, resident[:pages]); err != nil {
			return nil, err
		}
		// The used part is the resident run that ends at the base.
		first := pages
		for first > 0 && resident[first-1] {
			first--
		}
		if low += uint64(first) * pageSize; low < t.sp && t.sp < t.stack {
			low = t.sp &^ 7
		}
		if low < t.stack {
			used = append(used, extent{low, t.stack})
		}
	}
	return used, nil
}

// stackRoots meets what the stacks of threads refer to. It takes every word
// that leads to an object for a reference, so what is in use is never missed;
// a word left over may keep garbage. Virtual threads go from the heap to the stack of
// another thread and back: theirs are looked at before those and after.
func (g *graph) stackRoots(virtual []uint64) error {
	g.onStack = map[heap.Node]bool{}
	if err := g.frameRoots(virtual); err != nil {
		return err
	}
	stacks := g.stacks // of a target that stood still
	if stacks == nil {
		var err error
		if stacks, err = g.j.stackBounds(g.threads); err != nil {
			return err
		}
	}
	if err := g.rootsIn(stacks); err != nil {
		return fmt.Errorf("stacks of threads: %w", err) // one may have ended
	}
	return g.frameRoots(virtual)
}

func (g *graph) frameRoots(virtual []uint64) error {
	if len(virtual) == 0 {
		return nil
	}
	frames, err := g.frames(virtual)
	if err == nil {
		err = g.rootsIn(frames)
	}
	if err != nil {
		return fmt.Errorf("stacks of virtual threads: %w", err)
	}
	return nil
}

// stackBatch bounds how many stacks are read at once.
const stackBatch = 64

// rootsIn meets what the words of stacks lead to.
func (g *graph) rootsIn(stacks []extent) error {
	var at []uint64
	for some := range slices.Chunk(stacks, stackBatch) {
		raw := make([]byte, total(some))
		spans := make([]span, len(some))
		rest := raw
		for i, s := range some {
			spans[i] = span{s.start, rest[:s.end-s.start]}
			rest = rest[s.end-s.start:]
		}
		if err := g.j.r.read(spans); err != nil {
			return err
		}
		at = at[:0]
		for b := raw; len(b) >= 8; b = b[8:] {
			w := binary.LittleEndian.Uint64(b)
			if g.inHeap(w) {
				at = append(at, w)
			}
			if g.j.layout.narrowOops {
				for _, half := range []uint64{w & 0xffffffff, w >> 32} {
					if a := g.j.layout.decode(half); a != w && g.inHeap(a) {
						at = append(at, a)
					}
				}
			}
		}
		if err := g.meet(at); err != nil {
			return err
		}
		for _, a := range at {
			if n := g.find(a); n != heap.None {
				g.onStack[n] = true
			}
		}
	}
	return g.ctx.Err()
}
