package heap

import (
	"cmp"
	"slices"
	"strings"
)

// ThreadCache is what one thread caches of temporary direct buffers
// (sun.nio.ch.Util$BufferCache): a thread keeps them until it ends.
type ThreadCache struct {
	Thread  string // its name; "" where the graph reads no text
	Live    *bool  // nil: not known
	Buffers int64
	Bytes   int64
}

// maxThreadCaches bounds the list: those with the most bytes are kept.
const maxThreadCaches = 256

// readThreadCaches gathers the buffers of fate thread-cache by their threads.
func (w *walk) readThreadCaches() error {
	var threads []Node
	sums := map[Node]*ThreadCache{}
	for i := range w.allocations {
		a := &w.allocations[i]
		if a.node == None || a.Chunk != 0 || !w.rootWay.met(a.node) || w.nearHolder(a.node)&threadCache == 0 {
			continue
		}
		top := a.node
		for w.rootWay.from[top] != top && !w.isA(w.g.Class(top), "java.lang.Thread") {
			top = w.rootWay.from[top]
		}
		if !w.isA(w.g.Class(top), "java.lang.Thread") {
			continue
		}
		if sums[top] == nil {
			sums[top] = &ThreadCache{}
			threads = append(threads, top)
		}
		sums[top].Buffers++
		sums[top].Bytes += a.Bytes
	}
	slices.Sort(threads)
	// JavaThread's address while the thread runs, 0 before and after.
	running, ok, err := w.columnsOf(threads, "eetop")
	if err != nil {
		return err
	}
	names, _, err := w.refs(threads, "name")
	if err != nil {
		return err
	}
	for i, n := range threads {
		c := sums[n]
		if ok[i] {
			live := running[i] != 0
			c.Live = &live
		}
		if names[i] != None {
			if text, known := w.text(names[i]); known {
				c.Thread = printable(text)
			}
		}
		w.threadCaches = append(w.threadCaches, *c)
	}
	slices.SortStableFunc(w.threadCaches, func(a, b ThreadCache) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Thread, b.Thread), cmp.Compare(b.Buffers, a.Buffers))
	})
	w.threadCaches = w.threadCaches[:min(len(w.threadCaches), maxThreadCaches)]
	return nil
}

// maxThreadName is how much of a thread's name is kept.
const maxThreadName = 64

// printable keeps of a thread's name what a terminal shows as it is.
func printable(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
	return name[:min(len(name), maxThreadName)]
}
